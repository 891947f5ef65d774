/* Matrix products: every kernel that this processor runs, in both precisions, bit for bit against
 * the definitions as matmul.h states them, written here once more. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/matmul/matmul.h"
#include "autograd/kernel/matmul/multiply.h"
#include "core/memory.h"
#include "core/philox.h"

/* --- random cases --- */

typedef struct {
  uint64_t stream, index;
} source;

static uint32_t draw(source *from) {
  return lap_philox(0, LAP_PURPOSE_BENCH, from->stream, from->index++).word[0];
}

static int64_t below(source *from, int64_t bound) {
  return (int64_t)(draw(from) % (uint64_t)bound);
}

/* TINY: products and sums on both sides of the smallest normal number. */
typedef enum { TAME, WILD, TINY } value_kind;

/* Mostly values whose sums depend on every rounding; sometimes zeros of both signs, subnormals and
 * huge values; infinities and NaN where wild. */
static float value(source *from, value_kind taste) {
  const uint32_t bits = draw(from), kind = draw(from) % 64;
  const float sign = bits & 1 ? -1.0f : 1.0f;
  const bool wild = taste == WILD;
  if (taste == TINY) return sign * ldexpf((float)(bits >> 8), -24 - 60 - (int)(bits % 9));
  if (kind == 0) return sign * 0.0f;
  if (kind == 1) return sign * ldexpf((float)(bits >> 8), -149);
  if (kind == 2) return sign * ldexpf((float)(bits >> 8), 60);
  if (kind == 3 && wild) return bits & 2 ? sign * INFINITY : NAN;
  return sign * ldexpf((float)(bits >> 8), (int)(bits % 7) - 26);
}

typedef struct {
  lap_matmul p;
  float *a, *b, *c, *before;
  int64_t c_size;
} test_case;

/* A dimension: mostly small, sometimes around the edges of tiles and blocks, sometimes long. */
static int64_t dimension(source *from) {
  static const int64_t edges[] = {5,  6,   7,   13,  14,  15,  16,  17,  31,  32,
                                  33, 111, 112, 113, 255, 256, 257, 511, 512, 513};
  switch (below(from, 8)) {
    case 0:
      return edges[below(from, sizeof edges / sizeof *edges)];
    case 1:
      return 1 + below(from, 400);
    default:
      return 1 + below(from, 40);
  }
}

static float *matrix(source *from, int64_t size, value_kind taste) {
  float *x = lap_allocate((size + 4), sizeof *x);
  for (int64_t i = 0; i < size + 4; ++i) x[i] = value(from, taste);
  return x;
}

/* The precision that is being tested. */
static lap_matmul_precision precision;

/* At least so far apart, and so that A is packed, whatever the shape. */
static int64_t clashing(int64_t lda) {
  const int64_t apart = LAP_MATMUL_LINE * LAP_MATMUL_CLASH;
  return (lda + apart - 1) / apart * apart;
}

static test_case make(source *from, int64_t m, int64_t n, int64_t k, value_kind taste) {
  test_case t = {.p = {.m = m, .n = n, .k = k, .precision = precision}};
  lap_matmul *p = &t.p;
  p->transpose_a = below(from, 2), p->transpose_b = below(from, 2),
  p->into = below(from, 2) ? LAP_MATMUL_ADD : LAP_MATMUL_SET;
  p->first = below(from, 2) ? 0 : below(from, 600);
  p->segment = below(from, 3) ? 0 : 1 + below(from, 2 * k + 1);
  p->lda = (p->transpose_a ? m : k) + below(from, 3) * below(from, 20);
  if (below(from, 4) == 0) p->lda = clashing(p->lda);
  p->ldb = (p->transpose_b ? k : n) + below(from, 3) * below(from, 20);
  p->ldc = n + below(from, 3) * below(from, 20);
  const int64_t shift = below(from, 4); /* not even aligned to a vector of two */
  t.a = matrix(from, (p->transpose_a ? k : m) * p->lda, taste);
  t.b = matrix(from, (p->transpose_b ? n : k) * p->ldb, taste);
  t.c_size = m * p->ldc;
  t.before = matrix(from, t.c_size, taste == TINY && below(from, 2) ? TAME : taste);
  t.c = lap_allocate(t.c_size + 4, sizeof *t.c);
  p->a = t.a + shift, p->b = t.b + shift, p->c = t.c + shift;
  memcpy(p->c, t.before, (size_t)t.c_size * sizeof *t.c);
  return t;
}

