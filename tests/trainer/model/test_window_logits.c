/* Logits of windows, which eval and teach are made of: the same bits from weights that are held in
 * float32 and in bfloat16, and from those of a run in bfloat16, on any number of ranks, in one
 * model shard and in two. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/gemm_backend.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "trainer/model/window_logits.h"

enum { LENGTH = 40, VOCAB = 300, WINDOWS = 2, LAYERS = 2 };

static const lap_gemma2_config shape = {.vocab_size = VOCAB,
                                        .hidden_size = 36,
                                        .intermediate_size = 70,
                                        .num_hidden_layers = LAYERS,
                                        .num_attention_heads = 4,
                                        .num_key_value_heads = 2,
                                        .head_dim = 10,
                                        .sliding_window = 9,
                                        .query_pre_attn_scalar = 10,
                                        .attn_logit_softcapping = 50,
                                        .final_logit_softcapping = 30,
                                        .rope_theta = 10000,
                                        .rms_norm_eps = 1e-6,
                                        .max_position_embeddings = LENGTH,
                                        .sliding = {true, false}};

static void compute_in(lap_matmul_precision precision) {
  lap_status status;
  const lap_gemm_choice choice = {LAP_GEMM_LAPIDARY, precision, NULL};
  assert_int_equal(lap_gemm_open(&choice, &status), LAP_OK);
}

/* --- states --- */

static float cut_to_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= 0xffff0000u;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Norms that are not zero, and a few subnormals; `exact`: values that bfloat16 holds. */
static lap_state *state_of_floats(const lap_placement *placement, bool exact) {
  lap_state *state = lap_state_create(&shape, placement, LAP_STATE_WEIGHTS);
  float *weights = state->values[LAP_WEIGHT];
  lap_state_initialise(state, 3);
  for (int i = 0; i < state->parameters->count; ++i) {
    const lap_parameter *p = &state->parameters->parameter[i];
    for (int64_t e = 0; e < p->elements; ++e) {
      float *w = &weights[p->offset + e];
      if (p->is_norm) *w = 0.001F * (float)(e % 17 + 1);
      if (e % 50 == 7) *w = e % 100 == 7 ? 0x1.23p-127F : -0x1.fep-127F;
      if (exact) *w = cut_to_bfloat16(*w);
    }
  }
  return state;
}

static lap_state *held_in_bfloat16(const lap_state *floats) {
  lap_state *state = lap_state_create(&shape, &floats->placement, LAP_STATE_WEIGHTS_BFLOAT16);
  lap_weight_target target = lap_state_weight_target(state);
  for (int i = 0; i < state->parameters->count; ++i) {
    const lap_parameter *p = &state->parameters->parameter[i];
    const lap_held_part part = lap_weight_target_part(&target, p);
    lap_held_part_store(&part, 0, p->elements, floats->values[LAP_WEIGHT] + p->offset);
  }
  lap_weight_target_release(&target);
  return state;
}

/* As a run in bfloat16 has them, whatever it divides. */
static lap_state *in_training(const lap_state *floats, lap_sharding sharding) {
  lap_placement placement;
  lap_status status;
  const lap_placement *of = &floats->placement;
  if (lap_placement_create(&of->mesh, of->fold.model_ranks, sharding, of->comm, &placement,
                           &status) != LAP_OK)
    fail_msg("%s", status.message);
  lap_state *state = lap_state_create(&shape, &placement, LAP_STATE_TRAINING_BFLOAT16);
  for (int b = 0; b < state->partition->buckets; ++b) {
    const lap_range held = lap_state_held(state, LAP_WEIGHT, b);
    memcpy(lap_state_at(state, LAP_WEIGHT, b, held.begin), floats->values[LAP_WEIGHT] + held.begin,
           (size_t)lap_range_count(held) * sizeof(float));
  }
  return state;
}

/* --- logits --- */

