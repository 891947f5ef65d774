/* Compiled twice, as the autograd is. */
#include "tests/autograd/model_runner.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/model.h"
#include "autograd/tape/internal.h"
#include "core/memory.h"

struct model_session {
  lap_gemma2 *model;
  const test_batch *batch;
  int threads;
  real *weights, *gradients, *probability, *tail;
  double *losses; /* [4, BT] */
};

static real *reals(int64_t n) { return lap_allocate_aligned(n, sizeof(real)); }

static void to_reals(real *out, const double *x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = (real)x[i];
}

static model_session *create(const lap_gemma2_config *config, model_mode mode,
                             const lap_objective *objective, const test_batch *batch, int threads) {
  const lap_gemma2_mode modes[] = {LAP_GEMMA2_TRAIN, LAP_GEMMA2_LOSS, LAP_GEMMA2_HIDDEN};
  model_session *s = lap_allocate(1, sizeof *s);
  s->model = lap_gemma2_record(config, &(lap_gemma2_recording){.mode = modes[mode],
                                                               .objective = objective,
                                                               .sequences = batch->sequences,
                                                               .length = batch->length,
                                                               .teacher_k = batch->k,
                                                               .threads = threads,
                                                               .allocate = true});
  s->batch = batch;
  s->threads = threads;
  const int64_t elements = s->model->parameters->elements, rows = batch->sequences * batch->length;
  s->weights = reals(elements);
  s->gradients = mode == MODEL_TRAIN ? reals(elements) : NULL;
  s->probability = reals(rows * batch->k);
  s->tail = reals(rows);
  s->losses = lap_allocate(rows * 4, sizeof(double));
  return s;
}

static void destroy(model_session *s) {
  lap_gemma2_destroy(s->model);
  lap_release_aligned(s->weights);
  lap_release_aligned(s->gradients);
  lap_release_aligned(s->probability);
  lap_release_aligned(s->tail);
  free(s->losses);
  free(s);
}

static void report(const model_session *s, const test_losses *out) {
  const int64_t rows = s->batch->sequences * s->batch->length;
  double *const to[] = {out->loss, out->ce, out->kd, out->kl};
  for (int i = 0; i < 4; ++i)
    if (to[i]) memcpy(to[i], s->losses + i * rows, (size_t)rows * sizeof(double));
}

static void run(model_session *s, const double *weights, double *gradients,
                const test_losses *losses) {
  const test_batch *b = s->batch;
  const int64_t elements = s->model->parameters->elements, rows = b->sequences * b->length;
  to_reals(s->weights, weights, elements);
  if (gradients) to_reals(s->gradients, gradients, elements);
  to_reals(s->probability, b->probability, rows * b->k);
  to_reals(s->tail, b->tail, rows);
  for (int64_t i = 0; i < 4 * rows; ++i) s->losses[i] = NAN;
  const lap_batch batch = {.sequences = b->sequences,
                           .length = b->length,
                           .tokens = b->tokens,
                           .document_start = b->document_start,
                           .targets = b->targets,
                           .k = b->k,
                           .teacher_ids = b->ids,
                           .teacher_probability = s->probability,
                           .teacher_tail = s->tail,
                           .teacher_entropy = b->entropy};
  const lap_losses out = {s->losses, s->losses + rows, s->losses + 2 * rows, s->losses + 3 * rows};
  const int before = omp_get_max_threads();
  omp_set_num_threads(s->threads);
  lap_gemma2_run(s->model, s->weights, gradients ? s->gradients : NULL, &batch, &out);
  omp_set_num_threads(before);
  for (int64_t i = 0; gradients && i < elements; ++i) gradients[i] = (double)s->gradients[i];
  if (losses) report(s, losses);
}

static void logits_of(model_session *s, const double *weights, int64_t row, int64_t count,
                      double *logits) {
  const int64_t n = count * s->model->config.vocab_size;
  real *z = reals(n);
  to_reals(s->weights, weights, s->model->parameters->elements);
  lap_gemma2_logits(s->model, s->weights, row, count, z);
  for (int64_t i = 0; i < n; ++i) logits[i] = (double)z[i];
  lap_release_aligned(z);
}

static void poison(model_session *s) {
  lap_tape *tape = s->model->tape;
  for (int64_t i = 0; i < tape->arena_size; ++i) tape->arena[i] = (real)NAN;
}

const model_runner LAP_PRECISION(model_runner) = {create, destroy, run, logits_of, poison};