static void release(test_case *t) { free(t->a), free(t->b), free(t->c), free(t->before); }

/* --- the definitions --- */

static float term_a(const lap_matmul *p, int64_t i, int64_t t) {
  return p->transpose_a ? p->a[t * p->lda + i] : p->a[i * p->lda + t];
}
static float term_b(const lap_matmul *p, int64_t j, int64_t t) {
  return p->transpose_b ? p->b[j * p->ldb + t] : p->b[t * p->ldb + j];
}

/* A float32 as a bfloat16: the nearer of the two neighbours, of equally near ones the even. */
static float operand(float x) {
  if (isnan(x) || isinf(x)) return x;
  if (fabsf(x) < 0x1p-126f) return copysignf(0, x);
  int exponent;
  const double mantissa = frexp((double)x, &exponent); /* [.5, 1): eight digits are kept */
  return (float)ldexp(rint(ldexp(mantissa, 8)), exponent - 8);
}

/* The exact value rounded to 24 digits with no bound on its exponent, then zero where it is below
 * the smallest normal number. Near that number a double holds it exactly: an operand has 8 digits,
 * C and a chain have 24. */
static float flushed(double exact) {
  if (fabs(exact) >= 0x1p-120 || exact == 0 || isnan(exact)) return (float)exact;
  int exponent;
  const double mantissa = frexp(exact, &exponent);
  const double rounded = ldexp(rint(ldexp(mantissa, 24)), exponent - 24);
  return fabs(rounded) < 0x1p-126 ? (float)copysign(0, exact) : (float)rounded;
}

static float flushing_fma(float a, float b, float c) {
  const double exact = fma((double)a, (double)b, (double)c);
  return fabs(exact) < 0x1p-120 ? flushed(exact) : fmaf(a, b, c);
}

/* Of operands that are rounded already. */
static float bfloat16_element(const lap_matmul *p, int64_t i, int64_t j, float old) {
  const int64_t segment = p->segment ? p->segment : p->first + p->k + 1;
  float c = p->into == LAP_MATMUL_ADD ? flushed((double)old) : 0.0f, chain[2] = {0, 0};
  for (int64_t t = 0; t < p->k; ++t) {
    const int64_t index = (p->first + t) % segment, next = (p->first + t + 1) % segment;
    float *mine = &chain[index % 2];
    *mine = flushing_fma(term_a(p, i, t), term_b(p, j, t), *mine);
    if (t + 1 < p->k && next != 0 && next % 32 != 0) continue;
    c = flushed((double)c + (double)flushed((double)chain[0] + (double)chain[1]));
    chain[0] = chain[1] = 0;
  }
  return c;
}

static float element(const lap_matmul *p, int64_t i, int64_t j, float old) {
  if (p->precision == LAP_MATMUL_BFLOAT16) return bfloat16_element(p, i, j, old);
  const int64_t segment = p->segment ? p->segment : p->first + p->k + 1;
  float c = p->into == LAP_MATMUL_ADD ? old : 0.0f, sum = 0;
  for (int64_t t = 0; t < p->k; ++t) {
    sum = fmaf(term_a(p, i, t), term_b(p, j, t), sum);
    const int64_t next = p->first + t + 1;
    const bool last = t + 1 == p->k || next % segment == 0 || next % segment % 256 == 0;
    if (last) c = c + sum, sum = 0;
  }
  return c;
}

/* Of bfloat16 the sign of a zero depends on whether a missing term is +0 or -0. */
static bool same(float x, float y) {
  return (isnan(x) && isnan(y)) || memcmp(&x, &y, sizeof x) == 0 ||
         (precision == LAP_MATMUL_BFLOAT16 && x == 0 && y == 0);
}

static float *rounded(const float *x, int64_t count) {
  float *copy = lap_allocate(count, sizeof *copy);
  for (int64_t i = 0; i < count; ++i) copy[i] = operand(x[i]);
  return copy;
}