static void keep(void *context, const lap_micro_batch *window, int64_t position, float *logits) {
  (void)window;
  memcpy((float *)context + position * VOCAB, logits, VOCAB * sizeof *logits);
}

/* [WINDOWS][LENGTH, VOCAB], zero where this rank does not lead. */
static float *logits_of(lap_state *state, int threads) {
  omp_set_num_threads(threads);
  const lap_synthetic synthetic = {.vocab_size = VOCAB, .windows = WINDOWS};
  const lap_data data = {.sequence_length = LENGTH, .synthetic = &synthetic};
  float *logits = lap_allocate((int64_t)WINDOWS * LENGTH * VOCAB, sizeof *logits);
  lap_block_weights *weights = lap_block_weights_create(state);
  if (state->values[LAP_WEIGHT]) lap_block_weights_changed(weights, true);
  lap_window_logits *windows = lap_window_logits_create(&shape, state, weights, &data, threads);
  for (uint64_t w = 0; w < WINDOWS; ++w) {
    lap_status status;
    if (lap_window_logits_visit(windows, w, keep, logits + w * LENGTH * VOCAB, &status) != LAP_OK)
      fail_msg("%s", status.message);
  }
  lap_window_logits_destroy(windows);
  lap_block_weights_wait_all(weights);
  lap_block_weights_destroy(weights);
  return logits;
}

static int64_t differing(const float *a, const float *b) {
  int64_t count = 0;
  for (int64_t i = 0; i < (int64_t)WINDOWS * LENGTH * VOCAB; ++i)
    count += memcmp(&a[i], &b[i], sizeof *a) != 0;
  return count;
}

/* Of evaluations within a run. */
static void compare_with_training(const lap_state *floats, const float *expected) {
  for (int sharding = LAP_SHARDING_NONE; sharding <= LAP_SHARDING_FULL; ++sharding) {
    lap_state *state = in_training(floats, (lap_sharding)sharding);
    float *found = logits_of(state, 2);
    assert_everywhere(floats->placement.comm, differing(expected, found));
    free(found);
    lap_state_destroy(state);
  }
}

static void compare(lap_comm *comm, lap_matmul_precision precision, int shards, int model_ranks) {
  const lap_mesh mesh = {1, lap_comm_size(comm), shards};
  lap_placement placement;
  lap_status status;
  if (lap_placement_create(&mesh, model_ranks, LAP_SHARDING_OPTIMIZER, comm, &placement, &status) !=
      LAP_OK)
    fail_msg("%s", status.message);
  compute_in(precision);
  lap_state *floats = state_of_floats(&placement, precision == LAP_MATMUL_FLOAT32);
  lap_state *held = held_in_bfloat16(floats);
  float *expected = logits_of(floats, 1), *found = logits_of(held, 2);
  assert_everywhere(comm, differing(expected, found));
  if (precision == LAP_MATMUL_BFLOAT16) compare_with_training(floats, expected);
  /* The first logits are not all zero: the leader has computed something. */
  assert_everywhere(comm, placement.fold.model_rank == 0 && expected[1] == 0);
  /* In the other precision they are others. */
  compute_in(precision == LAP_MATMUL_FLOAT32 ? LAP_MATMUL_BFLOAT16 : LAP_MATMUL_FLOAT32);
  float *others = logits_of(held, 1);
  assert_everywhere(comm, placement.fold.model_rank == 0 && differing(expected, others) == 0);
  compute_in(LAP_MATMUL_FLOAT32);
  free(expected), free(found), free(others);
  lap_state_destroy(floats);
  lap_state_destroy(held);
}

static void both_forms_give_the_same_bits(void **state) {
  for (lap_matmul_precision p = 0; p < LAP_MATMUL_PRECISIONS; ++p) {
    compare(*state, p, 1, 1);
    compare(*state, p, 2, 1);
    if (lap_comm_size(*state) % 2 == 0) compare(*state, p, 2, 2);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(both_forms_give_the_same_bits)};
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
