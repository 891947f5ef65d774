/* avx2: tiles of 6 x 16 in 12 of the 16 registers, of bfloat16 3 x 16. Compiled for x86-64-v3. */
#include <immintrin.h>

#include "autograd/kernel/matmul/kernel.h"
#include "autograd/kernel/matmul/mxcsr.h"

typedef __m256 vector;
enum { LANES = 8 };
#define HEIGHT 6
#define FLOAT32_UNIT lap_matmul_avx2_float32
#define BFLOAT16_TILE bfloat16_tile

static inline vector vector_load(const float *x) { return _mm256_loadu_ps(x); }
static inline void vector_store(float *x, vector v) { _mm256_storeu_ps(x, v); }
static inline vector vector_broadcast(const float *x) { return _mm256_broadcast_ss(x); }
static inline vector vector_zero(void) { return _mm256_setzero_ps(); }
static inline vector vector_load_first(const float *x, int64_t count) {
  static const int32_t mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_maskload_ps(x, _mm256_loadu_si256((const __m256i *)(mask + 8 - count)));
}
/* As one instruction: compilers copy the sums otherwise, and some of them to memory. */
static inline void vector_accumulate(vector *sum, vector x, vector y) {
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(x), "x"(y));
}
static inline vector vector_add(vector a, vector b) { return _mm256_add_ps(a, b); }
static inline vector vector_quads(const float *const *row, int64_t t) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[0] + t)),
                              _mm_loadu_ps(row[4] + t), 1);
}
static inline void transpose_quads(vector v[4]) {
  const __m256d ab = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1]));
  const __m256d cd = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3]));
  const __m256d ef = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1]));
  const __m256d gh = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));
  v[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
  v[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
  v[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ef, gh));
  v[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ef, gh));
}

#include "autograd/kernel/matmul/simd.h"

static bool runs_here(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const lap_matmul_kernel lap_matmul_avx2 = {
    "avx2", {&FLOAT32_UNIT, &bfloat16_unit}, runs_here, "emulated in float32"};
