/* faults: bits that change on purpose, one fault after another, in a small run of the real trainer:
 * in messages, in the state between steps, in sums over ranks. What is checked must be caught,
 * every time; what is not checked must not be said to be; clean steps must raise no alarm.
 *
 *     mpirun -n RANKS test_faults_alone [FAULTS [CLEAN_STEPS [FIRST]]]
 *
 * Faults FIRST .. FIRST + FAULTS - 1 of an endless list, each a function of its number; prints how
 * many of each kind were made and caught. Everything is injected here, by wrapping functions at
 * link time: the shipped program has no way to. A kind of fault is a row of `kinds`.
 */
#include <inttypes.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/philox.h"
#include "mpi/collective/sum_check.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "trainer/config/load.h"
#include "trainer/step/step.h"

static const char config_text[] =
    "model: {vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2,\n"
    "  num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 8,\n"
    "  query_pre_attn_scalar: 8}\n"
    "seed: 3\nmesh: {data: 3}\nbatch: {sequences: 3, micro_sequences: 1}\n"
    "data: {sequence_length: 9}\nschedule: {steps: 1000000, warmup_steps: 10}\n"
    "optimizer: {learning_rate: 0.0001}\n";
enum { LANES = 3, SEED = 3, MOST_BITS = 8 };
static const lap_sharding shardings[] = {LAP_SHARDING_NONE, LAP_SHARDING_OPTIMIZER,
                                         LAP_SHARDING_GRADIENTS, LAP_SHARDING_FULL};

typedef struct {
  lap_comm *comm;
  lap_config *config;
  lap_synthetic synthetic;
  lap_data data;
  lap_state *state;
  lap_block_weights *weights;
  lap_stepper *stepper;
} run;

static void start_run(run *r, lap_comm *comm, lap_sharding sharding, lap_config *config) {
  lap_status status = {0};
  lap_placement placement;
  *r = (run){.comm = comm, .config = config, .synthetic = {.vocab_size = 40, .windows = 1 << 20}};
  if (lap_placement_create(&config->mesh, 0, sharding, comm, &placement, &status) != LAP_OK)
    fail_msg("%s", status.message);
  r->data = (lap_data){.sequence_length = 9, .synthetic = &r->synthetic};
  r->state = lap_state_create(&config->model, &placement, true);
  lap_state_initialise(r->state, SEED);
  r->weights = lap_block_weights_create(r->state);
  lap_block_weights_changed(r->weights, true);
  r->stepper = lap_stepper_create(config, &r->data, 1000000, r->state, r->weights);
}

static void end_run(run *r) {
  lap_block_weights_wait_all(r->weights);
  lap_stepper_destroy(r->stepper);
  lap_block_weights_destroy(r->weights);
  lap_state_destroy(r->state);
}

static lap_code step(run *r, lap_status *status) {
  lap_step_result result;
  const lap_code code = lap_stepper_run(r->stepper, (lap_step_requests){0}, &result, status);
  if (code == LAP_OK && result.skipped) fail_msg("a step made no update");
  return code;
}

/* --- a fault: bits of some bytes --- */

typedef struct {
  uint64_t number, draws;
} fault;

/* The next random number of the fault; the same on all ranks. */
static uint64_t draw(fault *f, uint64_t below) {
  const lap_random random = lap_philox(SEED, LAP_PURPOSE_BENCH, f->number, f->draws++);
  return (((uint64_t)random.word[0] << 32) | random.word[1]) % below;
}

/* One bit, or up to MOST_BITS different ones. A second call puts them back. */
static void flip_bits(const fault *f, void *bytes, size_t count) {
  fault own = {f->number, 1000};
  const uint64_t bits = draw(&own, 2) ? 1 : 2 + draw(&own, MOST_BITS - 1);
  uint64_t flipped[MOST_BITS];
  for (uint64_t i = 0; i < bits; ++i) {
    flipped[i] = draw(&own, 8 * count);
    bool again = false;
    for (uint64_t j = 0; j < i; ++j) again |= flipped[j] == flipped[i];
    if (!again) ((uint8_t *)bytes)[flipped[i] / 8] ^= (uint8_t)(1U << flipped[i] % 8);
  }
}

