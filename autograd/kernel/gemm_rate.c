#include "autograd/kernel/gemm_rate.h"

#include <omp.h>
#include <stdlib.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/matmul/matmul.h"
#include "core/clock.h"
#include "core/memory.h"

enum { N = 2048, SMALL = N / 8 };
static const int64_t elements = (int64_t)N * N;

struct lap_gemm_yardstick {
  int threads, n;   /* of [n, n] x [n, n]: N, or SMALL */
  float *a, *b, *c; /* [N, N] */
};

lap_gemm_yardstick *lap_gemm_yardstick_create(int threads) {
  lap_gemm_yardstick *y = lap_allocate(1, sizeof *y);
  *y = (lap_gemm_yardstick){threads, N, lap_allocate_aligned(elements, sizeof(float)),
                            lap_allocate_aligned(elements, sizeof(float)),
                            lap_allocate_aligned(elements, sizeof(float))};
  for (int64_t i = 0; i < elements; ++i) {
    y->a[i] = (float)(i % 7) - 3;
    y->b[i] = (float)(i % 5) - 2;
  }
  return y;
}

void lap_gemm_yardstick_destroy(lap_gemm_yardstick *y) {
  lap_release_aligned(y->a);
  lap_release_aligned(y->b);
  lap_release_aligned(y->c);
  free(y);
}

static double flops(double n) { return 2 * n * n * n; }

static void by_openblas(const lap_gemm_yardstick *y) {
  const int n = y->n, rows = (n + y->threads - 1) / y->threads;
#pragma omp parallel for schedule(static) num_threads(y->threads)
  for (int i = 0; i < n; i += rows)
    lap_blas_sgemm(LAP_PLAIN, LAP_PLAIN, i + rows < n ? rows : n - i, n, n, 1,
                   y->a + (ptrdiff_t)i * n, n, y->b, n, 0, y->c + (ptrdiff_t)i * n, n);
}

static void by_lapidary(const lap_gemm_yardstick *y) {
  const int n = y->n;
  lap_matmul_run(&(lap_matmul){
      .m = n, .n = n, .k = n, .a = y->a, .b = y->b, .c = y->c, .lda = n, .ldb = n, .ldc = n});
}

double lap_gemm_yardstick_rate(lap_gemm_yardstick *y, lap_gemm_backend backend) {
  const double start = lap_clock_seconds();
  if (backend == LAP_GEMM_OPENBLAS)
    by_openblas(y);
  else
    by_lapidary(y);
  return 1e-9 * flops(y->n) / (lap_clock_seconds() - start);
}

double lap_gemm_yardstick_peak(lap_gemm_yardstick *y) {
  enum { ROUNDS = 1 << 20 };
  const lap_matmul_kernel *const *widest = lap_matmul_kernels();
  while (!(*widest)->runs_here()) ++widest;
  int64_t done = 0;
  const double start = lap_clock_seconds();
#pragma omp parallel for schedule(static) num_threads(y->threads) reduction(+ : done)
  for (int thread = 0; thread < y->threads; ++thread) done += (*widest)->multiply_add(ROUNDS);
  return 2.0 * (double)done / (lap_clock_seconds() - start) / 1e9;
}

/* The size of products that reach the full rate, unless one of them would take minutes, as on an
 * emulated processor. */
static int affordable(lap_gemm_yardstick *y, double seconds) {
  double best = 0;
  y->n = SMALL;
  for (int i = 0; i < 3; ++i) {
    const double rate = lap_gemm_yardstick_rate(y, lap_gemm_backend_here());
    if (rate > best) best = rate;
  }
  return 1e-9 * flops(N) / best > 50 * seconds ? SMALL : N;
}

double lap_gemm_rate(int threads, double seconds) {
  lap_gemm_yardstick *y = lap_gemm_yardstick_create(threads);
  y->n = affordable(y, seconds);
  double best = 0;
  for (const double start = lap_clock_seconds(); lap_clock_seconds() - start < seconds;) {
    const double rate = lap_gemm_yardstick_rate(y, lap_gemm_backend_here());
    if (rate > best) best = rate;
  }
  lap_gemm_yardstick_destroy(y);
  return best;
}
