/* simd: the tiles of matrix products over vectors, for kernels to include (avx2.c, avx512.c,
 * neon.c).
 *
 * Before including it, a kernel defines `vector`, LANES (floats of one), HEIGHT (rows of the
 * largest tile), FLOAT32_UNIT (the name of that unit), BFLOAT16_TILE (bfloat16_tile, or what is
 * around it); vector_load, vector_store, vector_load_first (a part of one), vector_broadcast,
 * vector_zero, vector_accumulate (a sum += x y, fused), vector_add; for transposing vector_quads
 * (four floats each from rows 0, 4, 8, .. of LANES pointers) and transpose_quads (4 x 4 within each
 * quad of four vectors); and `enter` and `leave`, between which subnormals are zero. A tile has two
 * vectors of columns, in float32 one where that is enough: 2 HEIGHT sums, two vectors of B and one
 * of A are what the registers hold. In bfloat16 a sum has two chains, so half of the rows at a
 * time; operands are float32 that were rounded when they were packed.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_SIMD_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_SIMD_H

#include "autograd/kernel/matmul/bfloat16.h"
#include "autograd/kernel/matmul/kernel.h"

enum {
  WIDTH = 2 * LANES,
  A_STRIDE = (HEIGHT + LANES - 1) / LANES * LANES,
  SPAN = 512, /* 512 columns of B at a time, in 1 MB */
  AHEAD = 16, /* terms that are prefetched, also beyond the last */
};

/* --- tiles at the edge of C --- */

/* Where C has fewer columns than a tile, this is read and written in its place. */
static inline void load_edge(const float *c, int64_t ldc, int rows, int64_t columns,
                             float edge[][WIDTH]) {
  for (int i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) edge[i][j] = c[i * ldc + j];
}
static inline void store_edge(float edge[][WIDTH], int rows, int64_t columns, float *c,
                              int64_t ldc) {
  for (int i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) c[i * ldc + j] = edge[i][j];
}

/* --- float32 --- */

/* A row of C every few terms: all at once they would hold up the loads of A and B. */
static inline __attribute__((always_inline)) void prefetch_c(int64_t t, int rows, const float *c,
                                                             int64_t ldc) {
  enum { TERMS_A_ROW = 8 };
  if (t % TERMS_A_ROW != 0 || t / TERMS_A_ROW >= rows) return;
  __builtin_prefetch(c + t / TERMS_A_ROW * ldc, 1);
  __builtin_prefetch(c + t / TERMS_A_ROW * ldc + LANES, 1);
}

/* What of A is read soon: packed, and where its terms are rows, a line or two of each term; where
 * its elements are, a line of each element, which serves LINE terms. */
static inline __attribute__((always_inline)) void prefetch_a(int64_t t, int rows,
                                                             const lap_matmul_strip *a) {
  enum { LINE = 64 / sizeof(float), SOON = 2 * LINE };
  if (a->element == 1)
    __builtin_prefetch(a->first + (t + AHEAD) * a->term);
  else if (t % LINE < rows)
    __builtin_prefetch(a->first + t % LINE * a->element + t + SOON);
}

/* Lays out the t-th term of a strip whose terms are rows; a term of memory may lie on two lines. */
static inline __attribute__((always_inline)) void pack_term(int64_t t, int rows,
                                                            const lap_matmul_strip *a) {
  const float *term = a->first + t * a->term;
  __builtin_prefetch(term + AHEAD * a->term + rows - 1);
  for (int i = 0; i < rows; i += LANES)
    vector_store(a->packed + t * A_STRIDE + i,
                 i + LANES <= rows ? vector_load(term + i) : vector_load_first(term + i, rows - i));
}

/* Of `rows` rows and `vectors` vectors of columns. */
static inline __attribute__((always_inline)) void tile_of(int rows, int64_t vectors, int64_t terms,
                                                          const lap_matmul_strip *a,
                                                          const lap_matmul_strip *b, float *c,
                                                          int64_t ldc, lap_matmul_into into) {
  vector sum[HEIGHT][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) sum[i][0] = sum[i][1] = vector_zero();
  if (into == LAP_MATMUL_CHAIN) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      sum[i][0] = vector_load(c + i * ldc);
      if (vectors > 1) sum[i][1] = vector_load(c + i * ldc + LANES);
    }
  }