/* All of C, with what lies between its rows, as the definition has it; the caller frees it. */
static float *defined(const test_case *t) {
  const lap_matmul *p = &t->p;
  lap_matmul reference = *p;
  float *copies[2] = {NULL, NULL}, *c = lap_allocate(t->c_size, sizeof *c);
  if (p->precision == LAP_MATMUL_BFLOAT16) {
    reference.a = copies[0] = rounded(p->a, (p->transpose_a ? p->k : p->m) * p->lda);
    reference.b = copies[1] = rounded(p->b, (p->transpose_b ? p->n : p->k) * p->ldb);
  }
  memcpy(c, t->before, (size_t)t->c_size * sizeof *c);
  for (int64_t i = 0; i < p->m; ++i)
    for (int64_t j = 0; j < p->n; ++j)
      c[i * p->ldc + j] = element(&reference, i, j, c[i * p->ldc + j]);
  free(copies[0]), free(copies[1]);
  return c;
}

static void expect_all(const test_case *t, const float *expected, const char *kernel) {
  const lap_matmul *p = &t->p;
  for (int64_t e = 0; e < t->c_size; ++e)
    if (!same(expected[e], p->c[e]))
      fail_msg(
          "%s %s [%d,%d,%d] transposes %d %d into %d segment %d first %d: element %d,%d is "
          "%a, not %a",
          kernel, p->precision == LAP_MATMUL_BFLOAT16 ? "bfloat16" : "float32", (int)p->m,
          (int)p->n, (int)p->k, p->transpose_a, p->transpose_b, p->into, (int)p->segment,
          (int)p->first, (int)(e / p->ldc), (int)(e % p->ldc), (double)p->c[e],
          (double)expected[e]);
}

static void expect(const test_case *t, const char *kernel) {
  float *expected = defined(t);
  expect_all(t, expected, kernel);
  free(expected);
}

/* --- tests --- */

static void for_each_kernel(void (*check)(const lap_matmul_kernel *kernel)) {
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel) {
    lap_status status;
    if (!(*kernel)->runs_here()) {
      print_message("%s: not on this processor\n", (*kernel)->name);
      continue;
    }
    assert_int_equal(lap_matmul_kernel_use((*kernel)->name, &status), LAP_OK);
    assert_ptr_equal(lap_matmul_kernel_here(), *kernel);
    for (precision = 0; precision < LAP_MATMUL_PRECISIONS; ++precision) check(*kernel);
    precision = LAP_MATMUL_FLOAT32;
  }
}

static void compare(const lap_matmul_kernel *kernel, source *from, int64_t m, int64_t n, int64_t k,
                    value_kind taste) {
  test_case t = make(from, m, n, k, taste);
  lap_matmul_run(&t.p);
  expect(&t, kernel->name);
  release(&t);
}

/* The values of A, or of B, lose what bfloat16 does not hold; returns them as such, at the same
 * distance from where the memory begins. */
static uint16_t *hold_in_bfloat16(float *values, int64_t count) {
  uint16_t *held = lap_allocate(count, sizeof *held);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    held[i] = (uint16_t)(bits >> 16);
    bits &= 0xffff0000u;
    memcpy(&values[i], &bits, sizeof bits);
  }
  return held;
}

