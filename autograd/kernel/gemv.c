#include "autograd/kernel/gemv.h"

#include "autograd/kernel/vector.h"

enum {
  ROWS = 4,                /* at once: as many independent sums as keep the multipliers busy */
  WORTH_THREADS = 1 << 16, /* below, waking the other threads takes longer than the product */
};

/* The clause lets the compiler split each sum into as many as its vectors hold. */
static void four_rows(int64_t k, const real *a, const real *x, real *y) {
  const real *a0 = a, *a1 = a + k, *a2 = a + 2 * k, *a3 = a + 3 * k;
  real s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t j = 0; j < k; ++j) {
    s0 += a0[j] * x[j];
    s1 += a1[j] * x[j];
    s2 += a2[j] * x[j];
    s3 += a3[j] * x[j];
  }
  y[0] = s0, y[1] = s1, y[2] = s2, y[3] = s3;
}

void lap_gemv(int64_t m, int64_t k, const real *a, const real *x, real *y) {
#pragma omp parallel for schedule(static) if (m * k >= WORTH_THREADS)
  for (int64_t i = 0; i < m; i += ROWS) {
    if (i + ROWS <= m)
      four_rows(k, a + i * k, x, y + i);
    else
      for (int64_t r = i; r < m; ++r) y[r] = lap_vector_dot(a + r * k, x, k);
  }
}
