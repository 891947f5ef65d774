/* gemm: matrix products of row-major matrices in tiles of constant size, one BLAS call a tile.
 *
 * The tiles are a function of the shape alone, so any number of threads gives the same bits;
 * threads take whole tiles. OpenBLAS's bits depend on the shape of a call, which is why the tiles
 * are constants of lapidary and not of the machine (changing them bumps LAP_NUMERICS_VERSION).
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMM_H
#define LAP_AUTOGRAD_KERNEL_GEMM_H

#include <stdint.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/real.h"

#define lap_gemm LAP_PRECISION(lap_gemm)
#define lap_gemm_tile LAP_PRECISION(lap_gemm_tile)

/* The tiles of C. */
enum { LAP_GEMM_TILE_ROWS = 256, LAP_GEMM_TILE_COLUMNS = 256 };

/* C [m,n] = op(A) op(B) + beta C, with op(A) [m,k], op(B) [k,n]; lda, ldb, ldc are row strides of
 * the matrices as stored. OpenMP-parallel over tiles of C. k = 0 gives beta C. */
void lap_gemm(lap_transpose ta, lap_transpose tb, int64_t m, int64_t n, int64_t k, const real *a,
              int64_t lda, const real *b, int64_t ldb, real beta, real *c, int64_t ldc);

/* The same as one BLAS call on the calling thread, scaled by alpha: for kernels that make their own
 * tiles. */
void lap_gemm_tile(lap_transpose ta, lap_transpose tb, int64_t m, int64_t n, int64_t k, real alpha,
                   const real *a, int64_t lda, const real *b, int64_t ldb, real beta, real *c,
                   int64_t ldc);

#endif
