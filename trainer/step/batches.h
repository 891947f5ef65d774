/* batches: windows of the data and rows of the cache as the arrays that the model reads.
 *
 * Reading is not collective: a rank reads what its lanes need. A failure (a damaged shard or cache
 * row) is returned as a status for the step's agreement point.
 */
#ifndef LAP_TRAINER_STEP_BATCHES_H
#define LAP_TRAINER_STEP_BATCHES_H

#include "autograd/op/op.h"
#include "dataset/order.h"
#include "dataset/windows.h"
#include "teacher/cache.h"
#include "trainer/step/smoothing.h"

/* Batches without files, for bench: random tokens and targets of one document a sequence and,
 * with k > 0, k kept ids of random probability with a tail, as a topk cache would give. A
 * function of the window. */
typedef struct {
  int64_t vocab_size, k;
  uint64_t windows; /* as many as there are said to be */
} lap_synthetic;

typedef struct {
  const lap_token_set *tokens;
  lap_cache *cache; /* NULL: no teacher */
  uint32_t sequence_length;
  uint32_t step; /* rows from a window to the next (lap_sliding_count); 0: T-1, plain windows */
  bool document_mask;
  const lap_order_source *sources; /* how training samples the windows; NULL: all alike */
  size_t source_count;
  uint32_t head; /* slots of a row that are to be its most probable ids, in a dense cache of any
                    order; 0: rows stay as they are */
  const lap_smoothing *smoothing; /* in the place of a cache; NULL: none */
  const lap_synthetic *synthetic; /* NULL: from tokens and cache; else neither is looked at; of k 0
                                     where there is a smoothing */
} lap_data;

uint64_t lap_data_window_count(const lap_data *data);
/* Where window `index` lies, and its rows as lap_sliding_rows has them; not of synthetic data. */
lap_shard_window lap_data_window(const lap_data *data, uint64_t index);
uint32_t lap_data_window_rows(const lap_data *data, lap_shard_window window, uint64_t *row);
int64_t lap_data_teacher_k(const lap_data *data); /* 0: no teacher */

/* A micro-batch and the memory behind it. */
typedef struct {
  lap_batch batch;
  lap_losses losses;
  const uint64_t *epochs; /* [sequences] set by who fills it: of each the epoch that it is in, which
                             decides what is read of a cache of several draws; NULL: the first */
  uint32_t counted;       /* positions counted in the batch that was filled last */
  int32_t *tokens, *document_start, *targets, *teacher_ids;
  float *teacher_probability, *teacher_tail;
  double *teacher_entropy, *loss_values;
  uint8_t *counted_rows;
  lap_cache_rows *rows;
} lap_micro_batch;

lap_micro_batch *lap_micro_batch_create(const lap_data *data, int64_t sequences);
void lap_micro_batch_destroy(lap_micro_batch *micro);
/* What create would allocate for data of this length with `teacher_k` kept ids (0: no teacher),
 * read from a cache, or, where all positions have `one_row`, from the smoothing. */
int64_t lap_micro_batch_bytes(int64_t sequences, int64_t length, int64_t teacher_k, bool one_row);

/* Fills all sequences: sequence i takes window `windows[i]` of the set. */
lap_code lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data, const uint64_t *windows,
                              lap_status *status);

#endif
