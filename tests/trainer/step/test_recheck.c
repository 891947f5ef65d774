/* recheck: which lanes are computed again and by whom, who is right, and what a step does when a
 * rank computes a lane wrongly. Linked so that passes over the model come through here (--wrap): a
 * test can flip a bit of a gradient as backward leaves a layer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/trainer/step/small_run.h"
#include "trainer/step/recheck_draw.h"

/* --- draws and votes --- */

static void lanes_are_distinct_and_each_comes_as_often_as_any_other(void **state) {
  (void)state;
  enum { LANES = 10, CHOSEN = 3, STEPS = 20000 };
  int times[LANES] = {0}, together = 0;
  for (uint64_t step = 0; step < STEPS; ++step) {
    int lane[CHOSEN], same[CHOSEN];
    assert_int_equal(lap_recheck_choose(7, step, LANES, CHOSEN, lane), CHOSEN);
    lap_recheck_choose(7, step, LANES, CHOSEN, same);
    assert_memory_equal(lane, same, sizeof lane);
    assert_true(lane[0] != lane[1] && lane[0] != lane[2] && lane[1] != lane[2]);
    for (int i = 0; i < CHOSEN; ++i) {
      assert_in_range(lane[i], 0, LANES - 1);
      ++times[lane[i]];
    }
    lap_recheck_choose(8, step, LANES, CHOSEN, same);
    together += memcmp(lane, same, sizeof lane) == 0;
  }
  /* Six standard deviations of a binomial around 6000; one in 720 ordered triples is the same. */
  for (int lane = 0; lane < LANES; ++lane) assert_in_range(times[lane], 5600, 6400);
  assert_in_range(together, 1, 80);
}

static void as_many_lanes_as_asked_for_but_no_more_than_there_are(void **state) {
  (void)state;
  int lane[4], seen[4] = {0};
  assert_int_equal(lap_recheck_choose(1, 2, 4, 1000000000, lane), 4);
  for (int i = 0; i < 4; ++i) ++seen[lane[i]];
  for (int i = 0; i < 4; ++i) assert_int_equal(seen[i], 1);
  assert_int_equal(lap_recheck_choose(1, 2, 1, 1, lane), 1);
  assert_int_equal(lane[0], 0);
}

static void check_assignment(lap_lane_schedule schedule, int replicas, int lanes, uint64_t step) {
  enum { MOST = 64 };
  const lap_mesh mesh = {2, lanes / 2, 1};
  int chosen[MOST], first[MOST], again[MOST], load[MOST] = {0}, largest = 0;
  const int count = lap_recheck_choose(3, step, lanes, lanes / 2, chosen);
  lap_recheck_assign(&mesh, schedule, replicas, 3, step, chosen, count, first, again);
  for (int i = 0; i < count; ++i) {
    const lap_lanes own = lap_lanes_of_replica(&mesh, schedule, replicas, first[i]);
    bool found = false;
    for (int round = 0; round < own.count; ++round)
      found = found || lap_lane_in_round(own, round) == chosen[i];
    assert_true(found);
    assert_in_range(again[i], 0, replicas - 1);
    assert_true(replicas == 1 || again[i] != first[i]);
    if (++load[again[i]] > largest) largest = load[again[i]];
  }
  /* What is computed again at the same time takes as long as the fullest replica. */
  if (replicas > 2) assert_in_range(largest, 1, count / (replicas - 1) + 2);
}

static void another_replica_computes_again_and_the_work_is_shared(void **state) {
  (void)state;
  for (int replicas = 1; replicas <= 7; ++replicas)
    for (uint64_t step = 0; step < 50; ++step) {
      check_assignment(LAP_LANES_BLOCK, replicas, 24, step);
      check_assignment(LAP_LANES_CYCLIC, replicas, 24, step);
    }
}

static void every_replica_judges_every_other_in_time(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 4, 1};
  int judged[4][4] = {{0}};
  for (uint64_t step = 0; step < 400; ++step) {
    int lane, first, again;
    lap_recheck_choose(1, step, 4, 1, &lane);
    lap_recheck_assign(&mesh, LAP_LANES_BLOCK, 4, 1, step, &lane, 1, &first, &again);
    ++judged[first][again];
  }
  for (int first = 0; first < 4; ++first)
    for (int again = 0; again < 4; ++again)
      assert_true((judged[first][again] > 10) == (first != again));
}

