#include "autograd/kernel/gemm_rate.h"

#include <omp.h>
#include <stdlib.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/matmul/matmul.h"
#include "core/clock.h"
#include "core/memory.h"

enum { N = 2048 };
static const int64_t elements = (int64_t)N * N;

struct lap_gemm_yardstick {
  int threads;
  float *a, *b, *c; /* [N, N] */
};

lap_gemm_yardstick *lap_gemm_yardstick_create(int threads) {
  lap_gemm_yardstick *y = lap_allocate(1, sizeof *y);
  *y = (lap_gemm_yardstick){threads, lap_allocate_aligned(elements, sizeof(float)),
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

static void by_openblas(const lap_gemm_yardstick *y) {
  const int rows = (N + y->threads - 1) / y->threads;
#pragma omp parallel for schedule(static) num_threads(y->threads)
  for (int i = 0; i < N; i += rows)
    lap_blas_sgemm(LAP_PLAIN, LAP_PLAIN, i + rows < N ? rows : N - i, N, N, 1,
                   y->a + (ptrdiff_t)i * N, N, y->b, N, 0, y->c + (ptrdiff_t)i * N, N);
}

static void by_lapidary(const lap_gemm_yardstick *y) {
  lap_matmul_run(&(lap_matmul){.m = N,
                               .n = N,
                               .k = N,
                               .a = y->a,
                               .b = y->b,
                               .c = y->c,
                               .lda = N,
                               .ldb = N,
                               .ldc = N,
                               .precision = lap_gemm_precision_here()});
}

double lap_gemm_yardstick_rate(lap_gemm_yardstick *y, lap_gemm_backend backend) {
  const double start = lap_clock_seconds();
  if (backend == LAP_GEMM_OPENBLAS)
    by_openblas(y);
  else
    by_lapidary(y);
  return 2.0 * N * N * N / (lap_clock_seconds() - start) / 1e9;
}

double lap_gemm_yardstick_peak(lap_gemm_yardstick *y) {
  enum { ROUNDS = 1 << 20 };
  const lap_matmul_kernel *const *widest = lap_matmul_kernels();
  while (!(*widest)->runs_here()) ++widest;
  const lap_matmul_unit *unit = (*widest)->unit[lap_gemm_precision_here()];
  int64_t done = 0;
  const double start = lap_clock_seconds();
#pragma omp parallel for schedule(static) num_threads(y->threads) reduction(+ : done)
  for (int thread = 0; thread < y->threads; ++thread) {
    const unsigned before = unit->enter();
    done += unit->multiply_add(ROUNDS / unit->group);
    unit->leave(before);
  }
  return 2.0 * (double)done / (lap_clock_seconds() - start) / 1e9;
}

double lap_gemm_rate(int threads, double seconds) {
  lap_gemm_yardstick *y = lap_gemm_yardstick_create(threads);
  double best = 0;
  for (const double start = lap_clock_seconds(); lap_clock_seconds() - start < seconds;) {
    const double rate = lap_gemm_yardstick_rate(y, lap_gemm_backend_here());
    if (rate > best) best = rate;
  }
  lap_gemm_yardstick_destroy(y);
  return best;
}
