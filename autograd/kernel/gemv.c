#include "autograd/kernel/gemv.h"

#include "autograd/kernel/vector.h"

/* Below this many elements, waking the other threads takes longer than the product. */
enum { WORTH_THREADS = 1 << 14 };

void lap_gemv(int64_t m, int64_t k, const real *a, const real *x, real *y) {
#pragma omp parallel for schedule(static) if (m * k >= WORTH_THREADS)
  for (int64_t i = 0; i < m; ++i) y[i] = lap_vector_dot(a + i * k, x, k);
}
