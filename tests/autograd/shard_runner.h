/* shard_runner: a Gemma 2 cut into model shards, run by processes that are threads here, in either
 * build of the autograd. Weights and gradients are doubles in the layout of one shard, whatever the
 * cut.
 */
#ifndef TESTS_AUTOGRAD_SHARD_RUNNER_H
#define TESTS_AUTOGRAD_SHARD_RUNNER_H

#include "autograd/op/shard_range.h"
#include "autograd/tape/recompute.h"
#include "tests/autograd/model_runner.h"

typedef struct {
  const lap_gemma2_config *config;
  model_mode mode;
  const lap_objective *objective;
  const test_batch *batch;
  int shards, local; /* M, and S for each of the M / S processes */
  lap_recompute recompute;
  int threads; /* of each process */
  /* Hooks bring the weights of a block to new memory as it is entered, and take memory away with
   * NaN in it as it is left; after a block's backward its gradients go elsewhere. */
  bool moving;
  bool folded; /* one process has all shards and runs by lap_gemma2_run; else the tree is our own */
} shard_setup;

typedef struct {
  double *gradients;  /* [elements], added to; MODEL_TRAIN */
  test_losses losses; /* any may be NULL */
  double *logits;     /* [BT, V]; MODEL_HIDDEN */
  /* With `moving`, of the first process: "+0 -0 +1 -1 ... +1' -1' +0' -0'"; free() it. */
  char *events;
  int sums, double_sums, largest; /* exchanges between shards */
  int64_t bytes;                  /* of one process */
  double flops;                   /* of all processes */
  double seconds[3];              /* of the first: forward, recompute, backward */
} shard_result;

typedef struct {
  /* Fails the test where processes that should have the same losses, logits or gradients of norms
   * have not. */
  void (*run)(const shard_setup *setup, const double *weights, shard_result *result);
} shard_runner;

extern const shard_runner shard_runner_float, shard_runner_double;

#endif
