#include "trainer/measure/memorise.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/decode.h"
#include "core/memory.h"
#include "core/stop.h"
#include "dataset/special_ids.h"
#include "trainer/generate/generate.h"

enum { STRETCH = LAP_MEMORISE_PROMPT + LAP_MEMORISE_CONTINUATION };

int64_t lap_edit_distance(const int32_t *a, int64_t a_count, const int32_t *b, int64_t b_count) {
  int64_t *row = lap_allocate(b_count + 1, sizeof *row); /* of the part of a so far */
  for (int64_t j = 0; j <= b_count; ++j) row[j] = j;
  for (int64_t i = 1; i <= a_count; ++i) {
    int64_t diagonal = row[0];
    row[0] = i;
    for (int64_t j = 1; j <= b_count; ++j) {
      const int64_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      const int64_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
      diagonal = row[j];
      row[j] = replaced < shorter + 1 ? replaced : shorter + 1;
    }
  }
  const int64_t distance = row[b_count];
  free(row);
  return distance;
}

/* --- places --- */

/* The text tokens of an entry of the shard's `documents`: rows [*begin, *begin + return value). */
static uint64_t text_of(const lap_token_shard *shard, uint64_t entry, uint64_t *begin) {
  uint64_t end = shard->documents[entry + 1];
  *begin = shard->documents[entry];
  if (*begin < end && shard->tokens[*begin] == LAP_BOS) ++*begin;
  if (*begin < end && shard->tokens[end - 1] == LAP_EOS) --end;
  return end - *begin;
}

static uint64_t places_in(const lap_token_shard *shard, uint64_t entry, uint64_t *begin) {
  const uint64_t tokens = text_of(shard, entry, begin);
  return tokens < STRETCH ? 0 : tokens - STRETCH + 1;
}

static uint64_t count_places(const lap_token_set *set) {
  uint64_t count = 0, begin;
  for (size_t s = 0; s < set->count; ++s)
    for (uint64_t d = 0; d < set->shard[s]->document_count; ++d)
      count += places_in(set->shard[s], d, &begin);
  return count;
}

/* --- prompts --- */

typedef struct {
  lap_decoder *decoder;
  lap_sampler *sampler;
  lap_memorised *memorised;
} examiner;

/* `tokens` [STRETCH]: the prompt and what follows it. */
static lap_code examine(const examiner *e, const uint32_t *tokens, lap_status *status) {
  int32_t prompt[1 + LAP_MEMORISE_PROMPT] = {LAP_BOS}, text[STRETCH];
  for (int i = 0; i < STRETCH; ++i) text[i] = (int32_t)tokens[i];
  memcpy(prompt + 1, text, LAP_MEMORISE_PROMPT * sizeof *prompt);
  const lap_generate_request request = {.prompt = prompt,
                                        .prompt_count = 1 + LAP_MEMORISE_PROMPT,
                                        .max_tokens = LAP_MEMORISE_CONTINUATION};
  lap_generation said;
  lap_code code = lap_stop_check(status);
  if (code != LAP_OK) return code;
  code = lap_generate(e->decoder, e->sampler, &request, &said, status);
  if (code == LAP_OK) {
    const int64_t distance = lap_edit_distance(said.tokens, said.count, text + LAP_MEMORISE_PROMPT,
                                               LAP_MEMORISE_CONTINUATION);
    ++e->memorised->prompts;
    e->memorised->exact += distance == 0;
    e->memorised->near += distance <= LAP_MEMORISE_NEAR;
  }
  free(said.tokens);
  return code;
}

/* The middle of each of `prompts` equal parts of all `count` places. */
static lap_code examine_places(const examiner *e, const lap_token_set *set, uint64_t count,
                               uint64_t prompts, lap_status *status) {
  uint64_t before = 0, prompt = 0;
  for (size_t s = 0; s < set->count; ++s)
    for (uint64_t d = 0; d < set->shard[s]->document_count; ++d) {
      uint64_t begin;
      const uint64_t places = places_in(set->shard[s], d, &begin);
      for (; prompt < prompts; ++prompt) {
        const uint64_t place = (2 * prompt + 1) * count / (2 * prompts);
        if (place >= before + places) break;
        LAP_TRY(examine(e, set->shard[s]->tokens + begin + (place - before), status));
      }
      before += places;
    }
  return LAP_OK;
}

lap_code lap_memorise(const lap_gemma2_config *config, const float *weights,
                      const lap_token_set *set, uint64_t prompts, int64_t threads,
                      lap_memorised *memorised, lap_status *status) {
  *memorised = (lap_memorised){0};
  const uint64_t places = count_places(set);
  if (places == 0)
    return lap_fail(status, LAP_DATA, "%s: no document has %d tokens of text for a prompt",
                    set->shard[0]->path, STRETCH);
  const lap_sampling greedy = {.temperature = 0, .top_p = 1};
  const examiner e = {.decoder = lap_decoder_create(config, weights, 1 + STRETCH, threads),
                      .sampler = lap_sampler_create(&greedy, config->vocab_size),
                      .memorised = memorised};
  const lap_code code =
      examine_places(&e, set, places, prompts < places ? prompts : places, status);
  lap_sampler_destroy(e.sampler);
  lap_decoder_destroy(e.decoder);
  return code;
}