static void the_majority_is_right(void **state) {
  (void)state;
  static const struct {
    int votes, same_as[4], right;
    bool wrong[4];
  } cases[] = {
      {3, {0, 1, 0}, 0, {false, true, false}},
      {3, {0, 1, 1}, 1, {true, false, false}},
      {3, {0, 1, 2}, -1, {false}},
      {4, {0, 1, 0, 1}, -1, {false}},
      {4, {0, 1, 0, 0}, 0, {false, true, false, false}},
      {4, {0, 1, 1, 1}, 1, {true, false, false, false}},
      {4, {0, 1, 0, 3}, 0, {false, true, false, true}},
      {4, {0, 1, 2, 1}, 1, {true, false, true, false}},
      {4, {0, 1, 2, 2}, 2, {true, true, false, false}},
      {4, {0, 1, 2, 3}, -1, {false}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    bool wrong[4] = {false};
    assert_int_equal(lap_recheck_vote(cases[i].same_as, cases[i].votes, wrong), cases[i].right);
    if (cases[i].right >= 0) assert_memory_equal(wrong, cases[i].wrong, (size_t)cases[i].votes);
  }
}

/* --- a rank that computes wrongly --- */

static struct {
  int rank;        /* -1: none */
  int first, last; /* passes of that rank in the step that are spoilt, from 1 */
  bool to_nan;     /* not one bit, but a NaN */
  bool in_loss;    /* of the pass, instead of: */
  bool nan;        /* of all ranks, each time with other bits, instead of one bit: */
  int block;       /* in whose backward */
  int bucket;
  int64_t element; /* of the bucket */
  int passes;      /* of this rank in the step so far */
} fault;

static struct {
  const lap_gemma2_pass *pass;
  int rank;
} now;

void __real_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass);
void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass);

static bool is_wrong(void) {
  return now.rank == fault.rank && fault.passes >= fault.first && fault.passes <= fault.last;
}

/* As kernels differ in what NaN they make. */
static void make_nan(float *value) {
  const uint32_t bits =
      UINT32_C(0x7fc00000) | (uint32_t)now.rank << 31 | (uint32_t)fault.passes << 4;
  memcpy(value, &bits, sizeof bits);
}

static void leave_and_spoil(void *context, int block, bool backward) {
  if (fault.nan && backward && block == fault.block)
    make_nan(now.pass->gradients[fault.bucket] + fault.element);
  if (is_wrong() && !fault.in_loss && backward && block == fault.block) { /* one bit */
    uint32_t bits;
    float *value = now.pass->gradients[fault.bucket] + fault.element;
    memcpy(&bits, value, sizeof bits);
    bits ^= 1U << 18; /* the next micro-batch is added to it */
    memcpy(value, &bits, sizeof bits);
    if (fault.to_nan) make_nan(value);
  }
  now.pass->hooks->leave(context, block, backward);
}

void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass) {
  ++fault.passes;
  now.pass = pass;
  const lap_block_hooks hooks = {pass->hooks->context, pass->hooks->enter, leave_and_spoil};
  lap_gemma2_pass spoilt = *pass;
  spoilt.hooks = &hooks;
  __real_lap_gemma2_replay_float(model, &spoilt);
  if (is_wrong() && fault.in_loss) pass->losses->loss[1] += fault.to_nan ? NAN : 1e-6;
}

static int fills, failing_fill; /* 0: none */

lap_code __real_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status);
lap_code __wrap_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status);

lap_code __wrap_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status) {
  if (++fills == failing_fill) return lap_fail(status, LAP_DATA, "row 8 is damaged");
  return __real_lap_micro_batch_fill(micro, data, windows, status);
}

static const char config_text[] =
    "model: {vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 3,\n"
    "  num_attention_heads: 2, num_key_value_heads: 2, head_dim: 8, sliding_window: 8,\n"
    "  query_pre_attn_scalar: 8}\n"
    "seed: 3\nmesh: {data: 6, model: 2}\nbatch: {sequences: 12, micro_sequences: 1}\n"
    "data: {sequence_length: 9}\nschedule: {steps: 100, warmup_steps: 2}\n";

typedef struct {
  const char *const *overrides;
  size_t count;
} settings;

