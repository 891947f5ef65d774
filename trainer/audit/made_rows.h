/* made_rows: rows as a codec keeps them, made of whole rows of logits or of log-probabilities, for
 * comparison with stored ones and with the whole row. The codecs themselves are teacher/select.h
 * and teacher/draw.h.
 */
#ifndef LAP_TRAINER_AUDIT_MADE_ROWS_H
#define LAP_TRAINER_AUDIT_MADE_ROWS_H

#include "teacher/draw.h"

/* As lap_draw_plan, of topk too, whose k is `exact`. */
typedef lap_draw_plan lap_kept;

/* Slots of a row. */
uint32_t lap_kept_slots(const lap_kept *kept);

/* A row, in memory of the caller but for the numbers. */
typedef struct {
  uint32_t *ids;  /* [slots] */
  float *logprob; /* [slots], not rounded; -INFINITY: unused */
  float tail, next_logprob, entropy, threshold;
  uint32_t top_id;
} lap_made_row;

/* Makes rows on several threads at once. */
typedef struct lap_row_maker lap_row_maker;
lap_row_maker *lap_row_maker_create(const lap_kept *kept, int threads);
void lap_row_maker_destroy(lap_row_maker *maker);

/* By the thread that calls, of OpenMP. `logits` [V], the next token or -1, and how drawn rows are
 * drawn. False where a logit is NaN or +inf. */
bool lap_row_maker_make(lap_row_maker *maker, const float *logits, int32_t next, lap_draw_key key,
                        lap_made_row *row);

#endif
