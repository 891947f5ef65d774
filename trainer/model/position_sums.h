/* position_sums: what evaluation adds up over positions: of a window, a document, the whole set.
 *
 * All are float64 sums over counted positions (docs/design.md#windows), counts among them, which
 * are exact up to 2^53.
 */
#ifndef LAP_TRAINER_MODEL_POSITION_SUMS_H
#define LAP_TRAINER_MODEL_POSITION_SUMS_H

typedef struct {
  double counted;       /* positions */
  double nats;          /* -log p of the next token */
  double correct;       /* where the likeliest token is the next one */
  double text_nats;     /* as nats, over next tokens that stand for text */
  double text_bytes;    /* of that text; both 0 without a tokenizer */
  double late;          /* positions whose context is longer than half a window */
  double late_nats;     /* as nats, over these */
  double kl;            /* to the teacher, between its K+1 buckets; with a cache, as all below */
  double agreed;        /* where student and teacher have the same likeliest token */
  double teacher_nats;  /* -log p of the next token under the teacher; NaN where it is not stored */
  double accepted;      /* sum over the kept ids of min(p of the teacher, p of the model) */
  double accepted_rest; /* the most that all other ids can add to `accepted` */
} lap_position_sums;

void lap_position_sums_add(lap_position_sums *total, const lap_position_sums *part);

#endif
