/* avx512: tiles of 14 x 32 in 28 of the 32 registers, of bfloat16 7 x 32. Compiled for x86-64-v4.
 */
#include <immintrin.h>

#include "autograd/kernel/matmul/kernel.h"
#include "autograd/kernel/matmul/mxcsr.h"

typedef __m512 vector;
enum { LANES = 16 };
#define HEIGHT 14
#define FLOAT32_UNIT lap_matmul_avx512_float32
#define BFLOAT16_TILE bfloat16_tile

static inline vector vector_load(const float *x) { return _mm512_loadu_ps(x); }
static inline void vector_store(float *x, vector v) { _mm512_storeu_ps(x, v); }
static inline vector vector_broadcast(const float *x) { return _mm512_set1_ps(*x); }
static inline vector vector_zero(void) { return _mm512_setzero_ps(); }
static inline vector vector_load_first(const float *x, int64_t count) {
  return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), x);
}
/* As one instruction: compilers copy the sums otherwise, and some of them to memory. */
static inline void vector_accumulate(vector *sum, vector x, vector y) {
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(y));
}
static inline vector vector_add(vector a, vector b) { return _mm512_add_ps(a, b); }
static inline vector vector_quads(const float *const *row, int64_t t) {
  const vector two = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(row[0] + t)),
                                        _mm_loadu_ps(row[4] + t), 1);
  return _mm512_insertf32x4(_mm512_insertf32x4(two, _mm_loadu_ps(row[8] + t), 2),
                            _mm_loadu_ps(row[12] + t), 3);
}
static inline void transpose_quads(vector v[4]) {
  const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
  const __m512d cd = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
  const __m512d ef = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
  const __m512d gh = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
  v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
  v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
  v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ef, gh));
  v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ef, gh));
}

#include "autograd/kernel/matmul/simd.h"

static bool runs_here(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

const lap_matmul_kernel lap_matmul_avx512 = {
    "avx512", {&FLOAT32_UNIT, &bfloat16_unit}, runs_here, "emulated in float32"};