/* Which operands are held: 1: A, 2: B, 3: both. */
static void compare_forms(const lap_matmul_kernel *kernel, source *from, int64_t m, int64_t n,
                          int64_t k, value_kind taste, unsigned which) {
  test_case t = make(from, m, n, k, taste);
  lap_matmul *p = &t.p;
  uint16_t *a = hold_in_bfloat16(t.a, (p->transpose_a ? k : m) * p->lda + 4);
  uint16_t *b = hold_in_bfloat16(t.b, (p->transpose_b ? n : k) * p->ldb + 4);
  float *expected = lap_allocate(t.c_size, sizeof *expected);
  lap_matmul_run(p);
  memcpy(expected, p->c, (size_t)t.c_size * sizeof *expected);
  memcpy(p->c, t.before, (size_t)t.c_size * sizeof *expected);
  if (which & 1) p->a_bfloat16 = a + (p->a - t.a), p->a = NULL;
  if (which & 2) p->b_bfloat16 = b + (p->b - t.b), p->b = NULL;
  lap_matmul_run(p);
  for (int64_t i = 0; i < t.c_size; ++i)
    if (memcmp(&expected[i], &p->c[i], sizeof *expected) != 0 &&
        !(isnan(expected[i]) && isnan(p->c[i])))
      fail_msg(
          "%s precision %d [%d,%d,%d] held %u transposes %d %d segment %d first %d: %a, not %a",
          kernel->name, precision, (int)m, (int)n, (int)k, which, p->transpose_a, p->transpose_b,
          (int)p->segment, (int)p->first, (double)p->c[i], (double)expected[i]);
  free(a);
  free(b);
  free(expected);
  release(&t);
}

static void check_held_in_bfloat16(const lap_matmul_kernel *kernel) {
  enum { CASES = 240 };
  const int before = omp_get_max_threads();
  source from = {4, 0};
  for (int i = 0; i < CASES; ++i) {
    const int64_t m = dimension(&from), n = dimension(&from), k = dimension(&from);
    omp_set_num_threads(1 + i % 3);
    if (m * n * k <= INT64_C(1) << 22)
      compare_forms(kernel, &from, m, n, k,
                    i % 4 == 0   ? WILD
                    : i % 4 == 1 ? TINY
                                 : TAME,
                    1 + i % 3);
  }
  compare_forms(kernel, &from, 70, 150, 2000, TAME, 3);
  compare_forms(kernel, &from, 1, 2000, 300, TAME, 2);
  omp_set_num_threads(before);
}

static void check_long_dimensions(const lap_matmul_kernel *kernel) {
  source from = {2, 0};
  const int64_t shapes[][3] = {{2000, 3, 5}, {2, 2000, 9}, {5, 7, 2000},   {1, 1, 2000},
                               {2000, 1, 1}, {1, 2000, 2}, {1400, 33, 40}, {33, 1100, 60}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    compare(kernel, &from, shapes[i][0], shapes[i][1], shapes[i][2], TAME);
}

/* Whole strips of a B whose terms are rows: the first tiles pack them, and those of A likewise,
 * for the rows, blocks and panels that follow. */
static void check_packed_by_tiles(const lap_matmul_kernel *kernel) {
  enum { CASES = 4 };
  source from = {7, 0};
  const int64_t shapes[][3] = {{113, 32, 40}, {115, 288, 270}, {15, 544, 520}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int compared = 0; compared < CASES;) {
      test_case t = make(&from, shapes[i][0], shapes[i][1], shapes[i][2], TAME);
      if (!t.p.transpose_b && t.p.transpose_a == compared % 2) {
        lap_matmul_run(&t.p);
        expect(&t, kernel->name);
        ++compared;
      }
      release(&t);
    }
}

static void check_threads(const lap_matmul_kernel *kernel) {
  const int before = omp_get_max_threads(), counts[] = {1, 2, 3, 4, 6};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
    omp_set_num_threads(counts[i]);
    source from = {3, 0};
    compare(kernel, &from, 150, 97, 300, TAME);
    compare(kernel, &from, 3, 700, 300, TAME);
    compare(kernel, &from, 700, 3, 300, TAME);
  }
  omp_set_num_threads(before);
}

static void check_nothing_to_sum(const lap_matmul_kernel *kernel) {
  float c[2] = {3, -0.0f};
  lap_matmul p = {
      .m = 1, .n = 2, .k = 0, .c = c, .ldc = 2, .precision = precision, .into = LAP_MATMUL_ADD};
  lap_matmul_run(&p);
  assert_true(c[0] == 3 && signbit(c[1]));
  p.into = LAP_MATMUL_SET;
  lap_matmul_run(&p);
  assert_true(c[0] == 0 && c[1] == 0 && !signbit(c[0]) && !signbit(c[1]));
  p.m = 0;
  lap_matmul_run(&p);
  (void)kernel;
}

