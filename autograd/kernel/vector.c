#include "autograd/kernel/vector.h"

#include <string.h>
#if defined(__AVX__) && !defined(LAP_DOUBLE)
#include <immintrin.h>
#endif

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/wide.h"

enum { PARTIALS = 16 };

/* The one order in which 16 partial sums are added. */
static inline real add_partials(real partial[PARTIALS]) {
  for (int width = PARTIALS / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) partial[i] += partial[i + width];
  return partial[0];
}

/* More partials than a sum has: no order matters to a maximum, and each waits for its last. */
LAP_WIDE
real lap_vector_max(const real *x, int64_t n) {
  enum { MAXIMA = 4 * PARTIALS };
  real partial[MAXIMA];
  for (int i = 0; i < MAXIMA; ++i) partial[i] = -INFINITY;
  int64_t j = 0;
  for (; j + MAXIMA <= n; j += MAXIMA)
    for (int i = 0; i < MAXIMA; ++i) partial[i] = x[j + i] > partial[i] ? x[j + i] : partial[i];
  for (int i = 0; j + i < n; ++i) partial[i] = x[j + i] > partial[i] ? x[j + i] : partial[i];
  real maximum = partial[0];
  for (int i = 1; i < MAXIMA; ++i) maximum = partial[i] > maximum ? partial[i] : maximum;
  return maximum;
}

LAP_WIDE
real lap_vector_dot(const real *x, const real *y, int64_t n) {
  real partial[PARTIALS] = {0};
  int64_t j = 0;
  for (; j + PARTIALS <= n; j += PARTIALS)
    for (int i = 0; i < PARTIALS; ++i) partial[i] = lap_fma(x[j + i], y[j + i], partial[i]);
  for (int i = 0; j + i < n; ++i) partial[i] = lap_fma(x[j + i], y[j + i], partial[i]);
  return add_partials(partial);
}

LAP_WIDE
real lap_vector_sum_exp(const real *x, int64_t n, real shift, real scale) {
  real partial[PARTIALS] = {0};
  int64_t j = 0;
  for (; j + PARTIALS <= n; j += PARTIALS)
    for (int i = 0; i < PARTIALS; ++i) partial[i] += lap_exp((x[j + i] - shift) * scale);
  for (int i = 0; j + i < n; ++i) partial[i] += lap_exp((x[j + i] - shift) * scale);
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
  for (int i = 0; j + i < n; ++i) {
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
