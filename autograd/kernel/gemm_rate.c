#include "autograd/kernel/gemm_rate.h"

#include "autograd/kernel/blas.h"
#include "core/clock.h"
#include "core/memory.h"

double lap_gemm_rate(int threads, double seconds) {
  enum { N = 2048 };
  float *a = lap_allocate_aligned((int64_t)N * N, sizeof *a);
  float *b = lap_allocate_aligned((int64_t)N * N, sizeof *b);
  float *c = lap_allocate_aligned((int64_t)N * N, sizeof *c);
  for (int i = 0; i < N * N; ++i) a[i] = (float)(i % 7) - 3, b[i] = (float)(i % 5) - 2;
  const int rows = N / threads > 0 ? N / threads : 1;
  double best = 0;
  for (const double start = lap_clock_seconds();;) {
    const double before = lap_clock_seconds();
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < N; i += rows)
      lap_blas_sgemm(LAP_PLAIN, LAP_PLAIN, i + rows < N ? rows : N - i, N, N, 1, a + (int64_t)i * N,
                     N, b, N, 0, c + (int64_t)i * N, N);
    const double after = lap_clock_seconds(), rate = 2.0 * N * N * N / (after - before) / 1e9;
    if (rate > best) best = rate;
    if (after - start > seconds) break;
  }
  lap_release_aligned(a);
  lap_release_aligned(b);
  lap_release_aligned(c);
  return best;
}
