/* set_documents: the documents of a token set, whole, in the order of the set.
 *
 * A document that is longer than a shard goes on in the next one, without a BOS
 * (dataset/shard_builder.h); there its second part is an entry of `documents` of its own. Here it
 * is one document again: a shard that does not begin with BOS continues the last document of the
 * shard before, where that does not end with EOS. Empty documents, which other programs write,
 * count as documents.
 */
#ifndef LAP_DATASET_SET_DOCUMENTS_H
#define LAP_DATASET_SET_DOCUMENTS_H

#include "dataset/token_shard.h"

/* Where a document begins. */
typedef struct {
  uint32_t shard;     /* its index in the set */
  uint64_t first_row; /* in the shard */
} lap_document_place;

typedef struct {
  uint64_t count;
  lap_document_place *place; /* [count] */
  uint64_t *first;           /* [shards]: the document that documents[0] of the shard belongs to */
} lap_set_documents;

lap_set_documents lap_set_documents_find(const lap_token_set *set);
void lap_set_documents_release(lap_set_documents *documents);

/* The entry of the shard's `documents` in which `row` lies: the last that starts at or before it.
 * Entry d of shard s is document first[s] + d of the set. */
uint64_t lap_shard_document(const lap_token_shard *shard, uint64_t row);

#endif