static void start_run(small_run *r, lap_comm *comm, settings with) {
  small_run_start(r, comm, small_run_config(config_text, with.overrides, with.count), NULL);
  now.rank = lap_comm_rank(comm);
  fault.rank = -1;
  fault.in_loss = fault.nan = fault.to_nan = false;
}

static lap_code step(small_run *r, lap_status *status) {
  lap_step_result result;
  fault.passes = 0;
  *status = (lap_status){0};
  return lap_stepper_run(r->stepper, (lap_step_requests){0}, &result, status);
}

/* --- steps without a fault --- */

static void train(lap_comm *comm, settings with, char hex[LAP_SHA256_HEX], int *passes) {
  small_run r;
  lap_status status;
  start_run(&r, comm, with);
  *passes = 0;
  for (int i = 0; i < 4; ++i) {
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    *passes += fault.passes;
    assert_null(lap_stepper_verdict(r.stepper));
  }
  small_run_sha256(&r, hex);
  small_run_end(&r);
}

static void a_recheck_finds_nothing_and_changes_nothing_where_nothing_is_wrong(void **state) {
  static const char *const shards[] = {"none", "optimizer", "gradients", "full"};
  static const char *const micros[] = {"1", "2"};
  char expected[LAP_SHA256_HEX] = "";
  for (int shard = 0; shard < 4; ++shard)
    for (int micro = 0; micro < 2; ++micro) {
      char *words[4] = {lap_format("mesh.shard=%s", shards[shard]),
                        lap_format("batch.micro_sequences=%s", micros[micro]),
                        lap_copy_string("integrity.recheck.every=2"),
                        lap_copy_string("integrity.recheck.lanes=4")};
      char off[LAP_SHA256_HEX], on[LAP_SHA256_HEX];
      int without, with;
      train(*state, (settings){(const char *const *)words, 2}, off, &without);
      train(*state, (settings){(const char *const *)words, 4}, on, &with);
      assert_string_equal(on, off);
      if (!*expected) memcpy(expected, off, sizeof off);
      assert_string_equal(on, expected);
      int64_t least, most; /* four lanes in two of the four steps, on all ranks together */
      lap_agree_range(*state, with - without, &least, &most);
      assert_in_range(most, 1, 8 * (micro ? 1 : 2));
      for (int i = 0; i < 4; ++i) free(words[i]);
    }
}

/* Counts down to the micro-batch before which a rank leaves. */
static bool leaves(void *context) {
  int *left = context;
  return (*left)-- == 0;
}

/* The last rank has computed its lanes, and leaves before the first or second micro-batch that it
 * computes again. */
static void a_recheck_that_one_rank_leaves_leaves_the_step(void **state) {
  static const char *const shards[] = {"none", "optimizer", "gradients", "full"};
  lap_comm *comm = *state;
  for (int i = 0; i < 8; ++i) {
    small_run r;
    lap_status status;
    char *key = lap_format("mesh.shard=%s", shards[i / 2]);
    const char *with[] = {"integrity.recheck.every=1", "integrity.recheck.lanes=6", key};
    start_run(&r, comm, (settings){with, 3});
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    char before[LAP_SHA256_HEX], after[LAP_SHA256_HEX];
    small_run_sha256(&r, before);
    const int own = r.state->placement.fold.lanes.count * (int)lap_config_micro_batches(r.config);
    int countdown = lap_comm_rank(comm) == lap_comm_size(comm) - 1 ? own + i % 2 : -1;
    lap_step_result result;
    fault.passes = 0;
    assert_int_equal(
        lap_stepper_run(r.stepper, (lap_step_requests){.leave = leaves, .context = &countdown},
                        &result, &status),
        LAP_OK);
    assert_true(result.left);
    assert_null(lap_stepper_verdict(r.stepper));
    small_run_sha256(&r, after);
    assert_string_equal(before, after);
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    assert_int_equal(r.state->step, 2);
    free(key);
    small_run_end(&r);
  }
}

/* --- steps with one --- */

typedef struct {
  int replicas, model_ranks;
} layout;

static layout layout_of(const small_run *r) {
  return (layout){r->state->placement.fold.replicas, r->state->placement.fold.model_ranks};
}

