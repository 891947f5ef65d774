#include "autograd/kernel/vector.h"

#include <string.h>
#if defined(__AVX__) && !defined(LAP_DOUBLE)
#include <immintrin.h>
#endif

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/wide.h"

enum { PARTIALS = 16 };

/* The partial sums as one value: of an array gcc makes sixteen scalar chains. */
typedef real lanes __attribute__((vector_size(PARTIALS * sizeof(real))));
typedef real half_lanes __attribute__((vector_size(PARTIALS / 2 * sizeof(real))));
typedef real quarter_lanes __attribute__((vector_size(PARTIALS / 4 * sizeof(real))));

/* The one order in which 16 partial sums are added. */
static inline real add_partials(const real partial[PARTIALS]) {
  half_lanes half, upper;
  memcpy(&half, partial, sizeof half), memcpy(&upper, partial + PARTIALS / 2, sizeof upper);
  half += upper;
  const quarter_lanes quarter = __builtin_shufflevector(half, half, 0, 1, 2, 3) +
                                __builtin_shufflevector(half, half, 4, 5, 6, 7);
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

/* What is left of the last 16 is taken all at once, under a mask: a condition in a loop of known
 * length. No order matters to a maximum. */
LAP_WIDE
real lap_vector_max(const real *x, int64_t n) {
  real partial[PARTIALS];
  for (int i = 0; i < PARTIALS; ++i) partial[i] = -INFINITY;
  int64_t j = 0;
  for (; j + PARTIALS <= n; j += PARTIALS)
#pragma GCC unroll 1
    for (int i = 0; i < PARTIALS; ++i) partial[i] = x[j + i] > partial[i] ? x[j + i] : partial[i];
  for (int i = 0; i < PARTIALS; ++i) {
    const real last = j + i < n ? x[j + i] : -INFINITY;
    partial[i] = last > partial[i] ? last : partial[i];
  }
#pragma GCC unroll 4
  for (int width = PARTIALS / 2; width > 0; width /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i)
      partial[i] = partial[i] > partial[i + width] ? partial[i] : partial[i + width];
  return partial[0];
}

LAP_WIDE
real lap_vector_dot(const real *x, const real *y, int64_t n) {
  lanes sum = {0};
  int64_t j = 0;
  for (; j + PARTIALS <= n; j += PARTIALS) {
    lanes a, b;
    memcpy(&a, x + j, sizeof a), memcpy(&b, y + j, sizeof b);
    for (int i = 0; i < PARTIALS; ++i) sum[i] = lap_fma(a[i], b[i], sum[i]);
  }
  real partial[PARTIALS];
  memcpy(partial, &sum, sizeof partial);
  for (int i = 0; i < PARTIALS; ++i)
    if (j + i < n) partial[i] = lap_fma(x[j + i], y[j + i], partial[i]);
  return add_partials(partial);
}

LAP_WIDE
real lap_vector_sum_exp(const real *x, int64_t n, real shift, real scale) {
  real partial[PARTIALS] = {0};
  int64_t j = 0;
  for (; j + PARTIALS <= n; j += PARTIALS)
    for (int i = 0; i < PARTIALS; ++i) partial[i] += lap_exp((x[j + i] - shift) * scale);
  for (int i = 0; i < PARTIALS; ++i)
    if (j + i < n) partial[i] += lap_exp((x[j + i] - shift) * scale);
  return add_partials(partial);
}

LAP_WIDE
real lap_vector_exp(real *x, int64_t n, real shift) {
  real partial[PARTIALS] = {0};
  int64_t j = 0;
  for (; j + PARTIALS <= n; j += PARTIALS)
    for (int i = 0; i < PARTIALS; ++i) {
      x[j + i] = lap_exp(x[j + i] - shift);
      partial[i] += x[j + i];
    }
  for (int i = 0; i < PARTIALS; ++i)
    if (j + i < n) {
      x[j + i] = lap_exp(x[j + i] - shift);
      partial[i] += x[j + i];
    }
  return add_partials(partial);
}

LAP_WIDE
void lap_vector_softcap(real *x, int64_t n, real scale, real cap) {
  if (cap == 0) {
    for (int64_t i = 0; i < n; ++i) x[i] *= scale;
    return;
  }
  const real inner = scale / cap;
  for (int64_t i = 0; i < n; ++i) x[i] = cap * lap_tanh(x[i] * inner);
}

LAP_WIDE
void lap_vector_scale(real *x, int64_t n, real factor) {
  for (int64_t i = 0; i < n; ++i) x[i] = lap_without_subnormal(x[i] * factor);
}

void lap_vector_copy_past_caches(const real *from, int64_t n, real *to) {
  int64_t i = 0;
#if defined(__AVX__) && !defined(LAP_DOUBLE)
  enum { VECTOR = 8 };
  if ((uintptr_t)to % (VECTOR * sizeof *to) == 0) {
    for (; i + VECTOR <= n; i += VECTOR) _mm256_stream_ps(to + i, _mm256_loadu_ps(from + i));
    _mm_sfence();
  }
#endif
  memcpy(to + i, from + i, (size_t)(n - i) * sizeof *to);
}
