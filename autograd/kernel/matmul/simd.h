/* simd: the tile of a matrix product over vectors, for kernels to include (avx2.c, avx512.c,
 * neon.c).
 *
 * Before including it, a kernel defines `vector`, LANES (floats of one), HEIGHT (rows of the
 * largest tile); vector_load, vector_store, vector_broadcast, vector_zero, vector_accumulate (a sum
 * += x y, fused), vector_add; and for transposing vector_quads (four floats each from rows 0, 4, 8,
 * .. of LANES pointers) and transpose_quads (4 x 4 within each quad of four vectors). A tile has
 * two vectors of columns: 2 HEIGHT sums, two vectors of B and one of A are what the registers hold.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_SIMD_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_SIMD_H

#include "autograd/kernel/matmul/kernel.h"

enum { WIDTH = 2 * LANES, AHEAD = 16 }; /* AHEAD: terms that are prefetched, also beyond the last */

static inline __attribute__((always_inline)) void tile_of_rows(int rows, int64_t terms,
                                                               const float *a, int64_t a_stride,
                                                               const float *b, float *c,
                                                               int64_t ldc, int64_t columns,
                                                               lap_matmul_into into) {
  vector left[HEIGHT], right[HEIGHT];
  float edge[HEIGHT][WIDTH]; /* where C has fewer columns: what is read and written in its place */
  for (int i = 0; i < rows; ++i) __builtin_prefetch(c + i * ldc, 1);
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) left[i] = right[i] = vector_zero();
  if (columns < WIDTH) {
    for (int i = 0; i < rows && into != LAP_MATMUL_SET; ++i)
      for (int64_t j = 0; j < columns; ++j) edge[i][j] = c[i * ldc + j];
  }
  float *const out = columns < WIDTH ? edge[0] : c;
  const int64_t out_stride = columns < WIDTH ? WIDTH : ldc;
  if (into == LAP_MATMUL_CHAIN) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      left[i] = vector_load(out + i * out_stride);
      right[i] = vector_load(out + i * out_stride + LANES);
    }
  }
#pragma GCC unroll 2
  for (int64_t t = 0; t < terms; ++t) {
    __builtin_prefetch(a + (t + AHEAD) * a_stride);
    __builtin_prefetch(b + (t + AHEAD) * WIDTH);
    __builtin_prefetch(b + (t + AHEAD) * WIDTH + LANES);
    const vector b0 = vector_load(b + t * WIDTH), b1 = vector_load(b + t * WIDTH + LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const vector x = vector_broadcast(a + t * a_stride + i);
      vector_accumulate(&left[i], x, b0);
      vector_accumulate(&right[i], x, b1);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    float *row = out + i * out_stride;
    if (into == LAP_MATMUL_ADD) {
      left[i] = vector_add(vector_load(row), left[i]);
      right[i] = vector_add(vector_load(row + LANES), right[i]);
    } else if (into == LAP_MATMUL_SET) {
      left[i] = vector_add(vector_zero(), left[i]); /* -0 becomes +0 */
      right[i] = vector_add(vector_zero(), right[i]);
    }
    vector_store(row, left[i]);
    vector_store(row + LANES, right[i]);
  }
  for (int i = 0; i < rows && columns < WIDTH; ++i)
    for (int64_t j = 0; j < columns; ++j) c[i * ldc + j] = edge[i][j];
}

/* A function for each height, so that the sums of each stay in registers. */
#define TILE(rows)                                                    \
  case rows:                                                          \
    tile_of_rows(rows, terms, a, a_stride, b, c, ldc, columns, into); \
    break

static void tile(int64_t terms, const float *a, int64_t a_stride, const float *b, float *c,
                 int64_t ldc, int64_t rows, int64_t columns, lap_matmul_into into) {
  switch (rows) {
    TILE(1);
    TILE(2);
    TILE(3);
    TILE(4);
    TILE(5);
    TILE(6);
#if HEIGHT > 6
    TILE(7);
    TILE(8);
    TILE(9);
    TILE(10);
    TILE(11);
    TILE(12);
#endif
#if HEIGHT > 12
    TILE(13);
    TILE(14);
#endif
  }
}
#undef TILE

/* LANES rows of any memory become columns: packed[t * stride + i] = row[i][t]. */
static void transpose_rows(const float *const row[LANES], int64_t terms, float *packed,
                           int64_t stride) {
  int64_t t = 0;
  for (; t + 4 <= terms; t += 4) {
    if (t % 16 == 0)
      for (int i = 0; i < LANES; ++i) __builtin_prefetch(row[i] + t + 64);
    vector quad[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) quad[r] = vector_quads(row + r, t);
    transpose_quads(quad);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) vector_store(packed + (t + r) * stride, quad[r]);
  }
  for (; t < terms; ++t)
    for (int i = 0; i < LANES; ++i) packed[t * stride + i] = row[i][t];
}

/* Rows beyond the last are the last again: nothing reads what becomes of them. */
static void pack_transposed(const float *x, int64_t ldx, int64_t rows, int64_t terms, float *packed,
                            int64_t stride) {
  for (int64_t i0 = 0; i0 < rows; i0 += LANES) {
    const float *row[LANES];
    for (int64_t i = 0; i < LANES; ++i) row[i] = x + (i0 + i < rows ? i0 + i : rows - 1) * ldx;
    transpose_rows(row, terms, packed + i0, stride);
  }
}

static void pack_plain(const float *x, int64_t ldx, int64_t columns, int64_t terms, float *packed,
                       int64_t stride) {
  for (int64_t j = 0; j < columns; j += LANES) {
    const int64_t here = columns - j;
    for (int64_t t = 0; t < terms; ++t)
      vector_store(packed + t * stride + j, here >= LANES
                                                ? vector_load(x + t * ldx + j)
                                                : vector_load_first(x + t * ldx + j, here));
  }
}

static int64_t multiply_add(int64_t rounds) {
  static const float small = 0x1p-20F;
  vector sum[2 * HEIGHT], x = vector_broadcast(&small);
#pragma GCC unroll 32
  for (int i = 0; i < 2 * HEIGHT; ++i) sum[i] = vector_zero();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 32
    for (int i = 0; i < 2 * HEIGHT; ++i) vector_accumulate(&sum[i], x, x);
  }
#pragma GCC unroll 32
  for (int i = 1; i < 2 * HEIGHT; ++i) sum[0] = vector_add(sum[0], sum[i]);
  float seen[LANES]; /* so that nothing is left out */
  vector_store(seen, sum[0]);
  __asm__ volatile("" : : "r"(seen) : "memory");
  return rounds * 2 * HEIGHT * LANES;
}

#endif