/* Where the bit flips: the shard that the faulty rank holds first. */
static void aim(const small_run *r, const char *tensor, int block) {
  const lap_parameter *parameter = lap_parameters_find(r->state->parameters, tensor);
  assert_non_null(parameter);
  fault.block = block;
  fault.bucket = parameter->bucket;
  fault.element = parameter->offset - r->state->parameters->bucket[parameter->bucket].begin + 5;
}

static int suspects(const small_run *r, lap_comm *comm) {
  int count = 0;
  for (int rank = 0; rank < lap_comm_size(comm); ++rank)
    count += lap_stepper_verdict(r->stepper)->suspect[rank];
  return count;
}

static const char tensor_name[] = "model.layers.1.mlp.up_proj.weight";

/* The faulty rank computes wrongly in its passes `first` to `last` of the third step. */
static void run_with_fault(small_run *r, lap_comm *comm, settings with, int rank, int first,
                           int last, lap_status *status) {
  char before[LAP_SHA256_HEX], after[LAP_SHA256_HEX];
  start_run(r, comm, with);
  aim(r, tensor_name, 2);
  for (int i = 0; i < 2; ++i)
    if (step(r, status) != LAP_OK) fail_msg("%s", status->message);
  small_run_sha256(r, before);
  fault.rank = rank;
  fault.first = first;
  fault.last = last;
  assert_int_equal(step(r, status), LAP_NONFINITE);
  assert_non_null(lap_stepper_verdict(r->stepper));
  assert_int_equal(lap_agree_same(comm, "message", status->message, "", &(lap_status){0}), LAP_OK);
  small_run_sha256(r, after);
  assert_string_equal(before, after);
}

