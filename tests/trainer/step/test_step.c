/* step: which windows a step reads, the mean over counted positions, clipping, and the steps that
 * change nothing. Linked so that what step.c asks of its neighbours comes through here (--wrap): a
 * test sees the gradients and the factor that AdamW gets, and can spoil a loss or a norm. */
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
#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "mpi/transport/agree.h"
#include "tests/trainer/step/small_run.h"
#include "trainer/step/optimizer.h"
#include "trainer/step/schedule.h"

enum { LENGTH = 9, ROWS = LENGTH - 1, WINDOWS = 12, TOKENS = WINDOWS * ROWS, TOTAL_STEPS = 100 };

/* --- what step.c asks of its neighbours --- */

static struct {
  int updates, fills, passes;
  lap_adamw adamw;
  float factor;
  int64_t elements;
  double squares;
  int64_t windows[WINDOWS]; /* how often each was read */
} seen;

static bool spoil_loss, spoil_norm;
static int failing_fill; /* 0: none */

void __real_lap_adamw_update(const lap_adamw *adamw, const lap_parameters *parameters,
                             int64_t begin, int64_t end, float factor, const float *gradient,
                             float *weight, float *exp_avg, float *exp_avg_sq);
void __wrap_lap_adamw_update(const lap_adamw *adamw, const lap_parameters *parameters,
                             int64_t begin, int64_t end, float factor, const float *gradient,
                             float *weight, float *exp_avg, float *exp_avg_sq);
void __real_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass);
void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass);
void __real_lap_square_partials(const float *gradient, int64_t count, double *partials);
void __wrap_lap_square_partials(const float *gradient, int64_t count, double *partials);
lap_code __real_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status);
lap_code __wrap_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status);

void __wrap_lap_adamw_update(const lap_adamw *adamw, const lap_parameters *parameters,
                             int64_t begin, int64_t end, float factor, const float *gradient,
                             float *weight, float *exp_avg, float *exp_avg_sq) {
  double squares = 0;
  for (int64_t i = 0; i < end - begin; ++i) squares += (double)gradient[i] * (double)gradient[i];
#pragma omp critical
  {
    ++seen.updates;
    seen.adamw = *adamw;
    seen.factor = factor;
    seen.elements += end - begin;
    seen.squares += squares;
  }
  __real_lap_adamw_update(adamw, parameters, begin, end, factor, gradient, weight, exp_avg,
                          exp_avg_sq);
}

lap_code __wrap_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status) {
  ++seen.fills;
  for (int64_t i = 0; i < micro->batch.sequences; ++i) ++seen.windows[windows[i]];
  if (seen.fills == failing_fill) return lap_fail(status, LAP_DATA, "row 8 is damaged");
  return __real_lap_micro_batch_fill(micro, data, windows, status);
}

void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass) {
  ++seen.passes;
  __real_lap_gemma2_replay_float(model, pass);
  if (spoil_loss) pass->losses->loss[0] = INFINITY;
}

void __wrap_lap_square_partials(const float *gradient, int64_t count, double *partials) {
  __real_lap_square_partials(gradient, count, partials);
  if (spoil_norm && count > 0) partials[0] = INFINITY;
}

static bool checks_are_on = true; /* of the state */

/* --- a run --- */

static struct {
  uint32_t tokens[TOKENS];
  uint64_t documents[2];
  lap_token_shard shard, *shards[1];
  lap_token_set set;
} text;

/* Every fourth window is all ends of documents, none of which counts; others have one. */
static lap_data make_data(void) {
  for (int i = 0; i < TOKENS; ++i)
    text.tokens[i] = i / ROWS % 4 == 3 || i % ROWS == 5 ? LAP_EOS : 4 + (uint32_t)i * 7 % 36;
  text.documents[1] = TOKENS;
  text.shard = (lap_token_shard){.path = (char *)"made up",
                                 .token_count = TOKENS,
                                 .document_count = 1,
                                 .vocab_size = 40,
                                 .tokens = text.tokens,
                                 .documents = text.documents};
  text.shards[0] = &text.shard;
  text.set = (lap_token_set){.shard = text.shards, .count = 1, .token_count = TOKENS};
  return (lap_data){.tokens = &text.set, .sequence_length = LENGTH};
}

