#include "tests/autograd/numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/blas.h"
#include "core/memory.h"
#include "core/philox.h"

/* LeakSanitizer calls this by name: LLVM's OpenMP keeps its data on threads that a smaller team no
 * longer uses. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libomp"; }

int test_open_blas(void **state) {
  (void)state;
  lap_status status = {0};
  const lap_code code = lap_blas_open("auto", &status);
  if (code != LAP_OK) fprintf(stderr, "%s\n", status.message);
  return code;
}

double test_uniform(uint64_t stream, uint64_t index) {
  return 2 * lap_uniform(lap_philox(1, LAP_PURPOSE_BENCH, stream, index)) - 1;
}

void test_fill(double *x, int64_t n, uint64_t stream, double scale) {
  for (int64_t i = 0; i < n; ++i) x[i] = scale * test_uniform(stream, (uint64_t)i);
}

void test_fill_hard(int64_t n, uint64_t stream, float *x) {
  static const double scale[] = {1, 1, 1e3, 1e-3, 0x1p-63, 0x1p-130, 0, -0.0};
  for (int64_t i = 0; i < n; ++i)
    x[i] = (float)(test_uniform(stream, (uint64_t)i) *
                   scale[(i + (int64_t)stream) % 8 * (i % 3 == 0)]);
}

double *test_random(int64_t n, uint64_t stream, double scale) {
  double *x = lap_allocate(n, sizeof *x);
  test_fill(x, n, stream, scale);
  return x;
}

double test_largest(const double *x, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (isnan(x[i])) return INFINITY;
    if (fabs(x[i]) > largest) largest = fabs(x[i]);
  }
  return largest;
}

double test_distance(const double *found, const double *expected, int64_t n) {
  double difference = 0, largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (isnan(found[i]) && isnan(expected[i])) continue;
    const double d = fabs(found[i] - expected[i]);
    if (!(d <= difference)) difference = isnan(d) ? INFINITY : d;
    if (fabs(expected[i]) > largest) largest = fabs(expected[i]);
  }
  return largest > 0 ? difference / largest : difference;
}

typedef struct {
  test_map f;
  void *context;
  int64_t outputs, n;
  const double *weight, *direction;
  double *x, *origin, *y_plus, *y_minus;
} line;

/* sum_i weight_i (y_i(x + h d) - y_i(x - h d)) */
static double difference(const line *l, double h) {
  for (int sign = -1; sign <= 1; sign += 2) {
    for (int64_t i = 0; i < l->n; ++i)
      l->x[i] = l->origin[i] + sign * h * (l->direction ? l->direction[i] : 1);
    l->f(l->context, sign < 0 ? l->y_minus : l->y_plus);
  }
  memcpy(l->x, l->origin, (size_t)l->n * sizeof *l->x);
  long double sum = 0;
  for (int64_t i = 0; i < l->outputs; ++i)
    sum += (long double)l->weight[i] * (l->y_plus[i] - l->y_minus[i]);
  return (double)sum;
}

/* Ridders: central differences at 2h, h, h/2, ...; each column takes one more even power of h out
 * of the error (the first is the 4-point difference). The entry that its neighbours agree with best
 * is taken: too large an h disagrees by truncation, too small a one by rounding. */
static double extrapolate(const line *l, double h) {
  enum { LEVELS = 5 };
  double table[LEVELS][LEVELS], best = NAN, least = INFINITY;
  for (int level = 0; level < LEVELS; ++level) {
    const double step = ldexp(2 * h, -level);
    double factor = 1;
    table[level][0] = difference(l, step) / (2 * step);
    for (int column = 1; column <= level; ++column) {
      factor *= 4;
      const double coarse = table[level - 1][column - 1], fine = table[level][column - 1];
      const double value = table[level][column] = (factor * fine - coarse) / (factor - 1);
      const double doubt = fmax(fabs(value - fine), fabs(value - coarse));
      if (doubt <= least) least = doubt, best = value;
    }
    if (least <= 1e-11 * fabs(best)) break;
  }
  return best;
}

double test_slope(test_map f, void *context, int64_t outputs, const double *weight, double *x,
                  const double *direction, int64_t n, double h) {
  line l = {f, context, outputs, n, weight, direction, x, NULL, NULL, NULL};
  l.origin = lap_allocate(n, sizeof(double));
  l.y_plus = lap_allocate(outputs, sizeof(double));
  l.y_minus = lap_allocate(outputs, sizeof(double));
  memcpy(l.origin, x, (size_t)n * sizeof *x);
  const double slope = extrapolate(&l, h);
  free(l.origin), free(l.y_plus), free(l.y_minus);
  return slope;
}

double test_gradient_error(test_map f, void *context, int64_t outputs, const double *weight,
                           double *x, const double *gradient, int64_t n, double h) {
  enum { ALL = 40, DIRECTIONS = 2 };
  /* Below this a gradient is a rounded 0, as of a softmax over one key. */
  const double largest = test_largest(gradient, n), unit = largest > 1e-10 ? largest : 1;
  const int64_t entries = n <= ALL ? n : ALL;
  double worst = 0;
  for (int64_t e = 0; e < entries; ++e) {
    const int64_t i =
        n <= ALL ? e
                 : (int64_t)(lap_philox(2, LAP_PURPOSE_BENCH, (uint64_t)n, (uint64_t)e).word[0] %
                             (uint64_t)n);
    const double slope = test_slope(f, context, outputs, weight, x + i, NULL, 1, h);
    const double error = fabs(slope - gradient[i]) / unit;
    if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
  }
  for (int d = 0; d < DIRECTIONS; ++d) {
    double *direction = test_random(n, 1000 + (uint64_t)d, 1);
    double norm = 0, expected = 0;
    for (int64_t i = 0; i < n; ++i) norm += direction[i] * direction[i];
    for (int64_t i = 0; i < n; ++i)
      direction[i] /= sqrt(norm), expected += direction[i] * gradient[i];
    const double slope = test_slope(f, context, outputs, weight, x, direction, n, h);
    const double error = fabs(slope - expected) / unit;
    if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
    free(direction);
  }
  return worst;
}