static void assert_says(const lap_status *status, const char *format, ...) {
  char words[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(words, sizeof words, format, arguments);
  va_end(arguments);
  if (!strstr(status->message, words)) fail_msg("'%s' is not in: %s", words, status->message);
}

static const char *const each_step[] = {"integrity.recheck.every=1", "integrity.recheck.lanes=6"};

/* Once, in the first computation of the rank's first lane. Whoever computes it again is right. */
static void a_bit_that_flips_once_is_found_and_the_rank_named(void **state) {
  static const char *const shards[] = {"none", "optimizer", "gradients", "full"};
  lap_comm *comm = *state;
  for (int shard = 0; shard < 4; ++shard)
    for (int rank = 0; rank < lap_comm_size(comm); ++rank) {
      small_run r;
      lap_status status;
      char *key = lap_format("mesh.shard=%s", shards[shard]);
      const char *with[] = {each_step[0], each_step[1], key};
      run_with_fault(&r, comm, (settings){with, 3}, rank, 1, 1, &status);
      assert_says(&status, "step 3: the gradients of lane ");
      assert_says(&status, "Computed wrongly: rank %d on %s", rank, lap_comm_host(comm, rank));
      assert_says(&status, "differs is %s of model shard %d", tensor_name,
                  rank % layout_of(&r).model_ranks);
      assert_true(lap_stepper_verdict(r.stepper)->decided);
      assert_true(lap_stepper_verdict(r.stepper)->suspect[rank]);
      assert_int_equal(suspects(&r, comm), 1);
      small_run_end(&r);
      free(key);
    }
}

static void expect_agreement_with_itself(lap_comm *comm) {
  small_run r;
  lap_status status;
  start_run(&r, comm, (settings){each_step, 2});
  aim(&r, tensor_name, 2);
  fault.rank = 0;
  fault.first = 1;
  fault.last = 1000;
  assert_int_equal(step(&r, &status), LAP_OK);
  assert_null(lap_stepper_verdict(r.stepper));
  small_run_end(&r);
}

/* What is reported of a lane has been computed wrongly, and nothing else. */
static void a_loss_that_is_wrong_is_found_and_the_rank_named(void **state) {
  lap_comm *comm = *state;
  for (int rank = 0; rank < lap_comm_size(comm); ++rank) {
    small_run r;
    lap_status status;
    start_run(&r, comm, (settings){each_step, 2});
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    fault.rank = rank;
    fault.first = fault.last = 1;
    fault.in_loss = true;
    assert_int_equal(step(&r, &status), LAP_NONFINITE);
    assert_says(&status, "step 2: the losses of lane ");
    assert_says(&status, "Computed wrongly: rank %d on ", rank);
    assert_says(&status, "No gradient differs. ");
    assert_int_equal(suspects(&r, comm), 1);
    small_run_end(&r);
  }
}

/* It is the step that is bad, and no rank. */
static void a_nan_is_a_nan_whatever_its_bits(void **state) {
  small_run r;
  lap_status status = {0};
  start_run(&r, *state, (settings){each_step, 2});
  aim(&r, tensor_name, 2);
  fault.nan = true;
  for (uint64_t bad = 1; bad <= 3; ++bad) {
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    assert_null(lap_stepper_verdict(r.stepper));
    assert_int_equal(r.state->bad_steps, bad);
  }
  small_run_end(&r);
}

/* Where no recheck is due. Only one is computed wrongly, so the texts are not at fault; the first
 * micro-batch of the rank's first lane. */
static void a_nan_that_comes_once_is_no_bad_batch(void **state) {
  static const char *const shards[] = {"mesh.shard=none", "mesh.shard=optimizer",
                                       "mesh.shard=gradients", "mesh.shard=full"};
  lap_comm *comm = *state;
  for (int i = 0; i < 8; ++i) {
    const int rank = i % lap_comm_size(comm);
    small_run r;
    lap_status status;
    char before[LAP_SHA256_HEX], after[LAP_SHA256_HEX];
    start_run(&r, comm,
              (settings){(const char *const[]){"integrity.recheck.every=1000", shards[i / 2]}, 2});
    aim(&r, tensor_name, 2);
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    small_run_sha256(&r, before);
    fault.rank = rank;
    fault.first = fault.last = 1;
    fault.to_nan = true;
    fault.in_loss = i % 2;
    assert_int_equal(step(&r, &status), LAP_NONFINITE);
    if (fault.in_loss) {
      assert_says(&status, " had a loss of nan, and of ");
      assert_says(&status, "omputed wrongly: ");
      assert_says(&status, "rank %d on ", rank);
      assert_true(lap_stepper_verdict(r.stepper)->suspect[rank]);
      assert_int_equal(suspects(&r, comm), layout_of(&r).model_ranks);
    } else {
      assert_says(&status, "step 2: the gradient norm was nan, and ");
      assert_null(lap_stepper_verdict(r.stepper));
    }
    small_run_sha256(&r, after);
    assert_string_equal(before, after);
    assert_int_equal(r.state->bad_steps, 0);
    fault.rank = -1; /* and goes on */
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    small_run_end(&r);
  }
}

/* Where no recheck is due, and again and again. */
static void a_rank_that_always_makes_a_nan_is_named(void **state) {
  lap_comm *comm = *state;
  const int rank = lap_comm_size(comm) - 1;
  small_run r;
  lap_status status;
  start_run(&r, comm, (settings){(const char *const[]){"integrity.recheck.every=1000"}, 1});
  const layout l = layout_of(&r);
  fault.rank = rank;
  fault.first = 1;
  fault.last = 1000;
  fault.to_nan = fault.in_loss = true;
  const lap_code code = step(&r, &status);
  if (l.replicas == 1) {
    assert_int_equal(code, LAP_OK); /* it agrees with itself */
  } else {
    assert_int_equal(code, LAP_NONFINITE);
    assert_says(&status, "step 1: the losses of lane ");
    assert_true(lap_stepper_verdict(r.stepper)->suspect[rank]);
    assert_int_equal(lap_stepper_verdict(r.stepper)->decided, l.replicas >= 3);
  }
  small_run_end(&r);
}

/* Whatever it computes: of two replicas nobody can tell which one is wrong. Alone, a rank that
 * always makes the same mistake agrees with itself. */
static void a_rank_that_is_always_wrong_is_found_by_a_third(void **state) {
  lap_comm *comm = *state;
  if (lap_comm_size(comm) == 1) {
    expect_agreement_with_itself(comm);
    return;
  }
  const int rank = lap_comm_size(comm) - 1;
  small_run r;
  lap_status status;
  run_with_fault(&r, comm, (settings){each_step, 2}, rank, 1, 1000, &status);
  const layout l = layout_of(&r);
  const lap_recheck_verdict *verdict = lap_stepper_verdict(r.stepper);
  assert_true(verdict->suspect[rank]);
  if (l.replicas >= 3) {
    assert_true(verdict->decided);
    assert_int_equal(suspects(&r, comm), 1);
  } else if (l.replicas == 2) {
    assert_false(verdict->decided);
    assert_int_equal(suspects(&r, comm), 2);
    assert_true(verdict->suspect[rank - l.model_ranks]);
    assert_says(&status, "No majority decides between: rank %d on ", rank - l.model_ranks);
  }
  small_run_end(&r);
}

/* A fault in one shard's gradients; those of the other ranks of the replica are right. An odd
 * number of ranks has both shards on each. */
static void of_model_ranks_the_one_is_named_whose_gradients_differ(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm), rank = ranks == 1 ? 0 : 1;
  const bool divided = ranks % 2 == 0;
  small_run r;
  lap_status status;
  const char *with[] = {each_step[0], each_step[1],
                        divided ? "mesh.model_ranks=2" : "mesh.model_ranks=1", "mesh.shard=full"};
  run_with_fault(&r, comm, (settings){with, 4}, rank, 1, 1, &status);
  assert_says(&status, "Computed wrongly: rank %d on ", rank);
  assert_says(&status, "%s of model shard %d", tensor_name, divided ? 1 : 0);
  assert_int_equal(suspects(&r, comm), 1);
  small_run_end(&r);
}

