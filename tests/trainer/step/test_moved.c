/* moved: the compulsory traffic of what is not an op, against sums made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/step/moved.h"

/* A rank of `ranks` without MPI: its fold and its share of a vector. */
static void moved_in(lap_matmul_precision precision, int lanes, lap_sharding sharding, int ranks,
                     double bytes[LAP_PHASES], double *elements, double *owned) {
  lap_config config = {
      .mesh = {.pods = 1, .data = lanes, .model = 1}, .precision = precision, .sharding = sharding};
  lap_state state = {.owned_elements = 1024};
  lap_status status;
  assert_int_equal(lap_mesh_fold(&config.mesh, 0, lap_sharding_lane_schedule(sharding), ranks, 0,
                                 &state.placement.fold, &status),
                   LAP_OK);
  lap_partition partition = {.elements = 4096};
  state.partition = &partition;
  *elements = 4096;
  *owned = (double)state.owned_elements;
  lap_step_moved(&config, &state, bytes);
}

static void moved_of(int lanes, lap_sharding sharding, int ranks, double bytes[LAP_PHASES],
                     double *elements, double *owned) {
  moved_in(LAP_MATMUL_FLOAT32, lanes, sharding, ranks, bytes, elements, owned);
}

static void lanes_of_a_block_are_added_in_whole(void **test_state) {
  (void)test_state;
  double bytes[LAP_PHASES], n, owned;
  moved_of(6, LAP_SHARDING_OPTIMIZER, 2, bytes, &n, &owned); /* three lanes here */
  assert_true(bytes[LAP_PHASE_SUM] == 4 * (3 * n + 2 * 3 * n));
  assert_true(bytes[LAP_PHASE_REDUCE] == 4 * (n + owned + owned)); /* one other rank's part */
  assert_true(bytes[LAP_PHASE_UPDATE] == 4 * 8 * owned);
  assert_true(bytes[LAP_PHASE_GATHER] == 4 * n);
  assert_true(bytes[LAP_PHASE_DATA] == 0 && bytes[LAP_PHASE_MODEL] == 0);
}

static void every_rank_updates_all_where_nothing_is_sharded(void **test_state) {
  (void)test_state;
  double bytes[LAP_PHASES], n, owned;
  moved_of(2, LAP_SHARDING_NONE, 2, bytes, &n, &owned);
  assert_true(bytes[LAP_PHASE_SUM] == 4 * n); /* one lane: none is added */
  assert_true(bytes[LAP_PHASE_UPDATE] == 4 * 8 * n);
  assert_true(bytes[LAP_PHASE_GATHER] == 0);
}

static void owners_add_the_lanes_of_a_cycle(void **test_state) {
  (void)test_state;
  double bytes[LAP_PHASES], n, owned;
  moved_of(6, LAP_SHARDING_FULL, 2, bytes, &n, &owned);
  assert_true(bytes[LAP_PHASE_SUM] == 4 * 3 * n);
  assert_true(bytes[LAP_PHASE_REDUCE] == 4 * (3 * n + 3 * owned + owned));
}

/* What is updated is read and rounded; all that passes read is written in two bytes. */
static void in_bfloat16_all_is_written_in_half(void **test_state) {
  (void)test_state;
  double bytes[LAP_PHASES], n, owned;
  moved_in(LAP_MATMUL_BFLOAT16, 6, LAP_SHARDING_OPTIMIZER, 2, bytes, &n, &owned);
  assert_true(bytes[LAP_PHASE_GATHER] == 4 * owned + 2 * n);
  assert_true(bytes[LAP_PHASE_UPDATE] == 4 * 8 * owned);
  moved_in(LAP_MATMUL_BFLOAT16, 6, LAP_SHARDING_NONE, 2, bytes, &n, &owned);
  assert_true(bytes[LAP_PHASE_GATHER] == 4 * n + 2 * n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lanes_of_a_block_are_added_in_whole),
      cmocka_unit_test(every_rank_updates_all_where_nothing_is_sharded),
      cmocka_unit_test(owners_add_the_lanes_of_a_cycle),
      cmocka_unit_test(in_bfloat16_all_is_written_in_half),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
