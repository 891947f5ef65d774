/* plain: the definition itself, one element after the other, on any processor. */
#include <math.h>

#include "autograd/kernel/matmul/kernel.h"

enum { HEIGHT = 8, WIDTH = 8 };

static void tile(int64_t terms, const float *a, int64_t a_stride, const float *b, float *c,
                 int64_t ldc, int64_t rows, int64_t columns, lap_matmul_into into) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float *out = &c[i * ldc + j];
      float sum = into == LAP_MATMUL_CHAIN ? *out : 0;
      for (int64_t t = 0; t < terms; ++t) sum = fmaf(a[t * a_stride + i], b[t * WIDTH + j], sum);
      *out = into == LAP_MATMUL_CHAIN ? sum : (into == LAP_MATMUL_SET ? 0.0f : *out) + sum;
    }
}

static void pack_plain(const float *x, int64_t ldx, int64_t count, int64_t terms, float *packed,
                       int64_t stride) {
  for (int64_t t = 0; t < terms; ++t)
    for (int64_t i = 0; i < count; ++i) packed[t * stride + i] = x[t * ldx + i];
}

static void pack_transposed(const float *x, int64_t ldx, int64_t count, int64_t terms,
                            float *packed, int64_t stride) {
  for (int64_t t = 0; t < terms; ++t)
    for (int64_t i = 0; i < count; ++i) packed[t * stride + i] = x[i * ldx + t];
}

static bool runs_here(void) { return true; }

const lap_matmul_kernel lap_matmul_plain = {"plain", 1,          HEIGHT,          WIDTH,
                                            tile,    pack_plain, pack_transposed, runs_here};