static void start_run(small_run *r, lap_comm *comm, lap_sharding sharding,
                      int64_t micro_sequences) {
  lap_config *config = small_run_config(small_run_text, NULL, 0);
  config->sharding = sharding;
  config->precision = lap_gemm_precision_here();
  config->batch.micro_sequences = micro_sequences;
  config->integrity.state = checks_are_on ? LAP_ON : LAP_OFF;
  const lap_data data = make_data();
  small_run_start(r, comm, config, &data);
}

static lap_step_result do_step(small_run *r) {
  lap_step_result result;
  lap_status status = {0};
  memset(&seen, 0, sizeof seen);
  if (lap_stepper_run(r->stepper, (lap_step_requests){0}, &result, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return result;
}

static bool is_last(const small_run *r) {
  return lap_comm_rank(r->comm) == lap_comm_size(r->comm) - 1;
}

static double sum_over_ranks(lap_comm *comm, double mine) {
  enum { MOST_RANKS = 8 };
  double all[MOST_RANKS], sum = 0;
  lap_gather_all(comm, &mine, sizeof mine, all);
  for (int rank = 0; rank < lap_comm_size(comm); ++rank) sum += all[rank];
  return sum;
}

/* Squares of the whole gradient, of which each rank updates what it owns, or all. */
static double squares_seen(const small_run *r) {
  return r->state->whole[LAP_EXP_AVG] ? seen.squares : sum_over_ranks(r->comm, seen.squares);
}

static const lap_sharding every_sharding[] = {LAP_SHARDING_NONE, LAP_SHARDING_OPTIMIZER,
                                              LAP_SHARDING_GRADIENTS, LAP_SHARDING_FULL};

/* --- samples and means --- */

/* What step `step` reads: samples 6 step to 6 step + 5, and their positions that count. */
static uint64_t count_samples(uint64_t step, double times[WINDOWS]) {
  uint64_t counted = 0;
  for (uint64_t sample = 6 * step; sample < 6 * (step + 1); ++sample) {
    const uint64_t window = lap_permute(3, sample / WINDOWS, sample % WINDOWS, WINDOWS);
    times[window] += 1;
    for (uint64_t row = window * ROWS; row < (window + 1) * ROWS; ++row)
      counted += row + 1 < TOKENS && text.tokens[row] != LAP_EOS;
  }
  return counted;
}

/* Weights that passes read whole are the same on all ranks once they have arrived. */
static void assert_same_weights(small_run *r) {
  const lap_state *state = r->state;
  const bool half = state->bfloat16 != NULL;
  if (!half && !state->whole[LAP_WEIGHT]) return;
  lap_block_weights_wait_all(r->weights);
  char hex[LAP_XXH128_HEX];
  lap_xxh128_hex(half ? (const void *)state->bfloat16 : state->values[LAP_WEIGHT],
                 (size_t)state->parameters->elements * (half ? sizeof(uint16_t) : sizeof(float)),
                 hex);
  lap_status status = {0};
  assert_int_equal(lap_agree_same(r->comm, "weights", hex, "", &status), LAP_OK);
}

static void check_samples(lap_comm *comm, lap_sharding sharding, int64_t micro_sequences) {
  small_run r;
  start_run(&r, comm, sharding, micro_sequences);
  r.config->optimizer.clip_norm = 1e9;
  for (uint64_t step = 0; step < 4; ++step) {
    double times[WINDOWS] = {0};
    const uint64_t counted = count_samples(step, times);
    const lap_step_result result = do_step(&r);
    for (int window = 0; window < WINDOWS; ++window)
      assert_true(sum_over_ranks(r.comm, (double)seen.windows[window]) == times[window]);
    assert_int_equal(result.counted, counted);
    assert_true(seen.factor == (float)(1.0 / (double)counted));
    const double norm = sqrt(squares_seen(&r)) / (double)counted;
    assert_true(fabs(result.grad_norm - norm) < 1e-12 * norm);
    assert_true(result.loss > 3 && result.loss < 5); /* ln 40 = 3.7 */
    assert_true(result.loss == result.ce);
    assert_false(result.skipped || result.bad || result.left || result.checkpoint);
    assert_same_weights(&r);
  }
  assert_int_equal(r.state->step, 4);
  assert_int_equal(r.state->applied_updates, 4);
  small_run_end(&r);
}

static void a_step_reads_its_samples_and_takes_the_mean_over_what_counts(void **state) {
  for (int i = 0; i < 4; ++i)
    for (int64_t micro_sequences = 1; micro_sequences <= 2; ++micro_sequences)
      check_samples(*state, every_sharding[i], micro_sequences);
}

static void a_gradient_that_is_too_long_is_clipped_to_the_norm(void **state) {
  for (int i = 0; i < 4; ++i) {
    small_run r;
    start_run(&r, *state, every_sharding[i], 1);
    const lap_step_result clipped = do_step(&r);
    assert_true(clipped.grad_norm > 0.1);
    const double counted = (double)clipped.counted;
    assert_true(seen.factor == (float)(0.001 / clipped.grad_norm / counted));
    const double length = (double)seen.factor * sqrt(squares_seen(&r));
    assert_true(fabs(length - 0.001) < 1e-9);
    small_run_end(&r);
    /* Just long enough, and just short enough. */
    start_run(&r, *state, every_sharding[i], 1);
    r.config->optimizer.clip_norm = clipped.grad_norm * (1 - 1e-6);
    assert_true(do_step(&r).grad_norm == clipped.grad_norm);
    assert_true(seen.factor == (float)((1 - 1e-6) / counted));
    small_run_end(&r);
    start_run(&r, *state, every_sharding[i], 1);
    r.config->optimizer.clip_norm = clipped.grad_norm * (1 + 1e-6);
    assert_true(do_step(&r).grad_norm == clipped.grad_norm);
    assert_true(seen.factor == (float)(1 / counted));
    small_run_end(&r);
  }
}

/* The schedule goes by the step, the bias correction by the updates made. */
static void adamw_gets_the_config_the_rate_of_the_step_and_the_number_of_the_update(void **state) {
  small_run r;
  start_run(&r, *state, LAP_SHARDING_OPTIMIZER, 1);
  r.state->step = 50;
  r.state->applied_updates = 17;
  r.config->optimizer.beta1 = 0.8;
  r.config->optimizer.beta2 = 0.7;
  r.config->optimizer.epsilon = 1e-3;
  r.config->optimizer.weight_decay = 0.2;
  const lap_step_result result = do_step(&r);
  assert_true(seen.adamw.beta1 == 0.8 && seen.adamw.beta2 == 0.7);
  assert_true(seen.adamw.epsilon == 1e-3 && seen.adamw.weight_decay == 0.2);
  assert_int_equal(seen.adamw.update, 18);
  const double rate = lap_schedule_learning_rate(r.config, 50, TOTAL_STEPS);
  assert_true(rate > 0.005 && rate < 0.01);
  assert_true(seen.adamw.learning_rate == rate && result.learning_rate == rate);
  assert_int_equal(r.state->step, 51);
  assert_int_equal(r.state->applied_updates, 18);
  assert_true(sum_over_ranks(r.comm, (double)seen.elements) ==
              (double)r.state->partition->elements);
  small_run_end(&r);
}

/* --- steps that change nothing --- */

/* All values that this rank holds, one kind behind another. */
static float *values_of(const lap_state *state, size_t *bytes) {
  float *all = NULL;
  int64_t count = 0;
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) {
    const int64_t more = state->whole[kind] ? state->parameters->elements : state->owned_elements;
    all = lap_reallocate(all, count + more, sizeof *all);
    memcpy(all + count, state->values[kind], (size_t)more * sizeof *all);
    count += more;
  }
  *bytes = (size_t)count * sizeof *all;
  return all;
}

static void assert_values(const lap_state *state, float *before) {
  size_t bytes;
  float *now = values_of(state, &bytes);
  const bool same = memcmp(now, before, bytes) == 0;
  free(now);
  assert_true(same);
}

static void a_step_without_counted_positions_changes_nothing_and_is_not_bad(void **state) {
  for (int i = 0; i < 4; ++i) {
    small_run r;
    start_run(&r, *state, every_sharding[i], 1);
    do_step(&r); /* moments that are not 0 */
    lap_block_weights_wait_all(r.weights);
    for (int token = 0; token < TOKENS; ++token) text.tokens[token] = LAP_EOS;
    r.state->bad_steps = 2;
    size_t bytes;
    float *before = values_of(r.state, &bytes);
    const lap_step_result result = do_step(&r);
    assert_true(sum_over_ranks(r.comm, seen.fills) == 6);
    assert_int_equal(seen.updates, 0);
    assert_int_equal(result.counted, 0);
    assert_true(isnan(result.loss) && isnan(result.ce) && result.grad_norm == 0);
    assert_false(signbit(result.loss)); /* the same bits wherever it is written */
    assert_true(result.skipped && !result.bad);
    assert_values(r.state, before);
    assert_int_equal(r.state->step, 2);
    assert_int_equal(r.state->applied_updates, 1);
    assert_int_equal(r.state->bad_steps, 0);
    free(before);
    small_run_end(&r);
  }
}

/* An infinite weight makes the loss NaN. It heals, and bad steps are counted anew. */
static void steps_that_are_not_finite_are_counted_and_change_nothing_else(void **state) {
  checks_are_on = false; /* they would notice */
  for (int i = 0; i < 4; ++i) {
    small_run r;
    start_run(&r, *state, every_sharding[i], 1);
    const lap_range held = lap_state_held(r.state, LAP_WEIGHT, 0);
    float *weight = lap_range_count(held) ? lap_state_at(r.state, LAP_WEIGHT, 0, held.begin) : NULL;
    const float healthy = weight ? *weight : 0;
    if (weight) *weight = INFINITY;
    lap_block_weights_changed(r.weights, true);
    size_t bytes;
    float *before = values_of(r.state, &bytes);
    for (uint64_t bad = 1; bad <= 3; ++bad) {
      const lap_step_result result = do_step(&r);
      assert_true(result.bad && result.skipped);
      assert_false(isfinite(result.loss) && isfinite(result.grad_norm));
      assert_int_equal(seen.updates, 0);
      assert_values(r.state, before);
      assert_int_equal(r.state->step, bad);
      assert_int_equal(r.state->bad_steps, bad);
      assert_int_equal(r.state->applied_updates, 0);
    }
    lap_block_weights_wait_all(r.weights);
    if (weight) *weight = healthy;
    lap_block_weights_changed(r.weights, true);
    assert_false(do_step(&r).bad);
    assert_int_equal(r.state->bad_steps, 0);
    assert_int_equal(seen.adamw.update, 1);
    free(before);
    small_run_end(&r);
  }
  checks_are_on = true;
}

/* The gradient alone overflows, or the loss alone. */
static void a_loss_or_a_gradient_that_is_not_finite_is_enough(void **state) {
  for (int loss = 0; loss < 2; ++loss) {
    small_run r;
    start_run(&r, *state, LAP_SHARDING_OPTIMIZER, 1);
    *(loss ? &spoil_loss : &spoil_norm) = true;
    const lap_step_result result = do_step(&r);
    spoil_loss = spoil_norm = false;
    assert_true(isfinite(result.loss) == !loss && isfinite(result.grad_norm) == loss);
    assert_true(result.bad && result.skipped);
    assert_int_equal(seen.updates, 0);
    assert_int_equal(r.state->bad_steps, 1);
    small_run_end(&r);
  }
}

/* --- requests --- */

/* Only the last rank asks. */
static lap_step_requests requests_of(const small_run *r, bool checkpoint,
                                     const lap_status *failure) {
  const bool last = is_last(r);
  return (lap_step_requests){.checkpoint = last && checkpoint, .failure = last ? failure : NULL};
}

/* Counts down to the first time that a rank is done with its checkpoint. */
static bool is_writing(void *context) {
  int *left = context;
  return (*left)-- > 0;
}

static void every_rank_learns_what_one_requests(void **state) {
  small_run r;
  start_run(&r, *state, LAP_SHARDING_OPTIMIZER, 1);
  for (int asked = 0; asked < 4; ++asked) {
    lap_step_result result;
    lap_status status = {0};
    const lap_status none = {0};
    lap_step_requests requests = requests_of(&r, asked & 1, &none);
    int countdown = is_last(&r) && (asked & 2) ? 100 : 0;
    requests.writing = is_writing;
    requests.context = &countdown;
    assert_int_equal(lap_stepper_run(r.stepper, requests, &result, &status), LAP_OK);
    assert_int_equal(result.checkpoint, asked & 1);
    assert_int_equal(result.writing, (asked & 2) != 0);
    assert_false(result.left);
  }
  small_run_end(&r);
}

/* What ends while the lanes are computed has ended, but where ranks share a replica. */
static void a_checkpoint_that_is_written_during_the_step_is_written(void **state) {
  small_run r;
  start_run(&r, *state, LAP_SHARDING_OPTIMIZER, 1);
  const bool shared = r.state->placement.fold.model_ranks > 1;
  lap_step_result result;
  lap_status status = {0};
  int countdown = 1; /* when the step begins */
  const lap_step_requests requests = {.writing = is_writing, .context = &countdown};
  assert_int_equal(lap_stepper_run(r.stepper, requests, &result, &status), LAP_OK);
  assert_int_equal(result.writing, shared);
  small_run_end(&r);
}

/* Counts down to the micro-batch before which a rank leaves. */
static bool leaves(void *context) {
  int *left = context;
  return (*left)-- == 0;
}

/* The last rank leaves before its first micro-batch, its second, and so on; the others compute all
 * of theirs. */
static void a_step_that_one_rank_leaves_is_left_by_all_and_changes_nothing(void **state) {
  for (int i = 0; i < 4; ++i)
    for (int at = 0; at < 2; ++at) {
      small_run r;
      start_run(&r, *state, every_sharding[i], 1);
      do_step(&r);
      lap_block_weights_wait_all(r.weights);
      size_t bytes;
      float *before = values_of(r.state, &bytes);
      lap_step_result result;
      lap_status status = {0};
      int countdown = is_last(&r) ? at : -1;
      memset(&seen, 0, sizeof seen);
      const lap_step_requests requests = {.leave = leaves, .context = &countdown};
      assert_int_equal(lap_stepper_run(r.stepper, requests, &result, &status), LAP_OK);
      assert_true(result.left);
      assert_int_equal(seen.updates, 0);
      if (is_last(&r)) assert_int_equal(seen.passes, at);
      if (is_last(&r)) assert_int_equal(countdown, -1); /* it is not asked again */
      assert_values(r.state, before);
      assert_int_equal(r.state->step, 1);
      /* The next step is as if nothing had been. */
      const lap_step_result next = do_step(&r);
      assert_false(next.skipped || next.left);
      free(before);
      small_run_end(&r);
    }
}

static void a_failure_is_that_of_all_ranks_and_leaves_the_state_alone(void **state) {
  for (int i = 0; i < 4; ++i) {
    small_run r;
    start_run(&r, *state, every_sharding[i], 1);
    size_t bytes;
    float *before = values_of(r.state, &bytes);
    lap_step_result result;
    lap_status status = {0}, failure = {0};
    lap_fail(&failure, LAP_DATA, "row 7 is damaged");
    memset(&seen, 0, sizeof seen);
    assert_int_equal(lap_stepper_run(r.stepper, requests_of(&r, false, &failure), &result, &status),
                     LAP_DATA);
    assert_non_null(strstr(status.message, "row 7 is damaged"));
    assert_int_equal(seen.updates, 0);
    if (is_last(&r)) assert_int_equal(seen.passes, 0);
    assert_values(r.state, before);
    assert_int_equal(r.state->step, 0);
    /* The second micro-batch of the last rank cannot be read. */
    memset(&seen, 0, sizeof seen);
    failing_fill = is_last(&r) ? 2 : 0;
    assert_int_equal(lap_stepper_run(r.stepper, requests_of(&r, false, NULL), &result, &status),
                     LAP_DATA);
    failing_fill = 0;
    assert_non_null(strstr(status.message, "row 8 is damaged"));
    assert_int_equal(seen.updates, 0);
    if (is_last(&r)) assert_int_equal(seen.passes, 1);
    assert_values(r.state, before);
    /* The next step is as if nothing had been. */
    assert_false(do_step(&r).skipped);
    free(before);
    small_run_end(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_BOTH(a_step_reads_its_samples_and_takes_the_mean_over_what_counts),
      IN_BOTH(a_gradient_that_is_too_long_is_clipped_to_the_norm),
      IN_BOTH(adamw_gets_the_config_the_rate_of_the_step_and_the_number_of_the_update),
      IN_BOTH(a_step_without_counted_positions_changes_nothing_and_is_not_bad),
      IN_BOTH(steps_that_are_not_finite_are_counted_and_change_nothing_else),
      IN_BOTH(a_loss_or_a_gradient_that_is_not_finite_is_enough),
      IN_BOTH(every_rank_learns_what_one_requests),
      IN_BOTH(a_checkpoint_that_is_written_during_the_step_is_written),
      IN_BOTH(a_step_that_one_rank_leaves_is_left_by_all_and_changes_nothing),
      IN_BOTH(a_failure_is_that_of_all_ranks_and_leaves_the_state_alone),
  };
  return cmocka_run_group_tests_name("step", tests, small_run_world_start, small_run_world_finish);
}