/* What is injected on this rank; `countdown` calls from now. NULL: nothing. */
static struct {
  const fault *in_message, *in_sum;
  uint64_t countdown;
  bool done, caught, expected, in_check;
  bool only_checked;              /* wait for a sum that is compared */
  const lap_partition *partition; /* of sums */
  uint64_t step;
  int owner;
  uint64_t sum_calls;
} injected;

/* --- in messages: as they have arrived, before they are looked at --- */

bool __real_lap_incoming_is_whole(const lap_incoming *message, uint64_t hash);
bool __wrap_lap_incoming_is_whole(const lap_incoming *message, uint64_t hash);
bool __wrap_lap_incoming_is_whole(const lap_incoming *message, uint64_t hash) {
  const bool hit = injected.in_message && !injected.done && injected.countdown-- == 0;
  if (!hit) return __real_lap_incoming_is_whole(message, hash);
  injected.done = injected.expected = true;
  flip_bits(injected.in_message, message->bytes, message->count);
  injected.caught = !__real_lap_incoming_is_whole(message, hash);
  flip_bits(injected.in_message, message->bytes, message->count); /* the job would end here */
  return true;
}

/* --- in sums: what one tile has come to --- */

void __real_lap_sum_check_finish(lap_sum_check *check, const float *owned, const int64_t *offset);
void __wrap_lap_sum_check_finish(lap_sum_check *check, const float *owned, const int64_t *offset);
void __wrap_lap_sum_check_finish(lap_sum_check *check, const float *owned, const int64_t *offset) {
  injected.in_check = true;
  __real_lap_sum_check_finish(check, owned, offset);
  injected.in_check = false;
}

/* Whether an element of the vector is added again in this step: what sum_check.h says, once more.
 */
static bool is_added_again(int64_t element) {
  const lap_partition *p = injected.partition;
  int b = 0;
  while (p->bucket_begin[b + 1] <= element) ++b;
  const lap_range range = lap_partition_range(p, b, injected.owner);
  const int64_t segments = lap_range_count(range) / LAP_SEGMENT;
  const lap_random random =
      lap_philox(SEED, LAP_PURPOSE_SUMS, injected.step,
                 (uint64_t)b * (uint64_t)p->owners + (uint64_t)injected.owner + 1);
  const int64_t count = (segments + random.word[0] % 64) / 64;
  const int64_t first =
      range.begin + (int64_t)(random.word[1] % (uint64_t)(segments - count + 1)) * LAP_SEGMENT;
  return element >= first && element < first + count * LAP_SEGMENT;
}

void __real_lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                           int64_t offset, float *const *held, int64_t held_offset);
void __wrap_lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                           int64_t offset, float *const *held, int64_t held_offset);
void __wrap_lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                           int64_t offset, float *const *held, int64_t held_offset) {
  __real_lap_merge_tile(plan, values, merging, offset, held, held_offset);
  ++injected.sum_calls;
  if (!injected.in_sum || injected.done) return;
  /* An addition of a checker is compared too. */
  const bool compared = injected.in_check || is_added_again(held_offset);
  if ((injected.only_checked && !compared) || injected.countdown-- != 0) return;
  injected.done = true;
  injected.expected = compared;
  flip_bits(injected.in_sum, held[0] + held_offset, LAP_MERGE_TILE * sizeof(float));
}

/* --- kinds --- */

typedef struct {
  uint64_t made, expected, caught, missed, false_alarms;
} tally;

/* The step that shows what the one before has found, and whether all ranks say the same. */
static bool next_step_ends(run *r, char message[LAP_MESSAGE_SIZE]) {
  lap_status status = {0};
  const lap_code code = step(r, &status);
  snprintf(message, LAP_MESSAGE_SIZE, "%s", status.message);
  if (code != LAP_OK && code != LAP_NONFINITE) fail_msg("%s", status.message);
  return code == LAP_NONFINITE;
}

static int draw_rank(run *r, fault *f) { return (int)draw(f, (uint64_t)lap_comm_size(r->comm)); }

/* Counted on all ranks, from what the one with the fault has seen. */
static void count(run *r, int rank, tally *t, bool expected, bool caught) {
  int64_t mine[2] = {0, 0}, most[2], fewest;
  if (lap_comm_rank(r->comm) == rank) {
    mine[0] = expected;
    mine[1] = caught;
  }
  for (int i = 0; i < 2; ++i) lap_agree_range(r->comm, mine[i], &fewest, &most[i]);
  ++t->made;
  t->expected += most[0] != 0;
  t->caught += most[0] && most[1];
  t->missed += most[0] && !most[1];
  t->false_alarms += !most[0] && most[1];
}

