#include "tests/trainer/checkpoint/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

lap_gemma2_config fixture_model(const char *name) {
  lap_gemma2_config model = {.vocab_size = 40,
                             .hidden_size = 16,
                             .intermediate_size = 24,
                             .num_hidden_layers = 1,
                             .num_attention_heads = 2,
                             .num_key_value_heads = 1,
                             .head_dim = 8,
                             .sliding_window = 8,
                             .query_pre_attn_scalar = 8,
                             .rope_theta = 10000,
                             .rms_norm_eps = 1e-6,
                             .max_position_embeddings = 64};
  if (strcmp(name, "small") == 0) model.vocab_size = 1500, model.num_hidden_layers = 2;
  if (strcmp(name, "cut") == 0) {
    model.vocab_size = 4400;
    model.num_hidden_layers = 2;
    model.num_attention_heads = 8;
    model.num_key_value_heads = 4;
  }
  if (strcmp(name, "wide") == 0) model.vocab_size = 270000;
  return model;
}

float fixture_value(lap_state_kind kind, const char *name, int64_t element, uint64_t step) {
  uint64_t mixed = (uint64_t)element * 4 + (uint64_t)kind + 1;
  for (const char *c = name; *c; ++c) mixed = mixed * 31 + (uint64_t)*c;
  return (float)(1 + (mixed * 2654435761u + step * 40503u) % 1000003) / 1024;
}

/* Calls `visit` for everything that is held of a tensor's part, with what it should be. */
static void for_part(const lap_state *state, lap_state_kind kind, const lap_parameter *p,
                     uint64_t step, void (*visit)(float *value, float expected, int64_t *count),
                     int64_t *count) {
  const lap_range held = lap_state_held(state, kind, p->bucket);
  for (int64_t part = 0; part < p->elements; ++part) {
    const int64_t at = p->offset + part;
    if (at < held.begin || at >= held.end) continue;
    const int64_t element = lap_parameter_run(p, part, part + 1).whole;
    visit(lap_state_at(state, kind, p->bucket, at), fixture_value(kind, p->name, element, step),
          count);
  }
}

static void for_each(const lap_state *state, uint64_t step,
                     void (*visit)(float *value, float expected, int64_t *count), int64_t *count) {
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    for (int t = 0; state->values[kind] && t < state->parameters->count; ++t)
      for_part(state, (lap_state_kind)kind, &state->parameters->parameter[t], step, visit, count);
}

static void set(float *value, float expected, int64_t *count) {
  (void)count;
  *value = expected;
}

/* cppcheck-suppress constParameter ; a visitor, as `set` is */
static void compare(float *value, float expected, int64_t *count) {
  if (*value != expected) ++*count;
}

void fixture_fill(lap_state *state, uint64_t step) {
  for_each(state, step, set, NULL);
  state->step = step;
  state->applied_updates = step - step / 4;
  state->bad_steps = step % 3;
}

lap_state *fixture_place(const char *model, lap_comm *comm, fixture_layout layout,
                         bool with_moments) {
  const lap_gemma2_config config = fixture_model(model);
  const int shards = layout.model ? layout.model : 1;
  const lap_mesh mesh = {1, lap_comm_size(comm), shards};
  lap_placement placement;
  lap_status status;
  if (lap_placement_create(&mesh, layout.model_ranks, layout.sharding, comm, &placement, &status) !=
      LAP_OK) {
    fprintf(stderr, "%s\n", status.message);
    abort();
  }
  if (!with_moments) return lap_state_create(&config, &placement, LAP_STATE_WEIGHTS);
  return lap_state_create(&config, &placement,
                          layout.bfloat16 ? LAP_STATE_TRAINING_BFLOAT16 : LAP_STATE_TRAINING);
}

lap_state *fixture_state(const char *model, lap_comm *comm, fixture_layout layout, uint64_t step) {
  lap_state *state = fixture_place(model, comm, layout, true);
  fixture_fill(state, step);
  return state;
}

