#include "trainer/measure/prompts.h"

#include <inttypes.h>

#include "dataset/special_ids.h"

/* The text tokens of an entry of the shard's `documents`: rows [*begin, *begin + return value). */
static uint64_t text_of(const lap_token_shard *shard, uint64_t entry, uint64_t *begin) {
  uint64_t end = shard->documents[entry + 1];
  *begin = shard->documents[entry];
  if (*begin < end && shard->tokens[*begin] == LAP_BOS) ++*begin;
  if (*begin < end && shard->tokens[end - 1] == LAP_EOS) --end;
  return end - *begin;
}

static uint64_t places_in(const lap_token_shard *shard, uint64_t entry, uint64_t stretch,
                          uint64_t *begin) {
  const uint64_t tokens = text_of(shard, entry, begin);
  return tokens < stretch ? 0 : tokens - stretch + 1;
}

static uint64_t count_places(const lap_token_set *set, uint64_t stretch) {
  uint64_t count = 0, begin;
  for (size_t s = 0; s < set->count; ++s)
    for (uint64_t d = 0; d < set->shard[s]->document_count; ++d)
      count += places_in(set->shard[s], d, stretch, &begin);
  return count;
}

lap_code lap_prompts_visit(const lap_token_set *set, uint64_t stretch, uint64_t count,
                           lap_prompt_visitor visit, void *context, lap_status *status) {
  const uint64_t all = count_places(set, stretch), wanted = count < all ? count : all;
  if (all == 0)
    return lap_fail(status, LAP_DATA, "%s: no document has %" PRIu64 " tokens of text for a prompt",
                    set->shard[0]->path, stretch);
  uint64_t before = 0, prompt = 0;
  for (size_t s = 0; s < set->count; ++s)
    for (uint64_t d = 0; d < set->shard[s]->document_count; ++d) {
      uint64_t begin;
      const uint64_t places = places_in(set->shard[s], d, stretch, &begin);
      for (; prompt < wanted; ++prompt) {
        /* The middle of each of `wanted` equal parts of all places. */
        const uint64_t place = (2 * prompt + 1) * all / (2 * wanted);
        if (place >= before + places) break;
        const uint64_t row = begin + (place - before);
        const lap_prompt at = {set->shard[s]->tokens + row, s, row, prompt};
        LAP_TRY(visit(context, &at, status));
      }
      before += places;
    }
  return LAP_OK;
}
