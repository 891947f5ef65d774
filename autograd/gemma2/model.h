/* model: Gemma 2 recorded on a tape (DESIGN 4; arXiv 2408.00118, section 2).
 *
 * One lap_gemma2 is a model of one shape for micro-batches of one shape. Weights and gradients
 * stay with the caller, in the layout of gemma2/parameters.h, so that many lanes and modes
 * share one copy.
 */
#ifndef LAP_AUTOGRAD_GEMMA2_MODEL_H
#define LAP_AUTOGRAD_GEMMA2_MODEL_H

#include "autograd/gemma2/config.h"
#include "autograd/gemma2/parameters.h"
#include "autograd/tape/tape.h"

typedef struct {
  lap_gemma2_config config;
  lap_parameters *parameters;
  lap_tape *tape;
  lap_value hidden; /* [BT, H] after the final norm */
  int64_t sequences, length;
  real *rope_cosine, *rope_sine; /* [T, head_dim / 2]; NULL where nothing was allocated */
} lap_gemma2;

typedef enum {
  LAP_GEMMA2_TRAIN,  /* losses and gradients */
  LAP_GEMMA2_LOSS,   /* losses only */
  LAP_GEMMA2_HIDDEN, /* no head: lap_gemma2_logits afterwards */
} lap_gemma2_mode;

/* Records and plans. `teacher_k` is the largest k of the batches to come (0: no teacher). With
 * `allocate` false it cannot run, but says what it would take (lap_gemma2_bytes). */
lap_gemma2 *lap_gemma2_record(const lap_gemma2_config *config, lap_gemma2_mode mode,
                              const lap_objective *objective, int64_t sequences, int64_t length,
                              int64_t teacher_k, int64_t threads, bool allocate);
void lap_gemma2_destroy(lap_gemma2 *model);
/* Bytes that a model which can run has: the arena of its tape, and rotary angles. */
int64_t lap_gemma2_bytes(const lap_gemma2 *model);

/* One micro-batch. Gradients of the sum over counted positions are added into `gradients` (NULL
 * unless training). `losses` are written by the modes with a head. */
void lap_gemma2_run(lap_gemma2 *model, const real *weights, real *gradients, const lap_batch *batch,
                    const lap_losses *losses);

/* Mode HIDDEN, after run: soft-capped logits [count, V] of the micro-batch's rows from `row`. */
void lap_gemma2_logits(const lap_gemma2 *model, const real *weights, int64_t row, int64_t count,
                       real *logits);

#endif
