/* faults: bits that change on purpose, one fault after another, in a small run of the real trainer:
 * in messages, in the state between steps, in sums over ranks, in products. What is checked must be
 * caught, every time; what is not checked must not be said to be; clean steps must raise no alarm.
 *
 *     mpirun -n RANKS test_faults_alone [FAULTS [CLEAN_STEPS [FIRST]]]
 *
 * Faults FIRST .. FIRST + FAULTS - 1 of an endless list, each a function of its number; prints how
 * many of each kind were made and caught. Everything is injected here, by wrapping functions at
 * link time: the shipped program has no way to. A kind of fault is a row of `kinds`.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/matmul/matmul.h"
#include "core/memory.h"
#include "core/philox.h"
#include "mpi/collective/sum_check.h"
#include "mpi/transport/agree.h"
#include "tests/trainer/step/small_run.h"

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
  const char *const *keys;
  size_t count;
} overrides;
/* As the trainer does it, or every lane again in every step. */
static const overrides rechecks_now_and_then = {(const char *const[]){"integrity.recheck.every=7"},
                                                1};
static const overrides rechecks_all = {
    (const char *const[]){"integrity.recheck.every=1", "integrity.recheck.lanes=3"}, 2};
static const overrides rechecks_none = {NULL, 0};

static void start_run(small_run *r, lap_comm *comm, lap_sharding sharding, overrides with) {
  lap_config *config = small_run_config(config_text, with.keys, with.count);
  config->sharding = sharding;
  small_run_start(r, comm, config, NULL);
}

