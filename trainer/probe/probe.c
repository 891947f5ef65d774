/* probe: the run of a probe in one precision; compiled twice, as the autograd is
 * (autograd/kernel/real.h).
 */
#include "trainer/probe/probe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/model.h"
#include "autograd/op/loss_row.h"
#include "core/memory.h"
#include "trainer/hf/safetensors.h"
#include "trainer/hf/weights.h"

#ifdef LAP_DOUBLE
static const lap_dtype dtype_of_real = LAP_DTYPE_F64;
#define read_weights lap_hf_weights_read_double
#else
static const lap_dtype dtype_of_real = LAP_DTYPE_F32;
#define read_weights lap_hf_weights_read_float
#endif

/* --- batch --- */

/* The batch in this precision. */
typedef struct {
  lap_batch batch;
  lap_losses losses;
  int32_t *teacher_ids;
  real *teacher_probability, *teacher_tail;
  double *teacher_entropy, *loss_values;
} real_batch;

static real *round_to_real(const double *values, int64_t count) {
  real *rounded = lap_allocate(count, sizeof *rounded);
  for (int64_t i = 0; i < count; ++i) rounded[i] = (real)values[i];
  return rounded;
}

/* As training does: a row of all ids may have them in any order; one of fewer has its head in
 * front, as a stratified cache has. */
static void put_heads_first(real_batch *made, const lap_probe_request *request) {
  const lap_probe_batch *given = request->batch;
  const bool dense = given->k == request->model->vocab_size;
  if (!dense || request->objective.tail != LAP_TAIL_DECOUPLED) return;
  for (int64_t row = 0; row < given->sequences * given->length; ++row)
    lap_row_head_first(made->teacher_ids + row * given->k,
                       made->teacher_probability + row * given->k, given->k,
                       request->objective.head);
}

static real_batch make_batch(const lap_probe_request *request) {
  const lap_probe_batch *given = request->batch;
  const int64_t positions = given->sequences * given->length;
  real_batch made = {.loss_values = lap_allocate(4 * positions, sizeof(double))};
  if (given->k) {
    const int64_t slots = positions * given->k;
    made.teacher_ids = lap_allocate(slots, sizeof(int32_t));
    memcpy(made.teacher_ids, given->teacher_ids, (size_t)slots * sizeof(int32_t));
    made.teacher_probability = round_to_real(given->teacher_probability, slots);
    made.teacher_tail = round_to_real(given->teacher_tail, positions);
    made.teacher_entropy = lap_allocate(positions, sizeof(double));
    for (int64_t i = 0; i < positions; ++i) made.teacher_entropy[i] = (double)NAN; /* kl unread */
    put_heads_first(&made, request);
  }
  made.batch = (lap_batch){.sequences = given->sequences,
                           .length = given->length,
                           .tokens = given->tokens,
                           .document_start = given->document_start,
                           .targets = given->targets,
                           .k = given->k,
                           .teacher_ids = made.teacher_ids,
                           .teacher_probability = made.teacher_probability,
                           .teacher_tail = made.teacher_tail,
                           .teacher_entropy = made.teacher_entropy};
  made.losses = (lap_losses){.loss = made.loss_values,
                             .ce = made.loss_values + positions,
                             .kd = made.loss_values + 2 * positions,
                             .kl = made.loss_values + 3 * positions};
  return made;
}

static void release_batch(real_batch *made) {
  free(made->loss_values);
  free(made->teacher_ids);
  free(made->teacher_probability);
  free(made->teacher_tail);
  free(made->teacher_entropy);
}

/* --- the run --- */

typedef struct {
  lap_parameters *parameters;
  real *weights, *gradients; /* of its shards, one behind another; gradients later of `whole` */
  lap_parameters *whole;     /* the model in one shard */
  real *logits;              /* [BT, V] */
  double loss;
} probe_result;

static lap_shard_range all_shards(const lap_probe_request *request) {
  return (lap_shard_range){request->shards, 0, request->shards};
}

/* Loss and gradients of the mean over counted positions. */
static void train(const lap_probe_request *request, real_batch *made, probe_result *result) {
  const lap_probe_batch *batch = request->batch;
  lap_gemma2 *model =
      lap_gemma2_record(request->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                                                .objective = &request->objective,
                                                                .sequences = batch->sequences,
                                                                .length = batch->length,
                                                                .teacher_k = batch->k,
                                                                .threads = request->threads,
                                                                .shards = all_shards(request),
                                                                .allocate = true});
  lap_gemma2_run(model, result->weights, result->gradients, &made->batch, &made->losses);
  lap_gemma2_destroy(model);
  const double count = batch->counted ? (double)batch->counted : 1; /* of none, all sums are 0 */
  for (int64_t i = 0; i < batch->sequences * batch->length; ++i)
    result->loss += made->losses.loss[i];
  result->loss /= count;
  for (int64_t i = 0; i < result->parameters->elements; ++i) result->gradients[i] /= (real)count;
}

