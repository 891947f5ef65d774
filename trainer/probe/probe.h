/* probe: one forward and backward of a model whose weights and batch come from safetensors files,
 * for comparison with other frameworks (docs/design.md#probe).
 *
 * A batch B holds, B sequences of T positions, each sequence one document:
 *   tokens, targets                [B, T] integers; target -1: the position is not counted
 *   teacher_ids                    [B, T, K] integers      all three or none
 *   teacher_probs, teacher_tail    [B, T, K] and [B, T] floating point
 * A slot of probability 0 is unused, whatever its id. Teacher rows of positions that are not
 * counted are not looked at. The tail rule decoupled takes the most probable ids of a row for the
 * head, or, where K is not the vocabulary, its first slots.
 *
 * Weights W are named as Hugging Face names them, all of them and nothing else. An lm_head.weight,
 * which a tied model's state may hold a second time, is ignored where it equals the embedding.
 *
 * The result O holds
 *   loss         [1]          the mean of the objective over the counted positions
 *   logits       [B, T, V]    after the final soft-cap, before temperature
 *   grad.NAME    for every weight, in its shape: the gradient of that mean, whatever the number of
 *                shards that it is computed in
 * Where nothing is counted, loss and gradients are 0. All are F32, or F64 from
 * lap_probe_run_double, which never rounds to float on the way.
 *
 * Not collective.
 */
#ifndef LAP_TRAINER_PROBE_PROBE_H
#define LAP_TRAINER_PROBE_PROBE_H

#include <stdint.h>

#include "autograd/gemma2/config.h"
#include "autograd/op/objective.h"
#include "core/status.h"

typedef struct {
  int64_t sequences, length;                  /* B, T */
  int64_t k;                                  /* 0: no teacher */
  int64_t counted;                            /* positions */
  int32_t *tokens, *document_start, *targets; /* [B, T]; document_start is 0 */
  int32_t *teacher_ids;                       /* [B, T, k]; -1: unused */
  double *teacher_probability;                /* [B, T, k] */
  double *teacher_tail;                       /* [B, T] */
} lap_probe_batch;

/* Reads and checks a batch for a model; *batch is the caller's, NULL on failure. LAP_DATA naming
 * file, tensor and position. */
lap_code lap_probe_batch_read(const char *path, const lap_gemma2_config *model,
                              lap_probe_batch **batch, lap_status *status);
void lap_probe_batch_destroy(lap_probe_batch *batch);

typedef struct {
  const lap_gemma2_config *model;
  lap_objective objective;
  int threads;
  int shards;          /* model shards (mesh.model), all computed here; at most LAP_MAX_SHARDS */
  const char *weights; /* path of W */
  const lap_probe_batch *batch;
  const char *out; /* path of O */
} lap_probe_request;

/* Runs and writes O; *loss is what O says. What computes products must be open (lap_gemm_open; in
 * double OpenBLAS). LAP_DATA where W is not this model's or O cannot be written, LAP_NONFINITE
 * where loss or gradients are not finite: then nothing is written. */
lap_code lap_probe_run_float(const lap_probe_request *request, double *loss, lap_status *status);
lap_code lap_probe_run_double(const lap_probe_request *request, double *loss, lap_status *status);

#endif
