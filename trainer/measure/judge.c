#include "trainer/measure/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/decode.h"
#include "core/memory.h"
#include "core/stop.h"
#include "dataset/hdf5_file.h"
#include "dataset/special_ids.h"
#include "trainer/generate/generate.h"
#include "trainer/measure/document_losses.h"
#include "trainer/measure/prompts.h"

enum {
  STRETCH = LAP_JUDGE_PROMPT + LAP_JUDGE_CONTINUATION,
  OF_PROMPT = 1 + LAP_JUDGE_PROMPT,
};

/* BOS and the prompt that begins at `tokens`. */
static void fill_prompt(const uint32_t *tokens, int32_t prompt[OF_PROMPT]) {
  prompt[0] = LAP_BOS;
  for (int i = 0; i < LAP_JUDGE_PROMPT; ++i) prompt[1 + i] = (int32_t)tokens[i];
}

/* --- the model speaks --- */

typedef struct {
  lap_decoder *decoder;
  lap_sampler *sampler;
  lap_judged *judged;
} speaker;

static lap_code say(void *context, const lap_prompt *place, lap_status *status) {
  const speaker *s = context;
  int32_t prompt[OF_PROMPT];
  LAP_TRY(lap_stop_check(status));
  fill_prompt(place->tokens, prompt);
  const lap_generate_request request = {.prompt = prompt,
                                        .prompt_count = OF_PROMPT,
                                        .max_tokens = LAP_JUDGE_CONTINUATION,
                                        .sample = place->index};
  lap_generation said;
  const lap_code code = lap_generate(s->decoder, s->sampler, &request, &said, status);
  lap_judged_item item = {.shard = place->shard, .row = place->row, .said_count = said.count};
  if (said.count > 0) memcpy(item.said, said.tokens, (size_t)said.count * sizeof *item.said);
  if (said.finish == LAP_FINISH_EOS) item.said[item.said_count++] = LAP_EOS;
  free(said.tokens);
  if (code != LAP_OK) return code;
  lap_judged *judged = s->judged;
  judged->item = lap_reallocate(judged->item, (int64_t)judged->count + 1, sizeof *judged->item);
  judged->item[judged->count++] = item;
  return LAP_OK;
}

lap_code lap_judge_draw(const lap_judge_model *model, int64_t judge_vocab, const lap_token_set *set,
                        uint64_t prompts, int64_t threads, lap_judged *judged, lap_status *status) {
  const lap_sampling drawn = {.temperature = 1, .top_p = 1, .seed = 1};
  /* What either has no id for is never said. */
  const int64_t own = model->config->vocab_size, both = own < judge_vocab ? own : judge_vocab;
  *judged = (lap_judged){0};
  speaker s = {.decoder = lap_decoder_create(model->config, model->weights, 1 + STRETCH, threads),
               .sampler = lap_sampler_create(&drawn, both),
               .judged = judged};
  const lap_code code = lap_prompts_visit(set, STRETCH, prompts, say, &s, status);
  lap_sampler_destroy(s.sampler);
  lap_decoder_destroy(s.decoder);
  return code;
}

/* --- the judge listens --- */

static lap_code token_nats(const float *z, int64_t vocab, int32_t token, double *nats,
                           lap_status *status) {
  float largest = -INFINITY; /* by fmax, gcc 12 for AArch64 fails to compile it */
  for (int64_t j = 0; j < vocab; ++j)
    if (z[j] > largest) largest = z[j];
  const double most = (double)largest;
  double sum = 0;
  for (int64_t j = 0; j < vocab; ++j) sum += exp((double)z[j] - most);
  *nats = sum > 0 ? most + log(sum) - (double)z[token] : NAN;
  if (isfinite(*nats)) return LAP_OK;
  return lap_fail(status, LAP_NONFINITE,
                  "the judge's logits are not finite; its weights are not usable: take an earlier "
                  "checkpoint");
}

/* The judge's mean loss of `count` > 0 tokens behind the prompt. */
static lap_code mean_nats(lap_decoder *judge, int64_t vocab, const int32_t *prompt,
                          const int32_t *tokens, int64_t count, double *mean, lap_status *status) {
  double sum = 0;
  lap_decoder_reset(judge);
  const float *z = lap_decoder_prefill(judge, prompt, OF_PROMPT);
  for (int64_t i = 0; i < count; ++i) {
    double nats;
    LAP_TRY(token_nats(z, vocab, tokens[i], &nats, status));
    sum += nats;
    if (i + 1 < count) z = lap_decoder_step(judge, tokens[i]);
  }
  *mean = sum / (double)count;
  return LAP_OK;
}

