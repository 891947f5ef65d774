#include "dataset/set_documents.h"

#include <stdbool.h>
#include <stdlib.h>

#include "core/memory.h"
#include "dataset/special_ids.h"

uint64_t lap_shard_document(const lap_token_shard *shard, uint64_t row) {
  uint64_t low = 0, high = shard->document_count;
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    if (shard->documents[middle] <= row)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* Whether the shard's first document is the rest of the last one before. */
static bool continues(const lap_token_shard *before, const lap_token_shard *shard) {
  return before->tokens[before->token_count - 1] != LAP_EOS && shard->tokens[0] != LAP_BOS &&
         shard->documents[1] > 0;
}

lap_set_documents lap_set_documents_find(const lap_token_set *set) {
  uint64_t most = 0;
  for (size_t s = 0; s < set->count; ++s) most += set->shard[s]->document_count;
  lap_set_documents found = {
      .place = lap_allocate((int64_t)most, sizeof *found.place),
      .first = lap_allocate((int64_t)set->count, sizeof *found.first),
  };
  for (size_t s = 0; s < set->count; ++s) {
    const lap_token_shard *shard = set->shard[s];
    const uint64_t joined = s > 0 && continues(set->shard[s - 1], shard);
    found.first[s] = found.count - joined;
    for (uint64_t d = joined; d < shard->document_count; ++d)
      found.place[found.count++] =
          (lap_document_place){.shard = (uint32_t)s, .first_row = shard->documents[d]};
  }
  return found;
}

void lap_set_documents_release(lap_set_documents *documents) {
  free(documents->place);
  free(documents->first);
  *documents = (lap_set_documents){0};
}
