/* cache_row: what makes a row valid. Internal to teacher/.
 *
 * Valid: ids in [0, vocab_size), any order, unique; unused slots have logprob -inf (any id);
 * logprob <= 1e-3; tail_mass in [0,1] within 1e-5 (lap_row_tail); |sum exp(logprob) + tail_mass -
 * 1| <= 0.02, of drawn codecs <= 0.005 with a tail_mass of 0; next_logprob <= 1e-3 and entropy >=
 * -1e-3 where they are stored.
 */
#ifndef LAP_TEACHER_CACHE_ROW_H
#define LAP_TEACHER_CACHE_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "dataset/token_shard.h"

/* Finds ids that come twice in a row: stamp[id] == now means that this row has it already. */
typedef struct {
  uint32_t vocab_size, now;
  uint32_t *stamp; /* [vocab_size] */
} lap_duplicates;

void lap_duplicates_create(uint32_t vocab_size, lap_duplicates *seen);
void lap_duplicates_destroy(lap_duplicates *seen);

/* A row as it is stored. Nothing is owned. */
typedef struct {
  const char *path; /* where it comes from, for messages */
  uint64_t row;
  uint32_t k;
  bool drawn;           /* of a drawn codec */
  const int64_t *ids;   /* [k]; any value in unused slots */
  const float *logprob; /* [k] */
  float tail_mass;
  const float *next_logprob, *entropy; /* one value each; NULL: not looked at */
} lap_stored_row;

/* A row that is valid becomes `ids` [k] (-1: unused) and `probability` [k]; *mass is their sum.
 * LAP_DATA naming file, dataset, row, expected and found. */
lap_code lap_stored_row_check(const lap_stored_row *stored, lap_duplicates *seen, int32_t *ids,
                              float *probability, double *mass, lap_status *status);

/* A stored tail mass as it is used: what is off [0,1] by 1e-5 at most, as the 1 - sum of a float32
 * writer is, is taken for 0 or 1. */
float lap_row_tail(float stored);

/* Whether docs/design.md#windows counts row `row` of a shard: not of an EOS, not the last. */
bool lap_row_counts(const lap_token_shard *tokens, uint64_t row);

#endif
