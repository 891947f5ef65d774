/* numbers: what the numeric tests share: reproducible inputs, distances, and finite differences. */
#ifndef TESTS_AUTOGRAD_NUMBERS_H
#define TESTS_AUTOGRAD_NUMBERS_H

#include <stdint.h>

/* cmocka group setup: opens OpenBLAS with the core type that training would take. */
int test_open_blas(void **state);

/* In [-1, 1), a function of (stream, index). */
double test_uniform(uint64_t stream, uint64_t index);
void test_fill(double *x, int64_t n, uint64_t stream, double scale);
/* Of magnitudes far apart; some are subnormal, and so are products of others; some are 0 or -0. */
void test_fill_hard(int64_t n, uint64_t stream, float *x);
double *test_random(int64_t n, uint64_t stream, double scale); /* new; free() it */

double test_largest(const double *x, int64_t n); /* max |x|; NaN counts as infinity */
/* max |found - expected| / max |expected| (the plain difference where all expected are 0). NaN on
 * one side only is infinitely far. */
double test_distance(const double *found, const double *expected, int64_t n);

/* y [outputs] = f(x), where x lies in the context. */
typedef void (*test_map)(void *context, double *y);

/* The derivative of sum_i weight_i y_i along `direction` [n] (NULL: 1 for each) at x: 4-point
 * central differences, at h and as far below as helps, extrapolated. Outputs are subtracted one by
 * one before they are summed, so that those that do not depend on x add no rounding. */
double test_slope(test_map f, void *context, int64_t outputs, const double *weight, double *x,
                  const double *direction, int64_t n, double h);

/* Worst error of `gradient` against finite differences, relative to its largest entry: all entries
 * of a small x, a sample of entries of a larger one, and two random directions through all entries.
 */
double test_gradient_error(test_map f, void *context, int64_t outputs, const double *weight,
                           double *x, const double *gradient, int64_t n, double h);

#endif
