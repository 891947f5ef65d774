/* dense_rows: windows of a cache that keeps every id, as rows of log-probabilities by id.
 *
 * Rows are scaled to sum to 1: what rounding has left of a row must not look like a codec's bias.
 */
#ifndef LAP_TRAINER_AUDIT_DENSE_ROWS_H
#define LAP_TRAINER_AUDIT_DENSE_ROWS_H

#include "teacher/cache.h"
#include "teacher/draw.h"
#include "trainer/step/batches.h"

typedef struct {
  lap_data data; /* without cache: the tokens alone go into `window` */
  lap_cache *cache;
  lap_micro_batch *window;    /* of one sequence; its position 1 + i is row first_row + i */
  uint64_t first_row, stream; /* as in lap_draw_key */
  uint32_t rows;              /* of the window */
  float *logprob;             /* [T, V] by position and id; -INFINITY: 0. Counted positions alone */
  lap_cache_rows *read;
} lap_dense_rows;

/* `cache` is dense (lap_dense_rows_check) and must outlive the rows. */
lap_dense_rows *lap_dense_rows_create(lap_cache *cache);
void lap_dense_rows_destroy(lap_dense_rows *rows);
/* Window `index` of the set. LAP_DATA where a row is invalid. */
lap_code lap_dense_rows_fill(lap_dense_rows *rows, uint64_t index, lap_status *status);
/* How the row of position t is drawn. */
lap_draw_key lap_dense_rows_key(const lap_dense_rows *rows, int64_t t, uint64_t seed);

/* LAP_DATA where `cache` does not keep every id, or is of another teacher, vocabulary, tokenizer or
 * context than `other`, naming both files. */
lap_code lap_dense_rows_check(const lap_cache *cache, const lap_cache *other, lap_status *status);

#endif