#pragma GCC unroll 2
  for (int64_t t = 0; t < terms; ++t) {
    prefetch_c(t, rows, c, ldc);
    prefetch_a(t, rows, a);
    const float *b_term = b->first + t * b->term;
    __builtin_prefetch(b_term + AHEAD * b->term);
    if (vectors > 1) __builtin_prefetch(b_term + AHEAD * b->term + LANES);
    if (a->packed) pack_term(t, rows, a);
    const vector b0 = vector_load(b_term);
    const vector b1 = vectors > 1 ? vector_load(b_term + LANES) : vector_zero();
    if (b->packed) {
      vector_store(b->packed + t * WIDTH, b0);
      vector_store(b->packed + t * WIDTH + LANES, b1);
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const vector x = vector_broadcast(a->first + t * a->term + i * a->element);
      vector_accumulate(&sum[i][0], x, b0);
      if (vectors > 1) vector_accumulate(&sum[i][1], x, b1);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    float *row = c + i * ldc;
    if (into == LAP_MATMUL_ADD) {
      sum[i][0] = vector_add(vector_load(row), sum[i][0]);
      if (vectors > 1) sum[i][1] = vector_add(vector_load(row + LANES), sum[i][1]);
    } else if (into == LAP_MATMUL_SET) {
      sum[i][0] = vector_add(vector_zero(), sum[i][0]); /* -0 becomes +0 */
      sum[i][1] = vector_add(vector_zero(), sum[i][1]);
    }
    vector_store(row, sum[i][0]);
    if (vectors > 1) vector_store(row + LANES, sum[i][1]);
  }
}

/* Where one vector has all columns, as of a head of 16 dimensions, the other is left out. */
static inline __attribute__((always_inline)) void tile_of_rows(int rows, int64_t terms,
                                                               const lap_matmul_strip *a,
                                                               const lap_matmul_strip *b, float *c,
                                                               int64_t ldc, int64_t columns,
                                                               lap_matmul_into into) {
  float edge[HEIGHT][WIDTH];
  const bool in_edge = columns % LANES != 0;
  if (in_edge && into != LAP_MATMUL_SET) load_edge(c, ldc, rows, columns, edge);
  float *const out = in_edge ? edge[0] : c;
  const int64_t out_stride = in_edge ? WIDTH : ldc;
  if (columns <= LANES)
    tile_of(rows, 1, terms, a, b, out, out_stride, into);
  else
    tile_of(rows, 2, terms, a, b, out, out_stride, into);
  if (in_edge) store_edge(edge, rows, columns, c, ldc);
}

/* A function for each height, so that the sums of each stay in registers. */
#define TILE(rows)                                          \
  case rows:                                                \
    tile_of_rows(rows, terms, a, b, c, ldc, columns, into); \
    break

