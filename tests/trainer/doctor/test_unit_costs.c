/* unit_costs: measured in a fraction of a second, so only roughly (test_made_up_costs.c does it
 * exactly): every cost is there and could be that of a processor, and all ranks have those of the
 * slowest. Linked so that what the ranks tell each other comes through here (--wrap). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/blas.h"
#include "core/clock.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "trainer/doctor/unit_costs.h"

/* --- what ranks tell each other --- */

/* Costs, then what is as if it were one: seconds a GFLOP, share of the core below 0, seconds a
 * byte. */
enum { COSTS = sizeof(lap_unit_costs) / sizeof(double), TOLD = COSTS + 3, MOST_RANKS = 4 };

static double told[MOST_RANKS][TOLD];

void __real_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all);
void __wrap_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all);

/* Rank 0 is made to have been slower at every second cost, the last rank at the others. */
void __wrap_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all) {
  if (count != sizeof told[0]) {
    __real_lap_gather_all(comm, mine, count, all);
    return;
  }
  double changed[TOLD];
  memcpy(changed, mine, sizeof changed);
  const bool first = lap_comm_rank(comm) == 0;
  const bool last = lap_comm_rank(comm) == lap_comm_size(comm) - 1;
  for (int i = 0; i < TOLD; ++i)
    if (i % 2 ? first : last) changed[i] = changed[i] > 0 ? 3 * changed[i] : changed[i] / 3;
  __real_lap_gather_all(comm, changed, count, all);
  memcpy(told, all, (size_t)lap_comm_size(comm) * sizeof told[0]);
}

/* --- one measurement for all tests --- */

typedef struct {
  lap_comm *comm;
  lap_hardware hardware;
  double seconds;
} measured;

static int measure(void **state) {
  static measured m;
  void *comm;
  lap_status status;
  if (lap_blas_open("auto", &status) != LAP_OK || world_start(&comm) != 0) return -1;
  m.comm = comm;
  m.hardware = (lap_hardware){.cache_bytes = 8 << 20, .core_share = NAN};
  const double before = lap_clock_seconds();
  lap_measure_unit_costs(m.comm, 0.05, &m.hardware);
  m.seconds = lap_clock_seconds() - before;
  *state = &m;
  return 0;
}

static int finish(void **state) {
  void *comm = ((measured *)*state)->comm;
  return world_finish(&comm);
}

/* --- tests --- */

static void assert_between(double value, double least, double most, const char *what, int index) {
  if (!(value >= least && value <= most)) fail_msg("%s %d: %g", what, index, value);
}

/* Within what anything from a slow virtual machine to the fastest core could need. */
static void every_cost_could_be_that_of_a_processor(void **state) {
  const lap_hardware *h = &((measured *)*state)->hardware;
  const lap_unit_costs *costs = &h->costs;
  assert_between(h->sgemm_gflops, 0.1, 1e4, "GFLOP/s", 0);
  assert_between(h->memory_bytes_per_second, 1e7, 1e13, "bytes a second", 0);
  assert_between(h->core_share, 1e-3, 1, "core share", 0);
  for (int product = 0; product < LAP_PRODUCTS; ++product)
    for (int shape = 0; shape < LAP_GEMM_SHAPES; ++shape)
      assert_between(costs->gemm[product][shape], 1e-13, 1e-8, "product", shape);
  for (int unit = 0; unit < LAP_UNITS; ++unit) /* of a loss only backward */
    for (int way = unit == LAP_UNIT_LOSS; way < 2; ++way)
      assert_between(costs->unit[unit][way], 1e-13, 1e-5, "unit", 2 * unit + way);
  assert_between(costs->update, 1e-12, 1e-6, "update", 0);
  assert_between(costs->clear, 1e-13, 1e-7, "clear", 0);
  assert_between(costs->add, 1e-13, 1e-7, "add", 0);
  assert_between(costs->data, 1e-9, 1e-3, "data", 0);
}

static void all_ranks_have_the_costs_of_the_slowest(void **state) {
  const measured *m = *state;
  double found[TOLD];
  memcpy(found, &m->hardware.costs, sizeof m->hardware.costs);
  found[COSTS] = 1 / m->hardware.sgemm_gflops;
  found[COSTS + 1] = -m->hardware.core_share;
  found[COSTS + 2] = 1 / m->hardware.memory_bytes_per_second;
  for (int i = 0; i < TOLD; ++i) {
    double worst = told[0][i];
    for (int rank = 1; rank < lap_comm_size(m->comm); ++rank) worst = fmax(worst, told[rank][i]);
    if (!(fabs(found[i] - worst) <= 1e-15 * fabs(worst)))
      fail_msg("%d: %g, %g", i, found[i], worst);
  }
}

/* The model's fewest runs take longer than a twentieth of a second; but not for ever. */
static void it_ends(void **state) {
  const measured *m = *state;
  assert_true(m->seconds < 60);
  assert_true(m->hardware.cache_bytes == 8 << 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_cost_could_be_that_of_a_processor),
      cmocka_unit_test(all_ranks_have_the_costs_of_the_slowest),
      cmocka_unit_test(it_ends),
  };
  return cmocka_run_group_tests_name("unit_costs", tests, measure, finish);
}
