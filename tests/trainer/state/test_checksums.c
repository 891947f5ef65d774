/* checksums: a bit that changes between a taking and a check is found, wherever it is, and named;
 * nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/philox.h"
#include "tests/mpi/world.h"
#include "trainer/state/block_weights.h"
#include "trainer/state/checksums.h"

static const lap_gemma2_config model = {.vocab_size = 512,
                                        .hidden_size = 64,
                                        .intermediate_size = 192,
                                        .num_hidden_layers = 2,
                                        .num_attention_heads = 4,
                                        .num_key_value_heads = 2,
                                        .head_dim = 16,
                                        .sliding_window = 8};
static const lap_sharding every_sharding[] = {LAP_SHARDING_NONE, LAP_SHARDING_OPTIMIZER,
                                              LAP_SHARDING_GRADIENTS, LAP_SHARDING_FULL};
enum { SHARDINGS = 4, FLIPS = 40 };
static const lap_state_use uses[] = {LAP_STATE_TRAINING, LAP_STATE_TRAINING_BFLOAT16};
enum { USES = sizeof uses / sizeof *uses };
/* Beside the kinds of values: the weights that passes read, where they lie whole in bfloat16. */
enum { COPY = LAP_STATE_KINDS };

/* Passes could begin: what they read in bfloat16 is there. */
static lap_state *create_state(lap_comm *comm, lap_sharding sharding, lap_state_use use) {
  const lap_mesh mesh = {1, 6, 2};
  lap_placement placement;
  lap_status status;
  assert_int_equal(lap_placement_create(&mesh, 1, sharding, comm, &placement, &status), LAP_OK);
  lap_state *state = lap_state_create(&model, &placement, use);
  lap_state_initialise(state, 7);
  lap_block_weights *weights = lap_block_weights_create(state);
  lap_block_weights_changed(weights, true);
  lap_block_weights_wait_all(weights);
  lap_block_weights_destroy(weights);
  return state;
}

static uint64_t draw(uint64_t index) { return lap_philox(3, LAP_PURPOSE_BENCH, 0, index).word[0]; }

static int64_t held_elements(const lap_state *state, int kind) {
  const bool whole = kind == COPY || state->whole[kind];
  return whole ? state->parameters->elements : state->owned_elements;
}

static void flip(lap_state *state, int kind, int64_t element, int bit) {
  uint32_t bits;
  if (kind == COPY) {
    state->bfloat16[element] ^= (uint16_t)(1U << bit % 16);
    return;
  }
  memcpy(&bits, state->values[kind] + element, sizeof bits);
  bits ^= 1U << bit;
  memcpy(state->values[kind] + element, &bits, sizeof bits);
}

static lap_code check_everything(lap_checksums *checksums, lap_status *status) {
  lap_checksums_check_copies(checksums);
  lap_checksums_check_all(checksums);
  return lap_checksums_verdict(checksums, 12, status);
}

/* One flip on one rank: it alone finds it, and says which kind. What passes read in bfloat16 is
 * told from what it was made of. */
static int64_t mistakes_of_flip(lap_comm *comm, lap_sharding sharding, lap_state_use use,
                                int number) {
  lap_state *state = create_state(comm, sharding, use);
  lap_checksums *checksums = lap_checksums_create(state);
  lap_checksums_take_all(checksums);
  lap_checksums_share(checksums);
  const uint64_t at = (uint64_t)number * 4;
  const bool here = (int)(draw(at) % (uint64_t)lap_comm_size(comm)) == lap_comm_rank(comm);
  const int kinds = state->bfloat16 ? COPY + 1 : LAP_STATE_KINDS;
  const int kind = (int)(draw(at + 1) % (uint64_t)kinds);
  const lap_state_kind named = kind == COPY ? LAP_WEIGHT : (lap_state_kind)kind;
  const int64_t element = (int64_t)(draw(at + 2) % (uint64_t)held_elements(state, kind));
  if (here) flip(state, kind, element, (int)(draw(at + 3) % 32));
  lap_status status = {0};
  const lap_code code = check_everything(checksums, &status);
  int64_t mistakes = code != (here ? LAP_NONFINITE : LAP_OK);
  if (here)
    mistakes += !strstr(status.message, lap_state_kind_name(named)) ||
                !strstr(status.message, ", step 12: ") || !strstr(status.message, "model.");
  if (here && state->bfloat16)
    mistakes +=
        (strstr(status.message, "this rank's copy of the weight") != NULL) != (kind == COPY);
  lap_checksums_destroy(checksums);
  lap_state_destroy(state);
  return mistakes;
}