/* The losses of an item whose prompt begins at `tokens`. */
static lap_code listen(lap_decoder *judge, int64_t vocab, const uint32_t *tokens,
                       lap_judged_item *item, lap_status *status) {
  int32_t prompt[OF_PROMPT], text[LAP_JUDGE_CONTINUATION];
  LAP_TRY(lap_stop_check(status));
  fill_prompt(tokens, prompt);
  for (int i = 0; i < LAP_JUDGE_CONTINUATION; ++i) text[i] = (int32_t)tokens[LAP_JUDGE_PROMPT + i];
  LAP_TRY(mean_nats(judge, vocab, prompt, item->said, item->said_count, &item->nats, status));
  return mean_nats(judge, vocab, prompt, text, LAP_JUDGE_CONTINUATION, &item->text_nats, status);
}

lap_code lap_judge_score(const lap_judge_model *judge, const lap_token_set *set, int64_t threads,
                         lap_judged *judged, lap_status *status) {
  lap_decoder *decoder = lap_decoder_create(judge->config, judge->weights, 1 + STRETCH, threads);
  lap_code code = LAP_OK;
  for (uint64_t i = 0; i < judged->count && code == LAP_OK; ++i) {
    lap_judged_item *item = &judged->item[i];
    code = listen(decoder, judge->config->vocab_size, set->shard[item->shard]->tokens + item->row,
                  item, status);
  }
  lap_decoder_destroy(decoder);
  return code;
}

lap_judged_means lap_judged_mean(const lap_judged *judged) {
  lap_judged_means means = {0};
  for (uint64_t i = 0; i < judged->count; ++i) {
    means.nats += judged->item[i].nats / (double)judged->count;
    means.text_nats += judged->item[i].text_nats / (double)judged->count;
    means.preferred += judged->item[i].nats < judged->item[i].text_nats;
  }
  return means;
}

/* --- its file --- */

typedef enum { ITEM, SHARD, ROW, ONE, NONE, NATS, PREFERRED } column_kind;

static double value_of(const lap_judged *judged, column_kind kind, uint64_t i) {
  const lap_judged_item *item = &judged->item[i];
  switch (kind) {
    case ITEM:
      return (double)i;
    case SHARD:
      return (double)item->shard;
    case ROW:
      return (double)item->row;
    case ONE:
      return 1;
    case NONE:
      return 0;
    case NATS:
      return item->nats;
    default:
      return item->nats < item->text_nats;
  }
}

static lap_code write_columns(const lap_hdf5_file *file, const lap_judged *judged,
                              lap_status *status) {
  static const struct {
    const char *name;
    column_kind kind;
  } columns[] = {{"document", ITEM}, {"shard", SHARD}, {"first_row", ROW},    {"tokens", ONE},
                 {"bytes", NONE},    {"nats", NATS},   {"correct", PREFERRED}};
  double *values = lap_allocate((int64_t)judged->count, sizeof *values);
  lap_code code = LAP_OK;
  for (size_t c = 0; c < sizeof columns / sizeof *columns && code == LAP_OK; ++c) {
    for (uint64_t i = 0; i < judged->count; ++i) values[i] = value_of(judged, columns[c].kind, i);
    const hid_t integer = columns[c].kind == SHARD ? H5T_STD_U32LE : H5T_STD_U64LE;
    code = lap_hdf5_write_dataset(file, columns[c].name, 1, &judged->count,
                                  columns[c].kind == NATS ? H5T_IEEE_F64LE : integer,
                                  H5T_NATIVE_DOUBLE, values, status);
  }
  free(values);
  return code;
}

static lap_code write_content(const lap_hdf5_file *file, const lap_model_source *source,
                              const lap_token_set *set, const lap_judged *judged,
                              lap_status *status) {
  char model[LAP_SHA256_HEX], tokens[LAP_SHA256_HEX];
  LAP_TRY(lap_model_state_sha256(source, model, status));
  lap_token_set_sha256(set, tokens);
  LAP_TRY(lap_hdf5_write_string(file, "format", LAP_DOCUMENT_LOSSES_FORMAT, status));
  LAP_TRY(lap_hdf5_write_string(file, "model_state_sha256", model, status));
  LAP_TRY(lap_hdf5_write_string(file, "tokens_sha256", tokens, status));
  return write_columns(file, judged, status);
}

lap_code lap_judged_write(const char *path, const lap_model_source *source,
                          const lap_token_set *set, const lap_judged *judged, lap_status *status) {
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_create(path, &file, status));
  return lap_hdf5_end(&file, write_content(&file, source, set, judged, status), status);
}
