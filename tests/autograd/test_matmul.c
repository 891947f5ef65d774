/* Matrix products: every kernel that this processor runs, bit for bit, against the definition as
 * matmul.h states it, written here once more. */
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

/* Mostly values whose sums depend on every rounding; sometimes zeros of both signs, subnormals and
 * huge values; infinities and NaN where `wild`. */
static float value(source *from, bool wild) {
  const uint32_t bits = draw(from), kind = draw(from) % 64;
  const float sign = bits & 1 ? -1.0f : 1.0f;
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

static float *matrix(source *from, int64_t size, bool wild) {
  float *x = lap_allocate((size + 4), sizeof *x);
  for (int64_t i = 0; i < size + 4; ++i) x[i] = value(from, wild);
  return x;
}

static test_case make(source *from, int64_t m, int64_t n, int64_t k, bool wild) {
  test_case t = {.p = {.m = m, .n = n, .k = k}};
  lap_matmul *p = &t.p;
  p->transpose_a = below(from, 2), p->transpose_b = below(from, 2),
  p->into = below(from, 2) ? LAP_MATMUL_ADD : LAP_MATMUL_SET;
  p->first = below(from, 2) ? 0 : below(from, 600);
  p->segment = below(from, 3) ? 0 : 1 + below(from, 2 * k + 1);
  p->lda = (p->transpose_a ? m : k) + below(from, 3) * below(from, 20);
  p->ldb = (p->transpose_b ? k : n) + below(from, 3) * below(from, 20);
  p->ldc = n + below(from, 3) * below(from, 20);
  const int64_t shift = below(from, 4); /* not even aligned to a vector of two */
  t.a = matrix(from, (p->transpose_a ? k : m) * p->lda, wild);
  t.b = matrix(from, (p->transpose_b ? n : k) * p->ldb, wild);
  t.c_size = m * p->ldc;
  t.before = matrix(from, t.c_size, wild);
  t.c = lap_allocate(t.c_size + 4, sizeof *t.c);
  p->a = t.a + shift, p->b = t.b + shift, p->c = t.c + shift;
  memcpy(p->c, t.before, (size_t)t.c_size * sizeof *t.c);
  return t;
}

static void release(test_case *t) { free(t->a), free(t->b), free(t->c), free(t->before); }

/* --- the definition --- */

static float element(const lap_matmul *p, int64_t i, int64_t j, float old) {
  const int64_t segment = p->segment ? p->segment : p->first + p->k + 1;
  float c = p->into == LAP_MATMUL_ADD ? old : 0.0f, sum = 0;
  for (int64_t t = 0; t < p->k; ++t) {
    const float a = p->transpose_a ? p->a[t * p->lda + i] : p->a[i * p->lda + t];
    const float b = p->transpose_b ? p->b[j * p->ldb + t] : p->b[t * p->ldb + j];
    sum = fmaf(a, b, sum);
    const int64_t next = p->first + t + 1;
    const bool last = t + 1 == p->k || next % segment == 0 || next % segment % 256 == 0;
    if (last) c = c + sum, sum = 0;
  }
  return c;
}

static bool same(float x, float y) {
  return (isnan(x) && isnan(y)) || memcmp(&x, &y, sizeof x) == 0;
}

static void expect(const test_case *t, const char *kernel) {
  const lap_matmul *p = &t->p;
  for (int64_t i = 0; i < p->m; ++i)
    for (int64_t j = 0; j < p->ldc && i * p->ldc + j < t->c_size; ++j) {
      const float old = t->before[i * p->ldc + j], found = p->c[i * p->ldc + j];
      const float expected = j < p->n ? element(p, i, j, old) : old;
      if (!same(expected, found))
        fail_msg(
            "%s [%d,%d,%d] transposes %d %d into %d segment %d first %d: element %d,%d is %a, not "
            "%a",
            kernel, (int)p->m, (int)p->n, (int)p->k, p->transpose_a, p->transpose_b, p->into,
            (int)p->segment, (int)p->first, (int)i, (int)j, (double)found, (double)expected);
    }
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
    check(*kernel);
  }
}

static void compare(const lap_matmul_kernel *kernel, source *from, int64_t m, int64_t n, int64_t k,
                    bool wild) {
  test_case t = make(from, m, n, k, wild);
  lap_matmul_run(&t.p);
  expect(&t, kernel->name);
  release(&t);
}

enum { SHAPES = 700 };

static void check_random_shapes(const lap_matmul_kernel *kernel) {
  source from = {1, 0};
  int compared = 0;
  for (int i = 0; i < SHAPES; ++i) {
    const int64_t m = dimension(&from), n = dimension(&from), k = dimension(&from);
    if (m * n * k > INT64_C(1) << 22) continue;
    compare(kernel, &from, m, n, k, i % 4 == 0);
    ++compared;
  }
  print_message("%s: the bits of the definition on %d random shapes\n", kernel->name, compared);
}

