#include "autograd/kernel/triad.h"

#include <omp.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"

/* Of a vector. Virtual machines may state a cache of hundreds of MiB, which they share with their
 * host's other guests: from 16 MiB on, theirs was read at the speed of memory. */
enum { ELEMENTS = 16 << 20 };

struct lap_triad {
  int threads;
  float *a, *b, *c;
};

/* Each thread touches its own part first, so that it lies in the memory next to it. */
lap_triad *lap_triad_create(int threads) {
  lap_triad *t = lap_allocate(1, sizeof *t);
  *t = (lap_triad){threads, lap_allocate_aligned(ELEMENTS, sizeof(float)),
                   lap_allocate_aligned(ELEMENTS, sizeof(float)),
                   lap_allocate_aligned(ELEMENTS, sizeof(float))};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < ELEMENTS; ++i) t->a[i] = 0, t->b[i] = t->c[i] = 1;
  return t;
}

void lap_triad_destroy(lap_triad *t) {
  if (!t) return;
  lap_release_aligned(t->a);
  lap_release_aligned(t->b);
  lap_release_aligned(t->c);
  free(t);
}

double lap_triad_run(lap_triad *t) {
#pragma omp parallel for schedule(static) num_threads(t->threads)
  for (int64_t i = 0; i < ELEMENTS; ++i) t->a[i] = t->b[i] + 0.5F * t->c[i];
  return 3.0 * ELEMENTS * sizeof(float);
}

double lap_triad_rate(lap_triad *t) {
  const double start = lap_clock_seconds();
  const double bytes = lap_triad_run(t);
  return bytes / (lap_clock_seconds() - start) / 1e9;
}