static inline __attribute__((always_inline)) void tile_of_strip(
    int64_t terms, const lap_matmul_strip *a, const lap_matmul_strip *b, float *c, int64_t ldc,
    int64_t rows, int64_t columns, lap_matmul_into into) {
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

static void tile(int64_t terms, const float *a, const float *b, float *c, int64_t ldc, int64_t rows,
                 int64_t columns, lap_matmul_into into, const lap_matmul_soon *soon) {
  (void)soon;
  const lap_matmul_strip strip_a = {a, 1, A_STRIDE, NULL}, strip_b = {b, 1, WIDTH, NULL};
  tile_of_strip(terms, &strip_a, &strip_b, c, ldc, rows, columns, into);
}

/* What is known of each case as constants. */
static void tile_in_place(int64_t terms, const lap_matmul_strip *a, const lap_matmul_strip *b,
                          float *c, int64_t ldc, int64_t rows, int64_t columns,
                          lap_matmul_into into) {
  const lap_matmul_strip by_terms = {a->first, 1, a->term, a->packed};
  const lap_matmul_strip by_elements = {a->first, a->element, 1, NULL};
  const lap_matmul_strip packed_b = {b->first, 1, WIDTH, NULL};
  if (b->packed) {
    const lap_matmul_strip whole_b = {b->first, 1, b->term, b->packed};
    tile_of_strip(terms, &by_terms, &whole_b, c, ldc, rows, WIDTH, into);
  } else if (a->element == 1) {
    tile_of_strip(terms, &by_terms, &packed_b, c, ldc, rows, columns, into);
  } else {
    tile_of_strip(terms, &by_elements, &packed_b, c, ldc, rows, columns, into);
  }
}

/* --- bfloat16 --- */

/* The sums of a group: even terms in one chain, odd ones in another; sum[i][h] gets what they are
 * together. */
static inline __attribute__((always_inline)) void add_group(int rows, const float *a,
                                                            const float *b, vector sum[][2]) {
  vector even[HEIGHT / 2][2], odd[HEIGHT / 2][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) even[i][0] = even[i][1] = odd[i][0] = odd[i][1] = vector_zero();
  for (int64_t t = 0; t < LAP_MATMUL_GROUP; t += 2) {
    __builtin_prefetch(a + (t + AHEAD) * A_STRIDE);
    __builtin_prefetch(b + (t + AHEAD) * WIDTH);
    __builtin_prefetch(b + (t + AHEAD) * WIDTH + LANES);
    __builtin_prefetch(b + (t + AHEAD + 1) * WIDTH);
    __builtin_prefetch(b + (t + AHEAD + 1) * WIDTH + LANES);
    vector b0 = vector_load(b + t * WIDTH), b1 = vector_load(b + t * WIDTH + LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const vector x = vector_broadcast(a + t * A_STRIDE + i);
      vector_accumulate(&even[i][0], x, b0);
      vector_accumulate(&even[i][1], x, b1);
    }
    b0 = vector_load(b + (t + 1) * WIDTH), b1 = vector_load(b + (t + 1) * WIDTH + LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const vector x = vector_broadcast(a + (t + 1) * A_STRIDE + i);
      vector_accumulate(&odd[i][0], x, b0);
      vector_accumulate(&odd[i][1], x, b1);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    sum[i][0] = vector_add(even[i][0], odd[i][0]);
    sum[i][1] = vector_add(even[i][1], odd[i][1]);
  }
}

static inline __attribute__((always_inline)) void bfloat16_rows(int rows, int64_t terms,
                                                                const float *a, const float *b,
                                                                float *c, int64_t ldc,
                                                                int64_t columns,
                                                                lap_matmul_into into) {
  float edge[HEIGHT / 2][WIDTH];
  for (int i = 0; i < rows; ++i) __builtin_prefetch(c + i * ldc, 1);
  if (columns < WIDTH && into != LAP_MATMUL_SET) load_edge(c, ldc, rows, columns, edge);
  float *const out = columns < WIDTH ? edge[0] : c;
  const int64_t out_stride = columns < WIDTH ? WIDTH : ldc;
  for (int64_t t = 0; t < terms; t += LAP_MATMUL_GROUP) {
    vector sum[HEIGHT / 2][2];
    const bool clear = t == 0 && into == LAP_MATMUL_SET;
    add_group(rows, a + t * A_STRIDE, b + t * WIDTH, sum);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      float *row = out + i * out_stride;
      const vector left = clear ? vector_zero() : vector_load(row);
      const vector right = clear ? vector_zero() : vector_load(row + LANES);
      vector_store(row, vector_add(left, sum[i][0]));
      vector_store(row + LANES, vector_add(right, sum[i][1]));
    }
  }
  if (columns < WIDTH) store_edge(edge, rows, columns, c, ldc);
}

#define TILE(rows)                                           \
  case rows:                                                 \
    bfloat16_rows(rows, terms, a, b, c, ldc, columns, into); \
    break

static void bfloat16_half(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                          int64_t rows, int64_t columns, lap_matmul_into into) {
  switch (rows) {
    TILE(1);
    TILE(2);
    TILE(3);
#if HEIGHT / 2 > 3
    TILE(4);
    TILE(5);
    TILE(6);
#endif
#if HEIGHT / 2 > 6
    TILE(7);
#endif
  }
}
#undef TILE

static void bfloat16_tile(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                          int64_t rows, int64_t columns, lap_matmul_into into,
                          const lap_matmul_soon *soon) {
  (void)soon;
  const int64_t above = (rows + 1) / 2;
  bfloat16_half(terms, a, b, c, ldc, above, columns, into);
  bfloat16_half(terms, a + above, b, c + above * ldc, ldc, rows - above, columns, into);
}

/* --- strips --- */

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
static void pack_by_elements(const float *x, int64_t ldx, int64_t rows, int64_t terms,
                             float *packed, int64_t stride) {
  for (int64_t i0 = 0; i0 < rows; i0 += LANES) {
    const float *row[LANES];
    for (int64_t i = 0; i < LANES; ++i) row[i] = x + (i0 + i < rows ? i0 + i : rows - 1) * ldx;
    transpose_rows(row, terms, packed + i0, stride);
  }
}

static void pack_by_terms(const float *x, int64_t ldx, int64_t columns, int64_t terms,
                          float *packed, int64_t stride) {
  for (int64_t j = 0; j < columns; j += LANES) {
    const int64_t here = columns - j;
    for (int64_t t = 0; t < terms; ++t)
      vector_store(packed + t * stride + j, here >= LANES
                                                ? vector_load(x + t * ldx + j)
                                                : vector_load_first(x + t * ldx + j, here));
  }
}

/* Rounds a strip, and puts zeros before and after its terms. */
static void complete(int64_t lead, int64_t terms, float *packed, int64_t stride) {
  const int64_t end = lead + terms;
  const int64_t all = (end + LAP_MATMUL_GROUP - 1) / LAP_MATMUL_GROUP * LAP_MATMUL_GROUP;
  for (int64_t i = 0; i < lead * stride; ++i) packed[i] = 0;
  for (int64_t i = lead * stride; i < end * stride; ++i) packed[i] = lap_bfloat16_round(packed[i]);
  for (int64_t i = end * stride; i < all * stride; ++i) packed[i] = 0;
}

#define PACK(name, how, stride)                                                             \
  static void name(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms, \
                   float *packed) {                                                         \
    (void)lead; /* 0 in float32 */                                                          \
    how(x, ldx, count, terms, packed, stride);                                              \
  }                                                                                         \
  static void bfloat16_##name(const float *x, int64_t ldx, int64_t count, int64_t lead,     \
                              int64_t terms, float *packed) {                               \
    how(x, ldx, count, terms, packed + lead * (stride), stride);                            \
    complete(lead, terms, packed, stride);                                                  \
  }
