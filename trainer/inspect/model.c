#include "trainer/inspect/model.h"

#include <inttypes.h>

#include "trainer/cli/human.h"

static int count_sliding(const lap_gemma2_config *model) {
  int sliding = 0;
  for (int64_t i = 0; i < model->num_hidden_layers; ++i) sliding += model->sliding[i];
  return sliding;
}

static void report_layers(lap_report *report, const lap_gemma2_config *m) {
  const int sliding = count_sliding(m);
  lap_report_json_only(report, "sliding_window", json_integer(m->sliding_window));
  lap_report_json_only(report, "sliding_attention_layers", json_integer(sliding));
  lap_report_fact(report, "num_hidden_layers", json_integer(m->num_hidden_layers),
                  "%" PRId64 ": %d local with a window of %" PRId64 ", %" PRId64 " global",
                  m->num_hidden_layers, sliding, m->sliding_window, m->num_hidden_layers - sliding);
}

static void report_heads(lap_report *report, const lap_gemma2_config *m) {
  lap_report_json_only(report, "num_key_value_heads", json_integer(m->num_key_value_heads));
  lap_report_json_only(report, "head_dim", json_integer(m->head_dim));
  lap_report_fact(report, "num_attention_heads", json_integer(m->num_attention_heads),
                  "%" PRId64 " of %" PRId64 ", %" PRId64 " key-value", m->num_attention_heads,
                  m->head_dim, m->num_key_value_heads);
}

void lap_report_model(lap_report *report, const lap_gemma2_config *m) {
  const int64_t embedding = lap_gemma2_embedding_parameters(m);
  const int64_t other = lap_gemma2_non_embedding_parameters(m);
  char all_text[LAP_HUMAN_TEXT];
  lap_report_section(report, "model");
  lap_report_json_only(report, "embedding_parameters", json_integer(embedding));
  lap_report_json_only(report, "non_embedding_parameters", json_integer(other));
  lap_report_fact(report, "parameters", json_integer(embedding + other),
                  "%s: %" PRId64 " embedding + %" PRId64,
                  lap_human_count((double)(embedding + other), all_text), embedding, other);
  lap_report_fact(report, "vocab_size", json_integer(m->vocab_size), "%" PRId64, m->vocab_size);
  lap_report_fact(report, "hidden_size", json_integer(m->hidden_size), "%" PRId64, m->hidden_size);
  lap_report_fact(report, "intermediate_size", json_integer(m->intermediate_size), "%" PRId64,
                  m->intermediate_size);
  report_layers(report, m);
  report_heads(report, m);
  lap_report_end_section(report);
}

void lap_report_mesh(lap_report *report, const lap_mesh *mesh) {
  lap_report_fact(
      report, "mesh",
      json_pack("{s:i, s:i, s:i}", "pods", mesh->pods, "data", mesh->data, "model", mesh->model),
      "%d pod%s x %d lane%s x %d shard%s", mesh->pods, mesh->pods == 1 ? "" : "s", mesh->data,
      mesh->data == 1 ? "" : "s", mesh->model, mesh->model == 1 ? "" : "s");
}

uint64_t lap_tokens_trained(const lap_config *config, uint64_t step) {
  return step * (uint64_t)config->batch.sequences * (uint64_t)config->data.sequence_length;
}
