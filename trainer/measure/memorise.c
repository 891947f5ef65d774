#include "trainer/measure/memorise.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/decode.h"
#include "core/memory.h"
#include "core/stop.h"
#include "dataset/special_ids.h"
#include "trainer/generate/generate.h"
#include "trainer/measure/prompts.h"

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

/* --- prompts --- */

typedef struct {
  lap_decoder *decoder;
  lap_sampler *sampler;
  lap_memorised *memorised;
} examiner;

/* Of a stretch of the text: the prompt and what follows it. */
static lap_code examine(void *context, const lap_prompt *place, lap_status *status) {
  const examiner *e = context;
  int32_t prompt[1 + LAP_MEMORISE_PROMPT] = {LAP_BOS}, text[STRETCH];
  for (int i = 0; i < STRETCH; ++i) text[i] = (int32_t)place->tokens[i];
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

lap_code lap_memorise(const lap_gemma2_config *config, const float *weights,
                      const lap_token_set *set, uint64_t prompts, int64_t threads,
                      lap_memorised *memorised, lap_status *status) {
  *memorised = (lap_memorised){0};
  const lap_sampling greedy = {.temperature = 0, .top_p = 1};
  examiner e = {.decoder = lap_decoder_create(config, weights, 1 + STRETCH, threads),
                .sampler = lap_sampler_create(&greedy, config->vocab_size),
                .memorised = memorised};
  const lap_code code = lap_prompts_visit(set, STRETCH, prompts, examine, &e, status);
  lap_sampler_destroy(e.sampler);
  lap_decoder_destroy(e.decoder);
  return code;
}