/* Gradients of shards become those of the whole tensors. */
static void join_gradients(probe_result *result) {
  const lap_parameters *parts = result->parameters;
  real *joined = lap_allocate_aligned(result->whole->elements, sizeof *joined);
  for (int i = 0; i < parts->count; ++i) {
    const lap_parameter *p = &parts->parameter[i];
    real *tensor = joined + lap_parameters_find(result->whole, p->name)->offset;
    for (lap_run run = {0}; run.part < p->elements; run.part += run.count) {
      run = lap_parameter_run(p, run.part, p->elements);
      memcpy(tensor + run.whole, result->gradients + p->offset + run.part,
             (size_t)run.count * sizeof *joined);
    }
  }
  lap_release_aligned(result->gradients);
  result->gradients = joined;
}

static void make_logits(const lap_probe_request *request, const real_batch *made,
                        probe_result *result) {
  const lap_probe_batch *batch = request->batch;
  lap_gemma2 *model =
      lap_gemma2_record(request->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_HIDDEN,
                                                                .sequences = batch->sequences,
                                                                .length = batch->length,
                                                                .threads = request->threads,
                                                                .shards = all_shards(request),
                                                                .allocate = true});
  lap_gemma2_run(model, result->weights, NULL, &made->batch, NULL);
  const int64_t positions = batch->sequences * batch->length, vocab = request->model->vocab_size;
  const size_t count = (size_t)(positions * vocab);
  result->logits = lap_allocate_aligned(count, sizeof *result->logits);
  if (request->shards == 1) {
    lap_gemma2_logits(model, result->weights, 0, positions, result->logits);
  } else {
    real *parts = lap_allocate_aligned(count, sizeof *parts);
    lap_gemma2_logits(model, result->weights, 0, positions, parts);
    lap_gemma2_join_logits(parts, request->shards, positions, vocab, result->logits);
    lap_release_aligned(parts);
  }
  lap_gemma2_destroy(model);
}

static lap_code check_result(const probe_result *result, lap_status *status) {
  if (!isfinite(result->loss))
    return lap_fail(status, LAP_NONFINITE, "the loss is %g; nothing is written", result->loss);
  for (int i = 0; i < result->whole->count; ++i) {
    const lap_parameter *p = &result->whole->parameter[i];
    for (int64_t j = 0; j < p->elements; ++j)
      if (!isfinite(result->gradients[p->offset + j]))
        return lap_fail(status, LAP_NONFINITE,
                        "element %" PRId64 " of the gradient of %s is %g; nothing is written", j,
                        p->name, (double)result->gradients[p->offset + j]);
  }
  return LAP_OK;
}

static lap_code write_result(const lap_probe_request *request, const probe_result *result,
                             lap_status *status) {
  enum { GRADIENT_NAME = sizeof "grad." + sizeof((lap_parameter *)0)->name };
  const lap_parameters *parameters = result->whole;
  const lap_probe_batch *batch = request->batch;
  const size_t count = (size_t)parameters->count + 2;
  const real loss = (real)result->loss;
  lap_safetensors_source *tensors = lap_allocate(count, sizeof *tensors);
  char(*names)[GRADIENT_NAME] = lap_allocate(parameters->count, sizeof *names);
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    snprintf(names[i], sizeof names[i], "grad.%s", p->name);
    tensors[i] = (lap_safetensors_source){.name = names[i],
                                          .dtype = dtype_of_real,
                                          .dimensions = p->is_norm ? 1 : 2,
                                          .shape = {p->is_norm ? p->columns : p->rows, p->columns},
                                          .values = result->gradients + p->offset};
  }
  tensors[count - 2] = (lap_safetensors_source){
      .name = "loss", .dtype = dtype_of_real, .dimensions = 1, .shape = {1}, .values = &loss};
  tensors[count - 1] = (lap_safetensors_source){
      .name = "logits",
      .dtype = dtype_of_real,
      .dimensions = 3,
      .shape = {batch->sequences, batch->length, request->model->vocab_size},
      .values = result->logits};
  const lap_code code = lap_safetensors_write(request->out, tensors, count, status);
  free(names);
  free(tensors);
  return code;
}

lap_code LAP_PRECISION(lap_probe_run)(const lap_probe_request *request, double *loss,
                                      lap_status *status) {
  probe_result result = {
      .parameters = lap_parameters_create_shards(request->model, all_shards(request)),
      .whole = lap_parameters_create(request->model)};
  const size_t elements = (size_t)result.parameters->elements;
  lap_code code = lap_hf_weights_check(request->weights, result.parameters, NULL, status);
  if (code == LAP_OK) {
    result.weights = lap_allocate_aligned(elements, sizeof(real));
    code = read_weights(request->weights, result.parameters, result.weights, status);
  }
  if (code == LAP_OK) {
    real_batch made = make_batch(request);
    result.gradients = lap_allocate_aligned(elements, sizeof(real));
    train(request, &made, &result);
    if (request->shards > 1) join_gradients(&result);
    make_logits(request, &made, &result);
    release_batch(&made);
    code = check_result(&result, status);
    if (code == LAP_OK) code = write_result(request, &result, status);
    *loss = result.loss;
  }
  lap_release_aligned(result.weights);
  lap_release_aligned(result.gradients);
  lap_release_aligned(result.logits);
  lap_parameters_destroy(result.parameters);
  lap_parameters_destroy(result.whole);
  return code;
}
