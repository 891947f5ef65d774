/* evaluate: how well a model predicts held-out text, and how closely it follows a teacher.
 *
 * Replicas share the windows; each window's sums are computed by themselves and added in window
 * order, so the figures have the same bits at any number of ranks and threads. Every window of the
 * set is used once; with data->step they overlap, and each position is counted once.
 */
#ifndef LAP_TRAINER_MODEL_EVALUATE_H
#define LAP_TRAINER_MODEL_EVALUATE_H

#include <jansson.h>

#include "core/progress.h"
#include "trainer/model/evaluation_detail.h"
#include "trainer/state/block_weights.h"
#include "trainer/state/memory_table.h"
#include "trainer/step/batches.h"

typedef struct {
  double loss;          /* mean -log p(next token), nats per counted position */
  double perplexity;    /* e^loss */
  double bits_per_byte; /* over text tokens: not EOS and other control tokens; NaN: no tokenizer */
  double accuracy;      /* share of positions where the likeliest token is the next one */
  double kl;            /* to the teacher, between its K+1 buckets; NaN: no cache */
  double agreement;     /* share where student and teacher have the same likeliest token, of equals
                           of the teacher the first of the row; NaN */
  /* Acceptance of speculative decoding with the model as the teacher's draft: the mean over
   * positions of sum min(p of the teacher, p of the model). It lies between these two, of which the
   * first takes the kept ids alone. NaN: no cache, or one of draws. */
  double acceptance, acceptance_most;
  double teacher_loss; /* mean -log p of the next token under the teacher; NaN: not stored */
  uint64_t counted, windows;
  double seconds;
  double tokens_per_second; /* inputs, padding included */
} lap_evaluation;

typedef struct {
  const lap_gemma2_config *model;
  lap_state *state;
  lap_block_weights *weights; /* of `state` */
  const lap_data *data;
  /* [vocab_size] bytes of text of each token; NULL: no bits per byte */
  const uint16_t *piece_bytes;
  int threads;
  lap_evaluation_detail *detail; /* filled on rank 0, the caller's to release; NULL: totals alone */
  /* whether this rank has a reason to leave the evaluation; or NULL */
  bool (*leave)(void *context);
  void *context;
  const lap_progress_hook *hook; /* told of each window of this replica; NULL: nobody */
} lap_evaluate_request;

/* Collective. The outcome is agreed. LAP_STOPPED where a rank is to stop (core/stop.h) or leaves,
 * before the next window; then `evaluation` is as it was. LAP_NONFINITE where ranks have added the
 * same sums of windows to different ones. */
lap_code lap_evaluate(const lap_evaluate_request *request, lap_evaluation *evaluation,
                      lap_status *status);

/* What evaluating windows of this length with this state, of which an outline will do, would
 * allocate, piece_bytes of the caller included. */
void lap_evaluate_bytes(const lap_gemma2_config *model, const lap_state *state, int64_t length,
                        int64_t teacher_k, int threads, lap_memory_table *memory);

/* [vocab_size] bytes of text for each token of the tokenizer, malloc'ed. */
uint16_t *lap_evaluate_piece_bytes(const char *tokenizer_path, int64_t vocab_size,
                                   lap_status *status);

/* By how much the model's loss is below its teacher's on the same positions, in nats per token: its
 * teacher has less to teach it than the text. Not above 0 where the teacher is better; 0 where the
 * rounding of the stored losses tells no difference; NaN where its loss is not known. */
double lap_evaluation_lead(const lap_evaluation *evaluation);

/* As a JSON object, NaN as null; a new reference. */
json_t *lap_evaluation_to_json(const lap_evaluation *evaluation);

#endif
