/* gemv: a matrix times one vector, y = w x, for decoding token by token. The matrix lies row by
 * row; row_strips.h has one that is laid out for this.
 *
 * The bits are those of lap_gemm with one row. A product packs its operands, which pays where they
 * are used again; here every weight is read once, in order, and used once, so that the bandwidth of
 * memory decides. Backends without a definition of ours (gemm.h), and bfloat16 where the
 * processor's flushing of subnormals is not that of product.h, are left to lap_gemm.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMV_H
#define LAP_AUTOGRAD_KERNEL_GEMV_H

#include <stdint.h>

#include "autograd/kernel/gemm.h"
#include "autograd/kernel/real.h"

#define lap_gemv LAP_PRECISION(lap_gemv)
#define lap_gemv_here LAP_PRECISION(lap_gemv_here)

/* y [n] = w [n, k] x [k], in the process's precision. Where w is held in bfloat16, it is `held`,
 * and `w` is NULL; as for lap_gemm. OpenMP-parallel. */
void lap_gemv(int64_t n, int64_t k, const real *w, const uint16_t *held, const real *x, real *y);

/* lap_gemm_here of one row, p->m = 1, and b in float32: for keys and values, which a token that is
 * decoded reads once. Products that set C by rows of B (transpose_b), and the chains of columns of
 * B (LAP_MATMUL_CHAIN; in bfloat16 an addition to C), read B in place; others are left to
 * lap_gemm_here. p->segment and, with transpose_b, p->first are 0. */
void lap_gemv_here(const lap_gemm_operands *p);

#endif