static void tally(float *value, float expected, int64_t *count) {
  (void)value, (void)expected;
  ++*count;
}

/* Padding that is not 0: no value is. */
static int64_t dirty_padding(const lap_state *state) {
  int64_t values = 0, nonzero = 0;
  for_each(state, 0, tally, &values);
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) {
    const int64_t held = state->whole[kind] ? state->parameters->elements : state->owned_elements;
    for (int64_t i = 0; state->values[kind] && i < held; ++i)
      nonzero += state->values[kind][i] != 0;
  }
  return nonzero - values;
}

int64_t fixture_differences(const lap_state *state, uint64_t step) {
  int64_t count = dirty_padding(state);
  for_each(state, step, compare, &count);
  return count + (state->step != step) + (state->applied_updates != step - step / 4) +
         (state->bad_steps != step % 3);
}

/* The element of the whole tensor that is element `part` of what shard m of M has, as
 * docs/design.md#ranks says: q, k, v, gate, up and the embedding are cut by rows, o and down by
 * columns. */
static int64_t whole_element(const lap_parameter *p, int shards, int shard, int64_t part) {
  const bool by_columns = strstr(p->name, "o_proj") || strstr(p->name, "down_proj");
  if (!by_columns) return shard * (p->elements / shards) + part;
  const int64_t columns = p->columns / shards;
  return part / columns * p->columns + shard * columns + part % columns;
}

static void print_chunks(FILE *out, const lap_parameter *p, int shards, int shard,
                         lap_state_kind kind, uint64_t step) {
  static float values[16384];
  const int64_t elements = p->is_norm ? p->elements : p->elements / shards;
  for (int64_t begin = 0; begin < elements; begin += 16384) {
    const int64_t count = elements - begin < 16384 ? elements - begin : 16384;
    for (int64_t i = 0; i < count; ++i)
      values[i] = fixture_value(
          kind, p->name, p->is_norm ? begin + i : whole_element(p, shards, shard, begin + i), step);
    uint8_t digest[LAP_SHA256_SIZE];
    lap_sha256(values, (size_t)count * 4, digest);
    fwrite(digest, 1, sizeof digest, out);
  }
}

void fixture_sha256(const char *model, int shards, uint64_t step, char hex[LAP_SHA256_HEX]) {
  const lap_gemma2_config config = fixture_model(model);
  lap_parameters *parameters = lap_parameters_create(&config);
  char *text;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  fprintf(out, "lapidary-state 1\nstep %" PRIu64 "\napplied_updates %" PRIu64 "\n", step,
          step - step / 4);
  for (int t = 0; t < parameters->count; ++t) {
    const lap_parameter *p = &parameters->parameter[t];
    const bool norm = strstr(p->name, "norm.weight"),
               by_columns = strstr(p->name, "o_proj") || strstr(p->name, "down_proj");
    for (int m = 0; m < (norm ? 1 : shards); ++m) {
      fprintf(out, "%s shard %d float32 ", p->name, m);
      if (!norm) fprintf(out, "%" PRId64 "x", by_columns ? p->rows : p->rows / shards);
      fprintf(out, "%" PRId64 "\n", by_columns ? p->columns / shards : p->columns);
      for (int k = 0; k < 3; ++k) print_chunks(out, p, shards, m, (lap_state_kind)k, step);
    }
  }
  fclose(out);
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(text, bytes, digest);
  lap_sha256_hex(digest, hex);
  free(text);
  lap_parameters_destroy(parameters);
}

lap_numbers *fixture_numbers(void) {
  json_t *object = json_pack("{s:s, s:s}", "seed", "1", "model.hidden_size", "16");
  lap_numbers *numbers = NULL;
  lap_status status;
  if (lap_numbers_from_json(object, "fixture", &numbers, &status) != LAP_OK) abort();
  json_decref(object);
  return numbers;
}
