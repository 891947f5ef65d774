/* Which kernel of matrix products a process takes: the fastest that its processor has, unless it
 * gives other bits than `plain` or the environment names another. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/matmul/kernels.h"

static lap_matmul_precision precision; /* of the wrong kernels */

/* Kernels that would compute something else: in another order, or rounding each product. */
typedef float (*chain)(int64_t terms, const float *a, const float *b, float sum);

static float add_backwards(int64_t terms, const float *a, const float *b, float sum) {
  const lap_matmul_unit *plain = lap_matmul_plain.unit[precision];
  for (int64_t t = terms - 1; t >= 0; --t)
    sum = fmaf(a[t * plain->a_stride], b[t * plain->b_stride], sum);
  return sum;
}

static float add_rounded(int64_t terms, const float *a, const float *b, float sum) {
  const lap_matmul_unit *plain = lap_matmul_plain.unit[precision];
  for (int64_t t = 0; t < terms; ++t) {
    const float product = a[t * plain->a_stride] * b[t * plain->b_stride];
    sum = sum + product;
  }
  return sum;
}

static void fill_tile(chain add, int64_t terms, const float *a, const float *b, float *c,
                      int64_t ldc, int64_t rows, int64_t columns, lap_matmul_into into) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float *out = &c[i * ldc + j];
      const float sum = add(terms, a + i, b + j, into == LAP_MATMUL_CHAIN ? *out : 0);
      *out = into == LAP_MATMUL_ADD ? *out + sum : sum;
    }
}

static void backwards(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                      int64_t rows, int64_t columns, lap_matmul_into into,
                      const lap_matmul_soon *soon) {
  (void)soon;
  fill_tile(add_backwards, terms, a, b, c, ldc, rows, columns, into);
}

static void rounds_twice(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                         int64_t rows, int64_t columns, lap_matmul_into into,
                         const lap_matmul_soon *soon) {
  (void)soon;
  fill_tile(add_rounded, terms, a, b, c, ldc, rows, columns, into);
}

static void a_kernel_that_differs_from_plain_is_found(void **state) {
  (void)state;
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel)
    if ((*kernel)->runs_here()) assert_true(lap_matmul_kernel_agrees(*kernel));
  const lap_matmul_tile tiles[] = {backwards, rounds_twice};
  for (precision = 0; precision < LAP_MATMUL_PRECISIONS; ++precision)
    for (int i = 0; i < 2; ++i) {
      lap_matmul_kernel other = lap_matmul_plain;
      lap_matmul_unit unit = *lap_matmul_plain.unit[precision];
      unit.tile = tiles[i];
      other.unit[precision] = &unit;
      assert_false(lap_matmul_kernel_agrees(&other));
    }
  precision = LAP_MATMUL_FLOAT32;
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

/* The first line of /proc/cpuinfo that begins with `key`, with a space before each word and behind
 * the last; empty if there is no such line. */
static void read_processor(const char *key, char *text, size_t room) {
  snprintf(text, room, " ");
  FILE *file = fopen("/proc/cpuinfo", "r");
  if (!file) return;
  char *line = NULL;
  size_t size = 0;
  while (getline(&line, &size, file) > 0)
    if (strncmp(line, key, strlen(key)) == 0) {
      const char *colon = strchr(line, ':');
      if (colon) snprintf(text, room, " %s", colon + 1);
      text[strcspn(text, "\n")] = ' ';
      break;
    }
  free(line);
  fclose(file);
}

static bool has(const char *flags, const char *name) {
  char word[32];
  snprintf(word, sizeof word, " %s ", name);
  return strstr(flags, word) != NULL;
}

/* The kernel that a process takes here at least, by what the operating system says. A kernel that
 * does not see its instructions costs speed, and no test of numbers notices. Tile units need a
 * permission as well, and pairs of terms an order of addition that AMD's processors have. */
static const char *least_kernel(void) {
#if defined(__aarch64__)
  return "neon";
#else
  char flags[16384], vendor[64];
  read_processor("flags", flags, sizeof flags);
  read_processor("vendor_id", vendor, sizeof vendor);
  if (!has(flags, "avx2") || !has(flags, "fma")) return "plain";
  if (!has(flags, "avx512dq") || !has(flags, "avx512bw") || !has(flags, "avx512vl")) return "avx2";
  return has(flags, "avx512_bf16") && has(vendor, "AuthenticAMD") ? "avx512_bf16" : "avx512";
#endif
}

static void the_fastest_that_the_processor_has_is_taken(void **state) {
  (void)state;
  const lap_matmul_kernel *const *least = lap_matmul_kernels();
  while (*least && strcmp((*least)->name, least_kernel()) != 0) ++least;
  assert_non_null(*least);
  assert_true((*least)->runs_here());
  lap_status status;
  assert_int_equal(lap_matmul_kernel_open(&status), LAP_OK);
  const lap_matmul_kernel *const *taken = lap_matmul_kernels();
  while (*taken != lap_matmul_kernel_here()) ++taken;
  assert_true(taken <= least);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_fastest_that_the_processor_has_is_taken), /* of a new process */
      cmocka_unit_test(a_kernel_that_differs_from_plain_is_found),
      cmocka_unit_test(the_environment_limits_the_kernels),
      cmocka_unit_test(an_unknown_kernel_is_refused),
  };
  unsetenv("LAPIDARY_KERNEL");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
