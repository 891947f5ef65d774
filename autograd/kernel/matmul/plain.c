/* plain: both definitions themselves, one element after the other, on any processor. */
#include <math.h>

#include "autograd/kernel/matmul/bfloat16.h"
#include "autograd/kernel/matmul/kernel.h"

/* Equal, so that strips of A and of B are laid out alike. */
enum { HEIGHT = 8, WIDTH = HEIGHT, SPAN = 512, GROUP = LAP_MATMUL_GROUP };

static void tile(int64_t terms, const float *a, const float *b, float *c, int64_t ldc, int64_t rows,
                 int64_t columns, lap_matmul_into into, const lap_matmul_soon *soon) {
  (void)soon;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float *out = &c[i * ldc + j];
      float sum = into == LAP_MATMUL_CHAIN ? *out : 0;
      for (int64_t t = 0; t < terms; ++t) sum = fmaf(a[t * HEIGHT + i], b[t * WIDTH + j], sum);
      *out = into == LAP_MATMUL_CHAIN ? sum : (into == LAP_MATMUL_SET ? 0.0f : *out) + sum;
    }
}

static void bfloat16_tile(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                          int64_t rows, int64_t columns, lap_matmul_into into,
                          const lap_matmul_soon *soon) {
  (void)soon;
  lap_bfloat16_tile(terms, a, HEIGHT, b, WIDTH, c, ldc, rows, columns, into);
}

/* --- strips --- */

static void by_terms(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                     float *packed) {
  (void)lead; /* 0 in float32 */
  for (int64_t t = 0; t < terms; ++t)
    for (int64_t i = 0; i < count; ++i) packed[t * HEIGHT + i] = x[t * ldx + i];
}

static void by_elements(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                        float *packed) {
  (void)lead;
  for (int64_t t = 0; t < terms; ++t)
    for (int64_t i = 0; i < count; ++i) packed[t * HEIGHT + i] = x[i * ldx + t];
}

/* Rounds a strip, and puts zeros before and after its terms. */
static void complete(int64_t count, int64_t lead, int64_t terms, float *packed) {
  const int64_t all = (lead + terms + GROUP - 1) / GROUP * GROUP;
  for (int64_t t = 0; t < all; ++t)
    for (int64_t i = 0; i < HEIGHT; ++i) {
      float *x = &packed[t * HEIGHT + i];
      *x = t >= lead && t < lead + terms && i < count ? lap_bfloat16_round(*x) : 0;
    }
}

static void bfloat16_by_terms(const float *x, int64_t ldx, int64_t count, int64_t lead,
                              int64_t terms, float *packed) {
  by_terms(x, ldx, count, 0, terms, packed + lead * HEIGHT);
  complete(count, lead, terms, packed);
}

static void bfloat16_by_elements(const float *x, int64_t ldx, int64_t count, int64_t lead,
                                 int64_t terms, float *packed) {
  by_elements(x, ldx, count, 0, terms, packed + lead * HEIGHT);
  complete(count, lead, terms, packed);
}

/* --- the kernel --- */

static unsigned enter(void) { return 0; }
static void leave(unsigned before) { (void)before; }

static int64_t multiply_add(int64_t rounds) {
  enum { CHAINS = 12 };
  float sum[CHAINS] = {0}, x = 0x1p-20F;
  __asm__ volatile("" : "+m"(x));
  for (int64_t r = 0; r < rounds; ++r)
    for (int i = 0; i < CHAINS; ++i) sum[i] = fmaf(x, x, sum[i]);
  float seen = 0; /* so that nothing is left out */
  for (int i = 0; i < CHAINS; ++i) seen += sum[i];
  __asm__ volatile("" : : "m"(seen));
  return rounds * CHAINS;
}

static bool runs_here(void) { return true; }

static const lap_matmul_unit float32_unit = {.height = HEIGHT,
                                             .width = WIDTH,
                                             .grain = 1,
                                             .a_stride = HEIGHT,
                                             .b_stride = WIDTH,
                                             .block = LAP_MATMUL_BLOCK,
                                             .span = SPAN,
                                             .group = 1,
                                             .tile = tile,
                                             .a_by_terms = by_terms,
                                             .a_by_elements = by_elements,
                                             .b_by_terms = by_terms,
                                             .b_by_elements = by_elements,
                                             .enter = enter,
                                             .leave = leave,
                                             .multiply_add = multiply_add};

static const lap_matmul_unit bfloat16_unit = {.height = HEIGHT,
                                              .width = WIDTH,
                                              .grain = 1,
                                              .a_stride = HEIGHT,
                                              .b_stride = WIDTH,
                                              .block = LAP_MATMUL_BLOCK,
                                              .span = SPAN,
                                              .group = GROUP,
                                              .tile = bfloat16_tile,
                                              .a_by_terms = bfloat16_by_terms,
                                              .a_by_elements = bfloat16_by_elements,
                                              .b_by_terms = bfloat16_by_terms,
                                              .b_by_elements = bfloat16_by_elements,
                                              .enter = enter,
                                              .leave = leave,
                                              .multiply_add = multiply_add};

const lap_matmul_kernel lap_matmul_plain = {
    "plain", {&float32_unit, &bfloat16_unit}, runs_here, "one by one"};
