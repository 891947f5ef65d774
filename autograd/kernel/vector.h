/* vector: reductions and elementwise maps over contiguous reals.
 *
 * Every sum uses 16 fixed partial sums (element i goes to partial i mod 16), added pairwise at the
 * end, so that AVX2, AVX-512 and plain code give the same bits; wide.h chooses among them.
 */
#ifndef LAP_AUTOGRAD_KERNEL_VECTOR_H
#define LAP_AUTOGRAD_KERNEL_VECTOR_H

#include <stdint.h>

#include "autograd/kernel/real.h"

#define lap_vector_max LAP_PRECISION(lap_vector_max)
#define lap_vector_dot LAP_PRECISION(lap_vector_dot)
#define lap_vector_sum_exp LAP_PRECISION(lap_vector_sum_exp)
#define lap_vector_exp LAP_PRECISION(lap_vector_exp)
#define lap_vector_softcap LAP_PRECISION(lap_vector_softcap)
#define lap_vector_scale LAP_PRECISION(lap_vector_scale)
#define lap_vector_copy_past_caches LAP_PRECISION(lap_vector_copy_past_caches)

/* max(x[0..n)); -inf for n = 0. NaN elements are passed over. */
real lap_vector_max(const real *x, int64_t n);
real lap_vector_dot(const real *x, const real *y, int64_t n);
/* sum_i exp(scale * (x[i] - shift)); x is not changed. */
real lap_vector_sum_exp(const real *x, int64_t n, real shift, real scale);
/* x[i] = exp(x[i] - shift); returns their sum. */
real lap_vector_exp(real *x, int64_t n, real shift);
/* x[i] = cap * tanh(x[i] * scale / cap); cap = 0: x[i] * scale. */
void lap_vector_softcap(real *x, int64_t n, real scale, real cap);
/* x[i] *= factor, and 0 where that is subnormal. */
void lap_vector_scale(real *x, int64_t n, real factor);
/* to[i] = from[i], for what no cache will hold until it is read again: a processor that stores to a
 * line reads it first, unless it is told not to. Other threads see it when this returns. */
void lap_vector_copy_past_caches(const real *from, int64_t n, real *to);

#endif