static void steps_that_are_not_due_are_not_looked_at(void **state) {
  lap_comm *comm = *state;
  small_run r;
  lap_status status;
  start_run(&r, comm, (settings){(const char *const[]){"integrity.recheck.every=2"}, 1});
  aim(&r, tensor_name, 2);
  fault.rank = 0;
  fault.first = 1;
  fault.last = 1000;
  assert_int_equal(step(&r, &status), LAP_OK); /* step 1 */
  assert_null(lap_stepper_verdict(r.stepper));
  small_run_end(&r);
}

/* What can be read the first time and not the second is a failure of all ranks, and no verdict. */
static void a_lane_that_cannot_be_read_again_stops_all_ranks_alike(void **state) {
  lap_comm *comm = *state;
  static const char *const shards[] = {"mesh.shard=optimizer", "mesh.shard=full"};
  for (int shard = 0; shard < 2; ++shard) {
    small_run r;
    lap_status status;
    char before[LAP_SHA256_HEX], after[LAP_SHA256_HEX];
    const char *with[] = {each_step[0], each_step[1], shards[shard]};
    start_run(&r, comm, (settings){with, 3});
    small_run_sha256(&r, before);
    fills = 0;
    /* Behind those of its own lanes, two a lane. */
    failing_fill = now.rank == 0 ? 2 * r.state->placement.fold.lanes.count + 1 : 0;
    assert_int_equal(step(&r, &status), LAP_DATA);
    failing_fill = 0;
    assert_says(&status, "row 8 is damaged");
    assert_null(lap_stepper_verdict(r.stepper));
    small_run_sha256(&r, after);
    assert_string_equal(before, after);
    if (step(&r, &status) != LAP_OK) fail_msg("%s", status.message);
    small_run_end(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lanes_are_distinct_and_each_comes_as_often_as_any_other),
      cmocka_unit_test(as_many_lanes_as_asked_for_but_no_more_than_there_are),
      cmocka_unit_test(another_replica_computes_again_and_the_work_is_shared),
      cmocka_unit_test(every_replica_judges_every_other_in_time),
      cmocka_unit_test(the_majority_is_right),
      cmocka_unit_test(a_recheck_finds_nothing_and_changes_nothing_where_nothing_is_wrong),
      cmocka_unit_test(a_recheck_that_one_rank_leaves_leaves_the_step),
      cmocka_unit_test(a_bit_that_flips_once_is_found_and_the_rank_named),
      cmocka_unit_test(a_loss_that_is_wrong_is_found_and_the_rank_named),
      cmocka_unit_test(a_nan_is_a_nan_whatever_its_bits),
      cmocka_unit_test(a_nan_that_comes_once_is_no_bad_batch),
      cmocka_unit_test(a_rank_that_always_makes_a_nan_is_named),
      cmocka_unit_test(a_rank_that_is_always_wrong_is_found_by_a_third),
      cmocka_unit_test(of_model_ranks_the_one_is_named_whose_gradients_differ),
      cmocka_unit_test(steps_that_are_not_due_are_not_looked_at),
      cmocka_unit_test(a_lane_that_cannot_be_read_again_stops_all_ranks_alike),
  };
  return cmocka_run_group_tests_name("recheck", tests, small_run_world_start,
                                     small_run_world_finish);
}
