#include "autograd/kernel/gemm.h"

void lap_gemm_tile(lap_transpose ta, lap_transpose tb, int64_t m, int64_t n, int64_t k, real alpha,
                   const real *a, int64_t lda, const real *b, int64_t ldb, real beta, real *c,
                   int64_t ldc) {
#ifdef LAP_DOUBLE
  lap_blas_dgemm(ta, tb, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
                 (int)ldc);
#else
  lap_blas_sgemm(ta, tb, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
                 (int)ldc);
#endif
}

void lap_gemm(lap_transpose ta, lap_transpose tb, int64_t m, int64_t n, int64_t k, const real *a,
              int64_t lda, const real *b, int64_t ldb, real beta, real *c, int64_t ldc) {
  const int64_t tile_rows = (m + LAP_GEMM_TILE_ROWS - 1) / LAP_GEMM_TILE_ROWS;
  const int64_t tile_columns = (n + LAP_GEMM_TILE_COLUMNS - 1) / LAP_GEMM_TILE_COLUMNS;
#pragma omp parallel for schedule(static) if (tile_rows * tile_columns > 1)
  for (int64_t tile = 0; tile < tile_rows * tile_columns; ++tile) {
    const int64_t i = tile % tile_rows * LAP_GEMM_TILE_ROWS;
    const int64_t j = tile / tile_rows * LAP_GEMM_TILE_COLUMNS;
    const int64_t rows = m - i < LAP_GEMM_TILE_ROWS ? m - i : LAP_GEMM_TILE_ROWS;
    const int64_t columns = n - j < LAP_GEMM_TILE_COLUMNS ? n - j : LAP_GEMM_TILE_COLUMNS;
    const real *a_tile = ta == LAP_PLAIN ? a + i * lda : a + i;
    const real *b_tile = tb == LAP_PLAIN ? b + j : b + j * ldb;
    lap_gemm_tile(ta, tb, rows, columns, k, 1, a_tile, lda, b_tile, ldb, beta, c + i * ldc + j,
                  ldc);
  }
}