/* +0 plus a sum of -0 is +0: the first block is added too. */
static void check_the_first_block_is_added(const lap_matmul_kernel *kernel) {
  const float a = -0.0f, b = 0.0f;
  float c = 7;
  const lap_matmul p = {.m = 1,
                        .n = 1,
                        .k = 1,
                        .a = &a,
                        .b = &b,
                        .c = &c,
                        .lda = 1,
                        .ldb = 1,
                        .ldc = 1,
                        .precision = precision};
  lap_matmul_run(&p);
  assert_true(c == 0 && !signbit(c));
  (void)kernel;
}

/* A block of 256 terms computed in pieces, as attention does, equals the block computed at once. */
static void check_chains(const lap_matmul_kernel *kernel) {
  source from = {4, 0};
  if (precision != LAP_MATMUL_FLOAT32) return;
  for (int i = 0; i < 20; ++i) {
    test_case t = make(&from, dimension(&from), dimension(&from), 2 + below(&from, 255), TAME);
    t.p.segment = 0, t.p.first = 0, t.p.into = LAP_MATMUL_CHAIN;
    lap_matmul parts = t.p;
    memset(t.p.c, 0, (size_t)t.c_size * sizeof *t.c),
        memset(t.before, 0, (size_t)t.c_size * sizeof *t.c);
    for (int64_t left = t.p.k; left > 0; left -= parts.k) {
      parts.k = 1 + below(&from, left);
      lap_matmul_run(&parts);
      parts.first += parts.k;
      parts.a += parts.k * (parts.transpose_a ? parts.lda : 1);
      parts.b += parts.k * (parts.transpose_b ? 1 : parts.ldb);
    }
    for (int64_t j = 0; j < t.c_size; ++j) t.p.c[j] += 0.0f; /* as the end of a block does */
    t.p.into = LAP_MATMUL_SET;
    expect(&t, kernel->name);
    release(&t);
  }
}

/* A chain at the smallest normal number loses a little: what is left is below it, and zero, unless
 * it rounds to it with no bound on its exponent. */
static void check_the_smallest_results(const lap_matmul_kernel *kernel) {
  const float a[] = {0x1p-63f, 0, -0x1p-76f}, tie = 0x1p-75f, more = 0x1.8p-75f;
  const struct {
    float b[3], sum;
  } cases[] = {{{0x1p-63f, 0, tie}, 0x1p-126f}, {{0x1p-63f, 0, more}, 0}};
  for (size_t i = 0; i < 2 && precision == LAP_MATMUL_BFLOAT16; ++i) {
    float c = 0;
    lap_matmul_run(&(lap_matmul){.m = 1,
                                 .n = 1,
                                 .k = 3,
                                 .a = a,
                                 .b = cases[i].b,
                                 .c = &c,
                                 .lda = 3,
                                 .ldb = 1,
                                 .ldc = 1,
                                 .precision = precision});
    if (c != cases[i].sum)
      fail_msg("%s: %a, not %a", kernel->name, (double)c, (double)cases[i].sum);
  }
}

/* Parts of a B that was laid out as a whole give what the same parts give as they are stored. */
static void check_laid_out(const lap_matmul_kernel *kernel) {
  enum { CASES = 200 };
  source from = {7, 0};
  for (int i = 0; i < CASES; ++i) {
    const int64_t m = dimension(&from), n = dimension(&from), k = dimension(&from);
    if (m * n * k > INT64_C(1) << 22) continue;
    test_case t = make(&from, m, n, k, i % 3 ? TAME : TINY);
    const int64_t width = lap_matmul_packed_width(precision);
    float *packed = lap_allocate_aligned(lap_matmul_packed_floats(precision, n, k), sizeof *packed);
    float *expected = lap_allocate(t.c_size, sizeof *expected);
    t.p.segment = 0, t.p.first = 0;
    lap_matmul_pack_b(&t.p, packed);
    lap_matmul part = t.p;
    const int64_t column = below(&from, (n + width - 1) / width) * width, term = below(&from, k);
    part.n = 1 + below(&from, n - column), part.k = 1 + below(&from, k - term), part.first = term;
    part.a += t.p.transpose_a ? term * part.lda : term;
    part.b += t.p.transpose_b ? column * part.ldb + term : term * part.ldb + column;
    lap_matmul_run_here(&part);
    memcpy(expected, part.c, (size_t)(t.c_size) * sizeof *expected);
    memcpy(part.c, t.before, (size_t)t.c_size * sizeof *expected);
    part.b = NULL, part.b_packed = packed;
    part.packed_terms = k, part.packed_columns = n, part.packed_column = column;
    (i % 2 ? lap_matmul_run : lap_matmul_run_here)(&part);
    for (int64_t e = 0; e < t.c_size; ++e)
      if (!same(expected[e], part.c[e]))
        fail_msg(
            "%s precision %d [%d,%d,%d] of [%d,%d], transpose %d, from term %d column %d: %a, "
            "not %a",
            kernel->name, precision, (int)m, (int)part.n, (int)part.k, (int)n, (int)k,
            part.transpose_b, (int)term, (int)column, (double)part.c[e], (double)expected[e]);
    lap_release_aligned(packed);
    free(expected);
    release(&t);
  }
}