static void in_state(run *r, fault *f, tally *t, bool *over) {
  const int rank = draw_rank(r, f), kind = (int)draw(f, LAP_STATE_KINDS);
  const uint64_t place = draw(f, UINT64_C(1) << 40);
  lap_status status = {0};
  char message[LAP_MESSAGE_SIZE], who[64];
  lap_block_weights_wait_all(r->weights);
  if (lap_comm_rank(r->comm) == rank) {
    const int64_t held =
        r->state->whole[kind] ? r->state->parameters->elements : r->state->owned_elements;
    flip_bits(f, r->state->values[kind] + place % (uint64_t)held, sizeof(float));
  }
  /* An infinity makes a bad step, which updates nothing and checks nothing: then it is found before
   * the next checkpoint at the latest. */
  lap_step_result result;
  if (lap_stepper_run(r->stepper, (lap_step_requests){0}, &result, &status) != LAP_OK)
    fail_msg("%s", status.message);
  *over = result.skipped ? lap_stepper_confirm(r->stepper, &status) == LAP_NONFINITE
                         : next_step_ends(r, message);
  if (result.skipped) snprintf(message, sizeof message, "%s", status.message);
  snprintf(who, sizeof who, "wrong arithmetic at rank %d on ", rank);
  count(r, rank, t, true, *over && strstr(message, who));
  *over = true;
}

/* Any message of some step, or of an agreement between steps. */
static void in_message(run *r, fault *f, tally *t, bool *over) {
  enum { A_STEP = 40 };
  const int rank = draw_rank(r, f);
  lap_status status = {0};
  injected.done = injected.caught = injected.expected = false;
  injected.countdown = draw(f, A_STEP);
  if (lap_comm_rank(r->comm) == rank) injected.in_message = f;
  for (int64_t fewest, done = 0; !done;) {
    if (step(r, &status) != LAP_OK) fail_msg("%s", status.message);
    lap_agree_range(r->comm, injected.done, &fewest, &done);
  }
  injected.in_message = NULL;
  count(r, rank, t, injected.expected, injected.caught);
  *over = false;
}

static void in_sum(run *r, fault *f, tally *t, bool *over) {
  const int rank = draw_rank(r, f);
  const uint64_t countdown = draw(f, UINT64_C(1) << 40);
  lap_status status = {0};
  char message[LAP_MESSAGE_SIZE];
  const uint64_t before = injected.sum_calls;
  if (step(r, &status) != LAP_OK) fail_msg("%s", status.message);
  const uint64_t calls = injected.sum_calls - before;
  injected.done = injected.caught = injected.expected = false;
  injected.countdown = calls ? countdown % calls : 0;
  injected.partition = r->state->partition;
  injected.owner = r->state->group.index;
  injected.step = r->state->step + 1;
  if (lap_comm_rank(r->comm) == rank) injected.in_sum = f;
  lap_step_result result;
  if (lap_stepper_run(r->stepper, (lap_step_requests){0}, &result, &status) != LAP_OK)
    fail_msg("%s", status.message);
  injected.in_sum = NULL;
  const bool ended = next_step_ends(r, message);
  count(r, rank, t, injected.expected, ended);
  *over = ended || result.skipped;
}

/* Waits for the steps in which the rank adds something that is added again. */
static void in_compared_sum(run *r, fault *f, tally *t, bool *over) {
  enum { MOST_STEPS = 2000 };
  const int rank = draw_rank(r, f);
  lap_status status = {0};
  char message[LAP_MESSAGE_SIZE];
  injected.done = injected.caught = injected.expected = false;
  injected.countdown = draw(f, 3);
  injected.only_checked = true;
  injected.partition = r->state->partition;
  injected.owner = r->state->group.index;
  if (lap_comm_rank(r->comm) == rank) injected.in_sum = f;
  lap_step_result result;
  int64_t fewest, done = 0;
  for (int steps = 0; !done && steps < MOST_STEPS; ++steps) {
    injected.step = r->state->step + 1;
    if (lap_stepper_run(r->stepper, (lap_step_requests){0}, &result, &status) != LAP_OK)
      fail_msg("%s", status.message);
    lap_agree_range(r->comm, injected.done, &fewest, &done);
  }
  assert_true(done);
  injected.in_sum = NULL;
  injected.only_checked = false;
  const bool ended = next_step_ends(r, message);
  count(r, rank, t, true, ended && strstr(message, "of the gradient of bucket "));
  *over = true;
}