static void a_bit_that_flips_is_found_where_it_is(void **state) {
  for (int i = 0; i < SHARDINGS * USES; ++i) {
    int64_t mistakes = 0;
    for (int number = 0; number < FLIPS; ++number)
      mistakes += mistakes_of_flip(*state, every_sharding[i / USES], uses[i % USES], number);
    assert_everywhere(*state, mistakes);
  }
}

/* Where weights are whole, a rank checks those of others too; else it has none. In bfloat16 all are
 * copies, also on one rank. */
static void copies_are_checked_against_their_owners(void **state) {
  lap_comm *comm = *state;
  for (int i = 0; i < SHARDINGS * USES; ++i) {
    lap_state *mine = create_state(comm, every_sharding[i / USES], uses[i % USES]);
    lap_checksums *checksums = lap_checksums_create(mine);
    lap_checksums_take_all(checksums);
    lap_checksums_share(checksums);
    const int next = (mine->group.index + 1) % mine->group.size;
    const bool has_copies = mine->bfloat16 || (mine->whole[LAP_WEIGHT] &&
                                               !mine->whole[LAP_EXP_AVG] && mine->group.size > 1);
    if (has_copies)
      flip(mine, mine->bfloat16 ? COPY : LAP_WEIGHT,
           lap_partition_range(mine->partition, 0, next).end - 1, 9);
    lap_status status = {0};
    lap_checksums_check_copies(checksums);
    int64_t mistakes =
        lap_checksums_verdict(checksums, 12, &status) != (has_copies ? LAP_NONFINITE : LAP_OK);
    if (has_copies)
      mistakes += !strstr(status.message, "this rank's copy of the weight of model.embed_tokens");
    assert_everywhere(comm, mistakes);
    lap_checksums_destroy(checksums);
    lap_state_destroy(mine);
  }
}

static void a_message_names_tensor_and_elements(void **state) {
  lap_comm *comm = *state;
  if (lap_comm_size(comm) > 1) return;
  lap_state *mine = create_state(comm, LAP_SHARDING_NONE, LAP_STATE_TRAINING);
  lap_checksums *checksums = lap_checksums_create(mine);
  lap_checksums_take_all(checksums);
  const lap_parameter *p =
      lap_parameters_find_shard(mine->parameters, "model.embed_tokens.weight", 0);
  assert_int_equal(p->elements, LAP_CHECKSUM_BLOCK);
  flip(mine, LAP_EXP_AVG_SQ, p->offset + 5, 30);
  lap_status status = {0};
  assert_int_equal(check_everything(checksums, &status), LAP_NONFINITE);
  assert_non_null(strstr(status.message, "wrong arithmetic at rank 0 on "));
  assert_non_null(
      strstr(status.message,
             ", step 12: exp_avg_sq of model.embed_tokens.weight, model shard 0, element "
             "0, to the same, element 16383, changed in memory since the last update"));
  lap_checksums_destroy(checksums);
  lap_state_destroy(mine);
}

/* What changes and is taken again is right; so is everything before anything was shared. */
static void what_is_taken_again_is_right(void **state) {
  for (int i = 0; i < SHARDINGS * USES; ++i) {
    lap_state *mine = create_state(*state, every_sharding[i / USES], uses[i % USES]);
    lap_checksums *checksums = lap_checksums_create(mine);
    lap_status status = {0};
    lap_checksums_check_copies(checksums);
    lap_checksums_take_all(checksums);
    int64_t mistakes = check_everything(checksums, &status) != LAP_OK;
    if (lap_checksums_count(checksums) > 1) {
      const lap_checksum_block block = lap_checksums_block(checksums, 1);
      lap_state_at(mine, LAP_EXP_AVG, block.bucket, block.begin)[0] += 1;
      lap_checksums_take(checksums, 1);
      mistakes += check_everything(checksums, &status) != LAP_OK;
    }
    assert_everywhere(*state, mistakes);
    lap_checksums_destroy(checksums);
    lap_state_destroy(mine);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_bit_that_flips_is_found_where_it_is),
      cmocka_unit_test(copies_are_checked_against_their_owners),
      cmocka_unit_test(a_message_names_tensor_and_elements),
      cmocka_unit_test(what_is_taken_again_is_right),
  };
  return cmocka_run_group_tests_name("checksums", tests, world_start, world_finish);
}
