/* step: what is checked in it (integrity.messages, sums, state). Linked so that sums over lanes and
 * blocks come through here (--wrap): a rank can add them wrongly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/gemm_backend.h"
#include "mpi/collective/lane_sum.h"
#include "mpi/collective/segment_sum.h"
#include "tests/trainer/step/small_run.h"

/* Which sum this rank adds wrongly: of lanes the one of this index, NORM, or none; and what comes
 * of it. */
enum { NO_SUM = -2, NORM = -1, LOSS = 0, COUNTED = 4, SAVE = 6 };
typedef struct {
  int sum;
  double factor, more;
} wrong_sum;
static wrong_sum wrongly = {.sum = NO_SUM};

void __real_lap_lane_sum_run(lap_lane_sum *sum, const double *mine, double *sums);
void __wrap_lap_lane_sum_run(lap_lane_sum *sum, const double *mine, double *sums);
void __wrap_lap_lane_sum_run(lap_lane_sum *sum, const double *mine, double *sums) {
  __real_lap_lane_sum_run(sum, mine, sums);
  if (wrongly.sum >= 0) sums[wrongly.sum] = sums[wrongly.sum] * wrongly.factor + wrongly.more;
}

double __real_lap_segment_sum_run(lap_segment_sum *sum, const double *partials);
double __wrap_lap_segment_sum_run(lap_segment_sum *sum, const double *partials);
double __wrap_lap_segment_sum_run(lap_segment_sum *sum, const double *partials) {
  return __real_lap_segment_sum_run(sum, partials) * (wrongly.sum == NORM ? wrongly.factor : 1);
}

/* --- a run --- */

static bool checks_are_on = true;

static void start_run(small_run *r, lap_comm *comm, lap_sharding sharding) {
  lap_config *config = small_run_config(small_run_text, NULL, 0);
  config->sharding = sharding;
  config->precision = lap_gemm_precision_here();
  config->integrity.state = config->integrity.sums = checks_are_on ? LAP_ON : LAP_OFF;
  small_run_start(r, comm, config, NULL);
}

static void do_step(small_run *r) {
  lap_step_result result;
  lap_status status = {0};
  if (lap_stepper_run(r->stepper, (lap_step_requests){0}, &result, &status) != LAP_OK)
    fail_msg("%s", status.message);
}

static bool is_last(const small_run *r) {
  return lap_comm_rank(r->comm) == lap_comm_size(r->comm) - 1;
}

static const lap_sharding every_sharding[] = {LAP_SHARDING_NONE, LAP_SHARDING_OPTIMIZER,
                                              LAP_SHARDING_GRADIENTS, LAP_SHARDING_FULL};

/* --- what is checked --- */

static void assert_same_state(small_run *r, char first[LAP_SHA256_HEX]) {
  char hex[LAP_SHA256_HEX];
  small_run_sha256(r, hex);
  if (first[0]) assert_string_equal(first, hex);
  memcpy(first, hex, sizeof hex);
}

static void checks_change_no_bit(void **state) {
  char first[LAP_SHA256_HEX] = "";
  for (int i = 0; i < 4; ++i)
    for (int on = 0; on < 2; ++on) {
      small_run r;
      checks_are_on = on;
      start_run(&r, *state, every_sharding[i]);
      lap_comm_set_hashes(r.comm, on);
      for (int step = 0; step < 4; ++step) do_step(&r);
      assert_same_state(&r, first);
      small_run_end(&r);
    }
  checks_are_on = true;
  lap_comm_set_hashes(*state, true);
}

static void flip_a_bit(float *value) {
  uint32_t bits;
  memcpy(&bits, value, sizeof bits);
  bits ^= 1U << 13;
  memcpy(value, &bits, sizeof bits);
}

/* The last rank's memory: found in the update, said by all ranks in the next step, and before a
 * checkpoint. Beside the kinds of values: weights that passes read in bfloat16. */
