#include "checkpoint_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"

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
  if (strcmp(name, "wide") == 0) model.vocab_size = 270000;
  return model;
}

float fixture_value(lap_state_kind kind, int64_t index, uint64_t step) {
  const uint64_t mixed = ((uint64_t)index * 4 + (uint64_t)kind + 1) * 2654435761u + step * 40503u;
  return (float)(1 + mixed % 1000003) / 1024;
}

/* Calls `visit` for everything that is held, with what it should be. */
static void for_each(const lap_state *state, uint64_t step,
                     void (*visit)(float *value, float expected, int64_t *count), int64_t *count) {
  for (int k = 0; k < LAP_STATE_KINDS; ++k) {
    const lap_state_kind kind = (lap_state_kind)k;
    const bool whole = kind == LAP_WEIGHT;
    const int64_t begin = whole ? 0 : state->held_begin;
    const int64_t end = whole ? state->parameters->elements : state->held_end;
    if (!whole && !state->exp_avg) continue;
    int t = 0;
    for (int64_t i = begin; i < end; ++i) {
      const lap_parameter *p = &state->parameters->parameter[t];
      while (t + 1 < state->parameters->count && p[1].offset <= i) p = &p[1], ++t;
      visit(lap_state_at(state, kind, i),
            i < p->offset + p->elements ? fixture_value(kind, i, step) : 0, count);
    }
  }
}

static void set(float *value, float expected, int64_t *count) {
  (void)count;
  *value = expected;
}

static void compare(float *value, float expected, int64_t *count) {
  if (*value != expected) ++*count;
}

void fixture_fill(lap_state *state, uint64_t step) {
  for_each(state, step, set, NULL);
  state->step = step;
  state->applied_updates = step - step / 4;
  state->bad_steps = step % 3;
}

lap_state *fixture_state(const char *model, lap_comm *comm, bool replicated, uint64_t step) {
  const lap_gemma2_config config = fixture_model(model);
  lap_state *state = lap_state_create(&config, comm, true, replicated);
  fixture_fill(state, step);
  return state;
}

int64_t fixture_differences(const lap_state *state, uint64_t step) {
  int64_t count = 0;
  for_each(state, step, compare, &count);
  return count + (state->step != step) + (state->applied_updates != step - step / 4) +
         (state->bad_steps != step % 3);
}

static void print_chunks(FILE *out, const lap_parameter *p, lap_state_kind kind, uint64_t step) {
  static float values[16384];
  for (int64_t begin = 0; begin < p->elements; begin += 16384) {
    const int64_t count = p->elements - begin < 16384 ? p->elements - begin : 16384;
    for (int64_t i = 0; i < count; ++i)
      values[i] = fixture_value(kind, p->offset + begin + i, step);
    uint8_t digest[LAP_SHA256_SIZE];
    lap_sha256(values, (size_t)count * 4, digest);
    fwrite(digest, 1, sizeof digest, out);
  }
}

void fixture_sha256(const char *model, uint64_t step, char hex[LAP_SHA256_HEX]) {
  const lap_gemma2_config config = fixture_model(model);
  lap_parameters *parameters = lap_parameters_create(&config);
  char *text;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  fprintf(out, "lapidary-state 1\nstep %" PRIu64 "\napplied_updates %" PRIu64 "\n", step,
          step - step / 4);
  for (int t = 0; t < parameters->count; ++t) {
    const lap_parameter *p = &parameters->parameter[t];
    fprintf(out, "%s shard 0 float32 ", p->name);
    if (!strstr(p->name, "norm.weight")) fprintf(out, "%" PRId64 "x", p->rows);
    fprintf(out, "%" PRId64 "\n", p->columns);
    for (int k = 0; k < 3; ++k) print_chunks(out, p, (lap_state_kind)k, step);
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