/* The definition, which takes longest, once for all kernels. */
static void random_shape(source *from, value_kind taste, int64_t m, int64_t n, int64_t k) {
  test_case t = make(from, m, n, k, taste);
  float *expected = defined(&t);
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel) {
    if (!(*kernel)->runs_here()) continue;
    memcpy(t.p.c, t.before, (size_t)t.c_size * sizeof *t.c);
    lap_matmul_multiply(&t.p, (*kernel)->unit[precision]);
    expect_all(&t, expected, (*kernel)->name);
  }
  free(expected);
  release(&t);
}

/* LAPIDARY_RANDOM_SHAPES: fewer, where an emulator takes a hundred times as long. */
static void random_shapes(void **state) {
  const char *fewer = getenv("LAPIDARY_RANDOM_SHAPES");
  const int shapes = fewer ? atoi(fewer) : 2000;
  (void)state;
  assert_true(shapes > 0);
  for (precision = 0; precision < LAP_MATMUL_PRECISIONS; ++precision) {
    source from = {1, 0};
    for (int compared = 0; compared < shapes;) {
      const int64_t m = dimension(&from), n = dimension(&from), k = dimension(&from);
      if (m * n * k > INT64_C(1) << 22) continue;
      random_shape(&from, compared % 4 == 0 ? WILD : compared % 4 == 1 ? TINY : TAME, m, n, k);
      ++compared;
    }
    print_message("the bits of the definition of %s on %d random shapes by",
                  precision == LAP_MATMUL_BFLOAT16 ? "bfloat16" : "float32", shapes);
    for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel)
      if ((*kernel)->runs_here()) print_message(" %s", (*kernel)->name);
    print_message("\n");
  }
  precision = LAP_MATMUL_FLOAT32;
}
static void laid_out(void **state) { (void)state, for_each_kernel(check_laid_out); }

static void held_in_bfloat16(void **state) { (void)state, for_each_kernel(check_held_in_bfloat16); }
static void long_dimensions(void **state) { (void)state, for_each_kernel(check_long_dimensions); }
static void packed_by_tiles(void **state) { (void)state, for_each_kernel(check_packed_by_tiles); }
static void chains(void **state) { (void)state, for_each_kernel(check_chains); }
static void any_number_of_threads(void **state) { (void)state, for_each_kernel(check_threads); }
static void nothing_to_sum(void **state) { (void)state, for_each_kernel(check_nothing_to_sum); }
static void the_smallest_results(void **state) {
  (void)state, for_each_kernel(check_the_smallest_results);
}
static void the_first_block(void **state) {
  (void)state, for_each_kernel(check_the_first_block_is_added);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_shapes),
      cmocka_unit_test(held_in_bfloat16),
      cmocka_unit_test(laid_out),
      cmocka_unit_test(long_dimensions),
      cmocka_unit_test(packed_by_tiles),
      cmocka_unit_test(chains),
      cmocka_unit_test(any_number_of_threads),
      cmocka_unit_test(nothing_to_sum),
      cmocka_unit_test(the_first_block),
      cmocka_unit_test(the_smallest_results),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