static void a_bit_that_flips_between_steps_ends_the_run(void **state) {
  lap_comm *comm = *state;
  char who[64];
  snprintf(who, sizeof who, "wrong arithmetic at rank %d on ", lap_comm_size(comm) - 1);
  for (int i = 0; i < 4; ++i)
    for (int kind = 0; kind <= LAP_STATE_KINDS; ++kind) {
      small_run r;
      lap_step_result result;
      lap_status status = {0};
      const bool copy = kind == LAP_STATE_KINDS;
      start_run(&r, comm, every_sharding[i]);
      if (copy && !r.state->bfloat16) { /* with full */
        small_run_end(&r);
        break;
      }
      do_step(&r);
      assert_int_equal(lap_stepper_confirm(r.stepper, &status), LAP_OK);
      lap_block_weights_wait_all(r.weights);
      if (is_last(&r) && copy) r.state->bfloat16[17] ^= 8;
      if (is_last(&r) && !copy) flip_a_bit(&r.state->values[kind][17]);
      if (kind == LAP_EXP_AVG)
        assert_int_equal(lap_stepper_confirm(r.stepper, &status), LAP_NONFINITE);
      if (kind != LAP_EXP_AVG) do_step(&r);
      assert_int_equal(lap_stepper_run(r.stepper, (lap_step_requests){0}, &result, &status),
                       LAP_NONFINITE);
      assert_non_null(strstr(status.message, who));
      assert_non_null(strstr(
          status.message, copy ? "copy of the weight" : lap_state_kind_name((lap_state_kind)kind)));
      assert_int_equal(lap_stepper_confirm(r.stepper, &status), LAP_NONFINITE);
      small_run_end(&r);
    }
}

/* A weight of a layer that is infinite where the last rank owns it: the step is bad, and the memory
 * of this rank is to blame. */
static void a_bit_that_makes_a_step_bad_is_named(void **state) {
  lap_comm *comm = *state;
  char who[64];
  snprintf(who, sizeof who, "wrong arithmetic at rank %d on ", lap_comm_size(comm) - 1);
  for (int i = 0; i < 4; ++i) {
    small_run r;
    lap_step_result result;
    lap_status status = {0};
    start_run(&r, comm, every_sharding[i]);
    do_step(&r);
    lap_block_weights_wait_all(r.weights);
    const int bucket = r.state->parameters->block[1].bucket[0];
    const int64_t at = r.state->owned[bucket].begin;
    if (is_last(&r)) *lap_state_at(r.state, LAP_WEIGHT, bucket, at) = INFINITY;
    if (is_last(&r) && r.state->bfloat16) r.state->bfloat16[at] = 0x7f80;
    assert_int_equal(lap_stepper_run(r.stepper, (lap_step_requests){0}, &result, &status), LAP_OK);
    assert_true(result.bad);
    assert_int_equal(lap_stepper_run(r.stepper, (lap_step_requests){0}, &result, &status),
                     LAP_NONFINITE);
    assert_non_null(strstr(status.message, who));
    assert_non_null(strstr(status.message, "changed in memory"));
    small_run_end(&r);
  }
}

/* Each rank adds losses, counts and the norm for itself, and does what follows from them: ranks
 * that differ would wait for each other. */
static void a_sum_that_one_rank_adds_wrongly_ends_the_run(void **state) {
  static const wrong_sum cases[] = {{LOSS, 1 + 1e-9, 0}, {LOSS, INFINITY, 0}, {NORM, 1 + 1e-9, 0},
                                    {NORM, INFINITY, 0}, {NORM, NAN, 0},      {COUNTED, 0, 0},
                                    {COUNTED, 1, 1},     {SAVE, 1, 1}};
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm);
  char who[64] = "nobody knows which rank is wrong";
  if (ranks == 1) return;
  if (ranks > 2) snprintf(who, sizeof who, ": rank %d on ", ranks - 1);
  for (int i = 0; i < 4; ++i)
    for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
      small_run r;
      lap_step_result result;
      lap_status status = {0};
      char before[LAP_SHA256_HEX] = "";
      start_run(&r, comm, every_sharding[i]);
      do_step(&r);
      assert_same_state(&r, before);
      if (is_last(&r)) wrongly = cases[c];
      const lap_code code = lap_stepper_run(r.stepper, (lap_step_requests){0}, &result, &status);
      wrongly.sum = NO_SUM;
      assert_int_equal(code, LAP_NONFINITE);
      assert_non_null(
          strstr(status.message, "different losses, counts, norms or factors in step 2: "));
      assert_non_null(strstr(status.message, who));
      assert_same_state(&r, before);
      small_run_end(&r);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_BOTH(checks_change_no_bit),
      IN_BOTH(a_bit_that_flips_between_steps_ends_the_run),
      IN_BOTH(a_bit_that_makes_a_step_bad_is_named),
      IN_BOTH(a_sum_that_one_rank_adds_wrongly_ends_the_run),
  };
  return cmocka_run_group_tests_name("step_checks", tests, small_run_world_start,
                                     small_run_world_finish);
}
