#include "autograd/kernel/gemm_rate.h"

#include <omp.h>
#include <stdlib.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/matmul/matmul.h"
#include "core/clock.h"
#include "core/memory.h"

enum { SMALLEST = 256, LARGEST = 2048 }; /* sizes of a product */

struct lap_gemm_yardstick {
  int threads, n;
  float *a, *b, *c; /* [n, n] */
};

static lap_gemm_yardstick *create(int threads, int n) {
  const int64_t elements = (int64_t)n * n;
  lap_gemm_yardstick *y = lap_allocate(1, sizeof *y);
  *y = (lap_gemm_yardstick){threads, n, lap_allocate_aligned(elements, sizeof(float)),
                            lap_allocate_aligned(elements, sizeof(float)),
                            lap_allocate_aligned(elements, sizeof(float))};
  for (int64_t i = 0; i < elements; ++i) {
    y->a[i] = (float)(i % 7) - 3;
    y->b[i] = (float)(i % 5) - 2;
  }
  return y;
}

lap_gemm_yardstick *lap_gemm_yardstick_create(int threads) { return create(threads, LARGEST); }

void lap_gemm_yardstick_destroy(lap_gemm_yardstick *y) {
  lap_release_aligned(y->a);
  lap_release_aligned(y->b);
  lap_release_aligned(y->c);
  free(y);
}

static void by_openblas(const lap_gemm_yardstick *y) {
  const int n = y->n, rows = (n + y->threads - 1) / y->threads;
#pragma omp parallel for schedule(static) num_threads(y->threads)
  for (int i = 0; i < n; i += rows)
    lap_blas_sgemm(LAP_PLAIN, LAP_PLAIN, i + rows < n ? rows : n - i, n, n, 1,
                   y->a + (ptrdiff_t)i * n, n, y->b, n, 0, y->c + (ptrdiff_t)i * n, n);
}

static void by_lapidary(const lap_gemm_yardstick *y) {
  const int n = y->n;
  lap_matmul_run(&(lap_matmul){.m = n,
                               .n = n,
                               .k = n,
                               .a = y->a,
                               .b = y->b,
                               .c = y->c,
                               .lda = n,
                               .ldb = n,
                               .ldc = n,
                               .precision = lap_gemm_precision_here()});
}

double lap_gemm_yardstick_rate(lap_gemm_yardstick *y, lap_gemm_backend backend) {
  const double start = lap_clock_seconds();
  if (backend == LAP_GEMM_OPENBLAS)
    by_openblas(y);
  else
    by_lapidary(y);
  return 2.0 * y->n * y->n * y->n / (lap_clock_seconds() - start) / 1e9;
}

double lap_gemm_yardstick_fill(const lap_gemm_yardstick *y) {
  enum { ROUNDS = 1 << 20 };
  const lap_matmul_kernel *const *widest = lap_matmul_kernels();
  while (!(*widest)->runs_here()) ++widest;
  const lap_matmul_unit *unit = (*widest)->unit[lap_gemm_precision_here()];
  int64_t done = 0;
#pragma omp parallel for schedule(static) num_threads(y->threads) reduction(+ : done)
  for (int thread = 0; thread < y->threads; ++thread) {
    const unsigned before = unit->enter();
    done += unit->multiply_add(ROUNDS);
    unit->leave(before);
  }
  return 2.0 * (double)done;
}

double lap_gemm_yardstick_peak(const lap_gemm_yardstick *y) {
  const double start = lap_clock_seconds();
  const double flops = lap_gemm_yardstick_fill(y);
  return flops / (lap_clock_seconds() - start) / 1e9;
}

double lap_gemm_rate(int threads, double seconds) {
  enum { WORK = 2 * 2 * 2 }; /* of a product of twice the size */
  const double start = lap_clock_seconds();
  lap_gemm_yardstick *y = create(threads, SMALLEST);
  double best = 0, left = seconds;
  while (left > 0) {
    const double before = lap_clock_seconds();
    const double rate = lap_gemm_yardstick_rate(y, lap_gemm_backend_here());
    const double after = lap_clock_seconds();
    if (rate > best) best = rate;
    left = seconds - (after - start);
    const int n = y->n;
    if (n == LARGEST || WORK * (after - before) > left) continue;
    lap_gemm_yardstick_destroy(y);
    y = create(threads, 2 * n);
    best = 0; /* of the largest size only */
  }
  lap_gemm_yardstick_destroy(y);
  return best;
}
