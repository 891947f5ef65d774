/* gemv: a matrix times one vector, y = w x, for decoding token by token.
 *
 * The bits are those of lap_gemm with one row. A product packs its operands, which pays where they
 * are used again; here every weight is read once, in order, and used once, so that the bandwidth of
 * memory decides. Backends without a definition of ours (gemm.h), and bfloat16 where the
 * processor's flushing of subnormals is not that of product.h, are left to lap_gemm.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMV_H
#define LAP_AUTOGRAD_KERNEL_GEMV_H

#include <stdint.h>

#include "autograd/kernel/real.h"

#define lap_gemv LAP_PRECISION(lap_gemv)

/* y [n] = w [n, k] x [k], in the process's precision. Where w is held in bfloat16, it is `held`,
 * and `w` is NULL; as for lap_gemm. OpenMP-parallel. */
void lap_gemv(int64_t n, int64_t k, const real *w, const uint16_t *held, const real *x, real *y);

#endif
