/* cache_rows: what makes a row valid, and what it becomes. Internal to teacher/. */
#ifndef LAP_TEACHER_CACHE_ROWS_H
#define LAP_TEACHER_CACHE_ROWS_H

#include "teacher/cache.h"

/* Finds ids that come twice in a row: stamp[id] == now means that this row has it already. */
typedef struct {
  uint32_t vocab_size, now;
  uint32_t *stamp; /* [vocab_size] */
} lap_duplicates;

void lap_duplicates_create(uint32_t vocab_size, lap_duplicates *seen);
void lap_duplicates_destroy(lap_duplicates *seen);

/* Where a row came from, for messages. */
typedef struct {
  const char *path;
  uint64_t row;
} lap_row_place;

/* A row that is valid becomes K ids (-1: unused) and probabilities; *mass is their sum. Ids may be
 * of any value in unused slots. LAP_DATA naming file, dataset, row, expected and found. */
lap_code lap_cache_row_check(const lap_row_place *place, uint32_t k, const int64_t *stored_ids,
                             const float *logprob, float tail, lap_duplicates *seen, int32_t *ids,
                             float *probability, double *mass, lap_status *status);

/* Whether row `row` of a shard counts (docs/design.md#windows): not of an EOS, not the last. */
bool lap_row_counts(const lap_token_shard *tokens, uint64_t row);

#endif
