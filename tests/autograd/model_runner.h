/* model_runner: a whole Gemma 2 on arrays of double, in either build of the autograd. */
#ifndef TESTS_AUTOGRAD_MODEL_RUNNER_H
#define TESTS_AUTOGRAD_MODEL_RUNNER_H

#include "autograd/gemma2/config.h"
#include "autograd/gemma2/parameters.h"
#include "autograd/op/objective.h"
#include "tests/autograd/batch.h"
#include "tests/autograd/op_runner.h"

typedef enum { MODEL_TRAIN, MODEL_LOSS, MODEL_HIDDEN } model_mode;

typedef struct model_session model_session;

typedef struct {
  /* `batch` gives shapes and is read at each run: it has to live as long. */
  model_session *(*create)(const lap_gemma2_config *config, model_mode mode,
                           const lap_objective *objective, const test_batch *batch, int threads);
  void (*destroy)(model_session *session);
  /* One micro-batch. weights and gradients are canonical vectors; gradients are added to
   * (MODEL_TRAIN; else NULL); losses of positions may be NULL. */
  void (*run)(model_session *session, const double *weights, double *gradients,
              const test_losses *losses);
  /* After a run in MODEL_HIDDEN: logits [count, V] of rows [row, row + count). */
  void (*logits)(model_session *session, const double *weights, int64_t row, int64_t count,
                 double *logits);
  /* NaN into every element of the model's working memory. */
  void (*poison)(model_session *session);
} model_runner;

extern const model_runner model_runner_float, model_runner_double;

#endif