static lap_code step(small_run *r, lap_status *status) {
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
  fault *in_product;
  uint64_t products;
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

/* --- in products: an element of an operand as it is read, or of the sum --- */

/* What a product reads of an operand, in memory of its own, with a fault in one element. */
static float *copy_wrongly(fault *f, const float *from, int64_t rows, int64_t columns,
                           int64_t stride) {
  float *copy = lap_allocate(rows * columns, sizeof *copy);
  for (int64_t r = 0; r < rows; ++r)
    memcpy(copy + r * columns, from + r * stride, (size_t)columns * sizeof *copy);
  flip_bits(f, copy + draw(f, (uint64_t)(rows * columns)), sizeof *copy);
  return copy;
}

static void multiply_wrongly(fault *f, const lap_matmul *product,
                             void (*compute)(const lap_matmul *product)) {
  lap_matmul p = *product;
  float *copy = NULL;
  const uint64_t which = draw(f, 3);
  if (which == 0 && p.a) {
    const int64_t rows = p.transpose_a ? p.k : p.m, columns = p.transpose_a ? p.m : p.k;
    p.a = copy = copy_wrongly(f, p.a, rows, columns, p.lda);
    p.lda = columns;
  } else if (which == 1 && p.b) {
    const int64_t rows = p.transpose_b ? p.n : p.k, columns = p.transpose_b ? p.k : p.n;
    p.b = copy = copy_wrongly(f, p.b, rows, columns, p.ldb);
    p.ldb = columns;
  }
  compute(&p);
  if (!copy) {
    const int64_t at = (int64_t)draw(f, (uint64_t)(p.m * p.n));
    flip_bits(f, p.c + at / p.n * p.ldc + at % p.n, sizeof *p.c);
  }
  free(copy);
}

static void multiply(const lap_matmul *product, void (*compute)(const lap_matmul *product)) {
  if (product->m == 0 || product->n == 0 || product->k == 0) {
    compute(product);
    return;
  }
  ++injected.products;
  if (!injected.in_product || injected.done || injected.countdown-- != 0) {
    compute(product);
    return;
  }
  injected.done = true;
  multiply_wrongly(injected.in_product, product, compute);
}

void __real_lap_matmul_run(const lap_matmul *product);
void __wrap_lap_matmul_run(const lap_matmul *product);
void __real_lap_matmul_run_here(const lap_matmul *product);
void __wrap_lap_matmul_run_here(const lap_matmul *product);
void __wrap_lap_matmul_run(const lap_matmul *product) { multiply(product, __real_lap_matmul_run); }
void __wrap_lap_matmul_run_here(const lap_matmul *product) {
  multiply(product, __real_lap_matmul_run_here);
}

/* --- kinds --- */

typedef struct {
  uint64_t made, expected, caught, missed, false_alarms;
} tally;

/* Whether a step ends for wrong arithmetic, of which all ranks say the same. */
static bool ends(small_run *r, lap_step_result *result, char message[LAP_MESSAGE_SIZE]) {
  lap_status status = {0};
  const lap_code code = lap_stepper_run(r->stepper, (lap_step_requests){0}, result, &status);
  snprintf(message, LAP_MESSAGE_SIZE, "%s", status.message);
  if (code != LAP_OK && code != LAP_NONFINITE) fail_msg("%s", status.message);
  return code == LAP_NONFINITE;
}

/* The step that shows what the one before has found. */
static bool next_step_ends(small_run *r, char message[LAP_MESSAGE_SIZE]) {
  lap_step_result ignored;
  return ends(r, &ignored, message);
}

static int draw_rank(small_run *r, fault *f) {
  return (int)draw(f, (uint64_t)lap_comm_size(r->comm));
}

/* Counted on all ranks, from what the one with the fault has seen. */
static void count(small_run *r, int rank, tally *t, bool expected, bool caught) {
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

static void in_state(small_run *r, fault *f, tally *t, bool *over) {
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
  if (step(r, &status) != LAP_OK) fail_msg("%s", status.message);
  *over = next_step_ends(r, message);
  snprintf(who, sizeof who, "wrong arithmetic at rank %d on ", rank);
  count(r, rank, t, true, *over && strstr(message, who));
  *over = true;
}

/* Any message of some step, or of an agreement between steps. */
static void in_message(small_run *r, fault *f, tally *t, bool *over) {
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

static void in_sum(small_run *r, fault *f, tally *t, bool *over) {
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
  lap_step_result result = {0};
  const bool at_once = ends(r, &result, message); /* what is no number is seen whoever adds it */
  injected.in_sum = NULL;
  const bool ended = at_once || next_step_ends(r, message);
  count(r, rank, t, injected.expected || at_once, ended);
  *over = ended || result.skipped;
}

/* Waits for the steps in which the rank adds something that is added again. */
static void in_compared_sum(small_run *r, fault *f, tally *t, bool *over) {
  enum { MOST_STEPS = 2000 };
  const int rank = draw_rank(r, f);
  char message[LAP_MESSAGE_SIZE];
  injected.done = injected.caught = injected.expected = false;
  injected.countdown = draw(f, 3);
  injected.only_checked = true;
  injected.partition = r->state->partition;
  injected.owner = r->state->group.index;
  if (lap_comm_rank(r->comm) == rank) injected.in_sum = f;
  lap_step_result result;
  int64_t fewest, done = 0;
  bool ended = false;
  for (int steps = 0; !done && steps < MOST_STEPS; ++steps) {
    injected.step = r->state->step + 1;
    ended = ends(r, &result, message);
    lap_agree_range(r->comm, injected.done, &fewest, &done);
  }
  assert_true(done);
  injected.in_sum = NULL;
  injected.only_checked = false;
  ended = ended || next_step_ends(r, message);
  count(r, rank, t, true, ended && strstr(message, "of the gradient of bucket "));
  *over = true;
}

/* Steps until the fault is made, on the rank that has it; how that one ends. The twin makes the
 * same steps without it. */
static lap_code step_wrongly(small_run *r, small_run *twin, fault *f, lap_status *status) {
  for (int64_t fewest, done = 0;;) {
    *status = (lap_status){0};
    injected.in_product = f;
    const lap_code code = step(r, status);
    injected.in_product = NULL;
    lap_agree_range(r->comm, injected.done, &fewest, &done);
    if (done || code != LAP_OK) return code;
    if (step(twin, status) != LAP_OK) fail_msg("%s", status->message);
  }
}

/* Every lane is computed again, and the fault is in the first or the second time. One that is not
 * caught must have no effect: the state is that of a twin without it. So it is after one that was
 * caught, in a replay of the same step. */
static void in_product(small_run *r, fault *f, tally *t, bool *over) {
  const int rank = draw_rank(r, f);
  const uint64_t countdown = draw(f, UINT64_C(1) << 40);
  lap_status status = {0};
  small_run twin;
  char mine[LAP_SHA256_HEX], clean[LAP_SHA256_HEX], who[64];
  const uint64_t before = injected.products;
  if (step(r, &status) != LAP_OK) fail_msg("%s", status.message);
  const uint64_t calls = injected.products - before;
  start_run(&twin, r->comm, r->config->sharding, rechecks_none);
  while (twin.state->step < r->state->step)
    if (step(&twin, &status) != LAP_OK) fail_msg("%s", status.message);
  injected.done = false;
  injected.countdown = countdown % calls;
  const lap_code code = step_wrongly(r, &twin, lap_comm_rank(r->comm) == rank ? f : NULL, &status);
  if (code != LAP_OK && code != LAP_NONFINITE) fail_msg("%s", status.message);
  snprintf(who, sizeof who, "Computed wrongly: rank %d on ", rank);
  const bool caught = code == LAP_NONFINITE && strstr(status.message, who);
  if (code == LAP_NONFINITE && step(r, &status) != LAP_OK) fail_msg("%s", status.message);
  if (step(&twin, &status) != LAP_OK) fail_msg("%s", status.message);
  small_run_sha256(r, mine);
  small_run_sha256(&twin, clean);
  const bool same = strcmp(mine, clean) == 0;
  if (code == LAP_NONFINITE) assert_true(same);
  small_run_end(&twin);
  count(r, rank, t, code == LAP_NONFINITE || !same, caught);
  *over = true; /* a twin is the dearer the further its run has come */
}

/* A kind of fault is a row. */
static const struct {
  const char *name;
  void (*make)(small_run *r, fault *f, tally *t, bool *over);
  const overrides *with;
  bool any_sharding; /* else those with block lanes, whose sums lie in the vector's own order */
  bool on_one_rank;  /* there are such faults without others */
  bool all_count;    /* each is made where something is checked, and has an effect */
} kinds[] = {
    {"message", in_message, &rechecks_now_and_then, true, false, true},
    {"state between updates", in_state, &rechecks_now_and_then, true, true, true},
    {"sum that is added again", in_compared_sum, &rechecks_now_and_then, false, false, true},
    {"sum over ranks, anywhere", in_sum, &rechecks_now_and_then, false, false, false},
    {"product in a lane that is computed again", in_product, &rechecks_all, true, true, false},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* --- the list --- */

static struct { uint64_t faults, clean_steps, first; } wanted = {240, 1500, 0};

/* Runs are over when a fault ends them; a run of every sharding in turn. */
static void make_faults(lap_comm *comm, int kind, tally *t) {
  small_run r;
  bool open = false;
  uint64_t turn = wanted.first;
  for (uint64_t n = wanted.first; n < wanted.first + wanted.faults; ++n) {
    if ((int)(n % KINDS) != kind) continue;
    fault f = {.number = n};
    bool over = false;
    lap_status status = {0};
    if (!open) {
      start_run(&r, comm, shardings[kinds[kind].any_sharding ? turn++ % 4 : turn++ % 2],
                *kinds[kind].with);
      if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    }
    kinds[kind].make(&r, &f, t, &over);
    open = !over && n / KINDS % 50 != 49;
    if (!open) small_run_end(&r);
  }
  if (open) small_run_end(&r);
}

static void what_is_checked_is_caught(void **state) {
  lap_comm *comm = *state;
  for (int kind = 0; kind < KINDS; ++kind) {
    tally t = {0};
    if (lap_comm_size(comm) == 1 && !kinds[kind].on_one_rank) continue;
    make_faults(comm, kind, &t);
    if (lap_comm_rank(comm) == 0)
      printf("faults: %s: %" PRIu64 " made, %" PRIu64 " where something is checked, %" PRIu64
             " caught, %" PRIu64 " missed, %" PRIu64 " false alarms\n",
             kinds[kind].name, t.made, t.expected, t.caught, t.missed, t.false_alarms);
    assert_int_equal(t.missed, 0);
    assert_int_equal(t.false_alarms, 0);
    assert_int_equal(t.caught, t.expected);
    if (kinds[kind].all_count) assert_int_equal(t.expected, t.made);
    if (kinds[kind].make == in_product) assert_true(2 * t.expected > t.made);
  }
}

static void clean_steps_raise_no_alarm(void **state) {
  lap_comm *comm = *state;
  for (int s = 0; s < 4; ++s) {
    small_run r;
    lap_status status = {0};
    start_run(&r, comm, shardings[s], rechecks_now_and_then);
    for (uint64_t i = 0; i < wanted.clean_steps / 4; ++i)
      if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    if (lap_stepper_confirm(r.stepper, &status) != LAP_OK) fail_msg("%s", status.message);
    small_run_end(&r);
  }
  if (lap_comm_rank(comm) == 0)
    printf("faults: %" PRIu64 " clean steps, 0 alarms\n", wanted.clean_steps / 4 * 4);
}

int main(int argc, char **argv) {
  if (argc > 1) wanted.faults = strtoull(argv[1], NULL, 10);
  if (argc > 2) wanted.clean_steps = strtoull(argv[2], NULL, 10);
  if (argc > 3) wanted.first = strtoull(argv[3], NULL, 10);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_checked_is_caught),
      cmocka_unit_test(clean_steps_raise_no_alarm),
  };
  return cmocka_run_group_tests_name("faults", tests, small_run_world_start,
                                     small_run_world_finish);
}