/* Another kind is a row: products in a lane that is computed again belong here. */
static const struct {
  const char *name;
  void (*make)(run *r, fault *f, tally *t, bool *over);
  bool any_sharding; /* else those with block lanes, whose sums lie in the vector's own order */
} kinds[] = {{"message", in_message, true},
             {"state between updates", in_state, true},
             {"sum that is added again", in_compared_sum, false},
             {"sum over ranks, anywhere", in_sum, false}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* --- the list --- */

static struct { uint64_t faults, clean_steps, first; } wanted = {240, 1500, 0};

static lap_config *load(void) {
  lap_config *config;
  lap_status status = {0};
  if (lap_config_parse("c.yaml", config_text, sizeof config_text - 1, NULL, 0, &config, &status) !=
      LAP_OK)
    fail_msg("%s", status.message);
  config->threads = omp_get_max_threads();
  return config;
}

/* Runs are over when a fault ends them; a run of every sharding in turn. */
static void make_faults(lap_comm *comm, int kind, tally *t) {
  lap_config *config = load();
  run r;
  bool open = false;
  uint64_t turn = wanted.first;
  for (uint64_t n = wanted.first; n < wanted.first + wanted.faults; ++n) {
    if ((int)(n % KINDS) != kind) continue;
    fault f = {.number = n};
    bool over = false;
    lap_status status = {0};
    if (!open) {
      start_run(&r, comm, shardings[kinds[kind].any_sharding ? turn++ % 4 : turn++ % 2], config);
      if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    }
    kinds[kind].make(&r, &f, t, &over);
    open = !over && n / KINDS % 50 != 49;
    if (!open) end_run(&r);
  }
  if (open) end_run(&r);
  lap_config_destroy(config);
}

static void what_is_checked_is_caught(void **state) {
  lap_comm *comm = *state;
  for (int kind = 0; kind < KINDS; ++kind) {
    tally t = {0};
    if (lap_comm_size(comm) == 1 && kind != 1) continue; /* no messages, no sums over ranks */
    make_faults(comm, kind, &t);
    if (lap_comm_rank(comm) == 0)
      printf("faults: %s: %" PRIu64 " made, %" PRIu64 " where something is checked, %" PRIu64
             " caught, %" PRIu64 " missed, %" PRIu64 " false alarms\n",
             kinds[kind].name, t.made, t.expected, t.caught, t.missed, t.false_alarms);
    assert_int_equal(t.missed, 0);
    assert_int_equal(t.false_alarms, 0);
    assert_int_equal(t.caught, t.expected);
    if (kinds[kind].make != in_sum) assert_int_equal(t.expected, t.made);
  }
}

static void clean_steps_raise_no_alarm(void **state) {
  lap_comm *comm = *state;
  lap_config *config = load();
  for (int s = 0; s < 4; ++s) {
    run r;
    lap_status status = {0};
    start_run(&r, comm, shardings[s], config);
    for (uint64_t i = 0; i < wanted.clean_steps / 4; ++i)
      if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    if (lap_stepper_confirm(r.stepper, &status) != LAP_OK) fail_msg("%s", status.message);
    end_run(&r);
  }
  if (lap_comm_rank(comm) == 0)
    printf("faults: %" PRIu64 " clean steps, 0 alarms\n", wanted.clean_steps / 4 * 4);
  lap_config_destroy(config);
}

int main(int argc, char **argv) {
  if (argc > 1) wanted.faults = strtoull(argv[1], NULL, 10);
  if (argc > 2) wanted.clean_steps = strtoull(argv[2], NULL, 10);
  if (argc > 3) wanted.first = strtoull(argv[3], NULL, 10);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_checked_is_caught),
      cmocka_unit_test(clean_steps_raise_no_alarm),
  };
  return cmocka_run_group_tests_name("faults", tests, world_start, world_finish);
}