PACK(a_by_terms, pack_by_terms, A_STRIDE)
PACK(a_by_elements, pack_by_elements, A_STRIDE)
PACK(b_by_terms, pack_by_terms, WIDTH)
PACK(b_by_elements, pack_by_elements, WIDTH)
#undef PACK

/* --- the kernel --- */

static unsigned stay(void) { return 0; }
static void stayed(unsigned before) { (void)before; }

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

const lap_matmul_unit FLOAT32_UNIT = {.height = HEIGHT,
                                      .width = WIDTH,
                                      .grain = 1,
                                      .a_stride = A_STRIDE,
                                      .b_stride = WIDTH,
                                      .block = LAP_MATMUL_BLOCK,
                                      .span = SPAN,
                                      .group = 1,
                                      .tile = tile,
                                      .tile_in_place = tile_in_place,
                                      .a_by_terms = a_by_terms,
                                      .a_by_elements = a_by_elements,
                                      .b_by_terms = b_by_terms,
                                      .b_by_elements = b_by_elements,
                                      .enter = stay,
                                      .leave = stayed,
                                      .multiply_add = multiply_add};

static const lap_matmul_unit bfloat16_unit = {.height = HEIGHT,
                                              .width = WIDTH,
                                              .grain = 1,
                                              .a_stride = A_STRIDE,
                                              .b_stride = WIDTH,
                                              .block = LAP_MATMUL_BLOCK,
                                              .span = SPAN,
                                              .group = LAP_MATMUL_GROUP,
                                              .tile = BFLOAT16_TILE,
                                              .a_by_terms = bfloat16_a_by_terms,
                                              .a_by_elements = bfloat16_a_by_elements,
                                              .b_by_terms = bfloat16_b_by_terms,
                                              .b_by_elements = bfloat16_b_by_elements,
                                              .enter = enter,
                                              .leave = leave,
                                              .multiply_add = multiply_add};

#endif
