/* gemv: the product of a matrix and a vector, for decoding one token at a time.
 *
 * A GEMM of one row copies a large matrix into packed panels first, to use each element once: at
 * one token the weights are read from memory once, and that is all the time there is. Only
 * generation uses it: no bit of it reaches the state of a run.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMV_H
#define LAP_AUTOGRAD_KERNEL_GEMV_H

#include <stdint.h>

#include "autograd/kernel/real.h"

#define lap_gemv LAP_PRECISION(lap_gemv)

/* y [m] = A x with A [m, k] row-major and contiguous, x [k]. OpenMP-parallel over groups of rows,
 * which are a function of the shape: the bits do not depend on the number of threads. */
void lap_gemv(int64_t m, int64_t k, const real *a, const real *x, real *y);

#endif