static void check_long_dimensions(const lap_matmul_kernel *kernel) {
  source from = {2, 0};
  const int64_t shapes[][3] = {{2000, 3, 5}, {2, 2000, 9}, {5, 7, 2000},   {1, 1, 2000},
                               {2000, 1, 1}, {1, 2000, 2}, {1400, 33, 40}, {33, 1100, 60}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    compare(kernel, &from, shapes[i][0], shapes[i][1], shapes[i][2], false);
}

static void check_threads(const lap_matmul_kernel *kernel) {
  const int before = omp_get_max_threads(), counts[] = {1, 2, 3, 4, 6};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
    omp_set_num_threads(counts[i]);
    source from = {3, 0};
    compare(kernel, &from, 150, 97, 300, false);
    compare(kernel, &from, 3, 700, 300, false);
    compare(kernel, &from, 700, 3, 300, false);
  }
  omp_set_num_threads(before);
}

static void check_nothing_to_sum(const lap_matmul_kernel *kernel) {
  float c[2] = {3, -0.0f};
  lap_matmul p = {.m = 1, .n = 2, .k = 0, .c = c, .ldc = 2, .into = LAP_MATMUL_ADD};
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
  const lap_matmul p = {
      .m = 1, .n = 1, .k = 1, .a = &a, .b = &b, .c = &c, .lda = 1, .ldb = 1, .ldc = 1};
  lap_matmul_run(&p);
  assert_true(c == 0 && !signbit(c));
  (void)kernel;
}

/* A block of 256 terms in pieces, as attention has it, is the block in one. */
static void check_chains(const lap_matmul_kernel *kernel) {
  source from = {4, 0};
  for (int i = 0; i < 20; ++i) {
    test_case t = make(&from, dimension(&from), dimension(&from), 2 + below(&from, 255), false);
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

static void random_shapes(void **state) { (void)state, for_each_kernel(check_random_shapes); }
static void long_dimensions(void **state) { (void)state, for_each_kernel(check_long_dimensions); }
static void chains(void **state) { (void)state, for_each_kernel(check_chains); }
static void any_number_of_threads(void **state) { (void)state, for_each_kernel(check_threads); }
static void nothing_to_sum(void **state) { (void)state, for_each_kernel(check_nothing_to_sum); }
static void the_first_block(void **state) {
  (void)state, for_each_kernel(check_the_first_block_is_added);
}

/* Kernels that would compute something else: in another order, or rounding each product. */
static void backwards(int64_t terms, const float *a, int64_t a_stride, const float *b, float *c,
                      int64_t ldc, int64_t rows, int64_t columns, lap_matmul_into into) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float *out = &c[i * ldc + j], sum = into == LAP_MATMUL_CHAIN ? *out : 0;
      for (int64_t t = terms - 1; t >= 0; --t)
        sum = fmaf(a[t * a_stride + i], b[t * lap_matmul_plain.width + j], sum);
      *out = into == LAP_MATMUL_ADD ? *out + sum : sum;
    }
}

static void rounds_twice(int64_t terms, const float *a, int64_t a_stride, const float *b, float *c,
                         int64_t ldc, int64_t rows, int64_t columns, lap_matmul_into into) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float *out = &c[i * ldc + j], sum = into == LAP_MATMUL_CHAIN ? *out : 0;
      for (int64_t t = 0; t < terms; ++t) {
        const float product = a[t * a_stride + i] * b[t * lap_matmul_plain.width + j];
        sum = sum + product;
      }
      *out = into == LAP_MATMUL_ADD ? *out + sum : sum;
    }
}

static void a_kernel_that_differs_from_plain_is_found(void **state) {
  (void)state;
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel)
    if ((*kernel)->runs_here()) assert_true(lap_matmul_kernel_agrees(*kernel));
  const lap_matmul_tile tiles[] = {backwards, rounds_twice};
  for (int i = 0; i < 2; ++i) {
    lap_matmul_kernel other = lap_matmul_plain;
    other.tile = tiles[i];
    assert_false(lap_matmul_kernel_agrees(&other));
  }
}

static void the_environment_limits_the_kernels(void **state) {
  (void)state;
  lap_status status;
  setenv("LAPIDARY_KERNEL", "plain", 1);
  assert_int_equal(lap_matmul_kernel_open(&status), LAP_OK);
  assert_ptr_equal(lap_matmul_kernel_here(), &lap_matmul_plain);
  setenv("LAPIDARY_KERNEL", "mmx", 1);
  assert_int_equal(lap_matmul_kernel_open(&status), LAP_USAGE);
  assert_non_null(strstr(status.message, "LAPIDARY_KERNEL=mmx: this build has no such kernel"));
  assert_non_null(strstr(status.message, "plain"));
  setenv("LAPIDARY_KERNEL", "", 1);
  assert_int_equal(lap_matmul_kernel_open(&status), LAP_OK);
  unsetenv("LAPIDARY_KERNEL");
}

static void an_unknown_kernel_is_refused(void **state) {
  (void)state;
  lap_status status;
  const lap_matmul_kernel *before = lap_matmul_kernel_here();
  assert_int_equal(lap_matmul_kernel_use("mmx", &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "mmx"));
  assert_ptr_equal(lap_matmul_kernel_here(), before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_shapes),
      cmocka_unit_test(long_dimensions),
      cmocka_unit_test(chains),
      cmocka_unit_test(any_number_of_threads),
      cmocka_unit_test(nothing_to_sum),
      cmocka_unit_test(the_first_block),
      cmocka_unit_test(a_kernel_that_differs_from_plain_is_found),
      cmocka_unit_test(the_environment_limits_the_kernels),
      cmocka_unit_test(an_unknown_kernel_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
