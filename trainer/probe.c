/* The run of a probe in one precision; compiled twice, as the autograd is (autograd/core/real.h).
 */
#include "trainer/probe.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"
#include "autograd/gemma2/model.h"
#include "trainer/safetensors.h"

#ifdef LAP_DOUBLE
static const lap_dtype dtype_of_real = LAP_DTYPE_F64;
#define read_real lap_safetensors_read_double
#else
static const lap_dtype dtype_of_real = LAP_DTYPE_F32;
#define read_real lap_safetensors_read_float
#endif

/* --- weights --- */

/* Names of a list for a message, as many as fit. */
typedef struct {
  char text[LAP_MESSAGE_SIZE / 4];
  size_t length;
  int count;
} name_list;

static void add_name(name_list *list, const char *name) {
  const size_t rest = sizeof list->text - list->length;
  const char *separator = list->count++ ? ", " : "";
  const size_t wanted = strlen(separator) + strlen(name);
  if (wanted >= rest) return;
  list->length += (size_t)snprintf(list->text + list->length, rest, "%s%s", separator, name);
}

static const char lm_head[] = "lm_head.weight", embedding[] = "model.embed_tokens.weight";

static lap_code check_names(const lap_safetensors *file, const lap_parameters *parameters,
                            lap_status *status) {
  name_list missing = {0}, unexpected = {0};
  size_t count;
  const lap_safetensors_tensor *tensors = lap_safetensors_tensors(file, &count);
  for (int i = 0; i < parameters->count; ++i)
    if (!lap_safetensors_find(file, parameters->parameter[i].name))
      add_name(&missing, parameters->parameter[i].name);
  for (size_t i = 0; i < count; ++i)
    if (!lap_parameters_find(parameters, tensors[i].name) && strcmp(tensors[i].name, lm_head) != 0)
      add_name(&unexpected, tensors[i].name);
  if (!missing.count && !unexpected.count) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: expected the weights of the config's model by their Hugging Face names; "
                  "missing %d%s%s; unexpected %d%s%s",
                  lap_safetensors_path(file), missing.count, missing.count ? ": " : "",
                  missing.text, unexpected.count, unexpected.count ? ": " : "", unexpected.text);
}

static lap_code check_finite(const lap_safetensors_tensor *tensor, const real *values,
                             lap_status *status) {
  for (int64_t i = 0; i < tensor->elements; ++i)
    if (!isfinite(values[i]))
      return lap_fail(status, LAP_DATA,
                      "%s: tensor '%s': element %" PRId64 " is %g; expected a finite number",
                      lap_safetensors_path(tensor->file), tensor->name, i, (double)values[i]);
  return LAP_OK;
}

static lap_code read_weight(const lap_safetensors *file, const lap_parameter *p, real *values,
                            lap_status *status) {
  const lap_safetensors_tensor *tensor = lap_safetensors_find(file, p->name);
  const int64_t vector[] = {p->columns}, matrix[] = {p->rows, p->columns};
  LAP_TRY(lap_safetensors_check_shape(tensor, p->is_norm ? 1 : 2, p->is_norm ? vector : matrix,
                                      status));
  LAP_TRY(read_real(tensor, 0, tensor->elements, values, status));
  return check_finite(tensor, values, status);
}

/* The output head is the embedding: a second copy of it says nothing, another matrix would be lost.
 */
static lap_code check_head(const lap_safetensors *file, const lap_parameters *parameters,
                           const real *weights, lap_status *status) {
  enum { CHUNK = 4096 };
  const lap_safetensors_tensor *head = lap_safetensors_find(file, lm_head);
  if (!head) return LAP_OK;
  const lap_parameter *p = lap_parameters_find(parameters, embedding);
  const int64_t shape[] = {p->rows, p->columns};
  LAP_TRY(lap_safetensors_check_shape(head, 2, shape, status));
  real chunk[CHUNK];
  for (int64_t begin = 0; begin < p->elements; begin += CHUNK) {
    const int64_t count = p->elements - begin < CHUNK ? p->elements - begin : CHUNK;
    LAP_TRY(read_real(head, begin, count, chunk, status));
    for (int64_t i = 0; i < count; ++i)
      if (chunk[i] != weights[p->offset + begin + i])
        return lap_fail(status, LAP_DATA,
                        "%s: tensor '%s' differs from '%s' at element %" PRId64
                        "; Gemma 2 has one matrix for both: leave the head out",
                        lap_safetensors_path(file), lm_head, embedding, begin + i);
  }
  return LAP_OK;
}

static lap_code read_weights(const char *path, const lap_parameters *parameters, real *weights,
                             lap_status *status) {
  lap_safetensors *file;
  LAP_TRY(lap_safetensors_open(path, &file, status));
  lap_code code = check_names(file, parameters, status);
  for (int i = 0; i < parameters->count && code == LAP_OK; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    code = read_weight(file, p, weights + p->offset, status);
  }
  if (code == LAP_OK) code = check_head(file, parameters, weights, status);
  lap_safetensors_close(file);
  return code;
}

/* --- batch --- */

/* The batch in this precision. */
typedef struct {
  lap_batch batch;
  lap_losses losses;
  real *teacher_probability, *teacher_tail;
  double *teacher_entropy, *loss_values;
} real_batch;

static real *round_to_real(const double *values, int64_t count) {
  real *rounded = lap_allocate((size_t)count, sizeof *rounded);
  for (int64_t i = 0; i < count; ++i) rounded[i] = (real)values[i];
  return rounded;
}

static real_batch make_batch(const lap_probe_batch *given) {
  const int64_t positions = given->sequences * given->length;
  real_batch made = {.loss_values = lap_allocate((size_t)(4 * positions), sizeof(double))};
  if (given->k) {
    made.teacher_probability = round_to_real(given->teacher_probability, positions * given->k);
    made.teacher_tail = round_to_real(given->teacher_tail, positions);
    made.teacher_entropy = lap_allocate((size_t)positions, sizeof(double));
    for (int64_t i = 0; i < positions; ++i) made.teacher_entropy[i] = (double)NAN; /* kl unread */
  }
  made.batch = (lap_batch){.sequences = given->sequences,
                           .length = given->length,
                           .tokens = given->tokens,
                           .first = given->first,
                           .targets = given->targets,
                           .k = given->k,
                           .teacher_ids = given->teacher_ids,
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
  free(made->teacher_probability);
  free(made->teacher_tail);
  free(made->teacher_entropy);
}

/* --- the run --- */

typedef struct {
  lap_parameters *parameters;
  real *weights, *gradients; /* canonical vectors */
  real *logits;              /* [BT, V] */
  double loss;
} probe_result;

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
                                                                .allocate = true});
  lap_gemma2_run(model, result->weights, result->gradients, &made->batch, &made->losses);
  lap_gemma2_destroy(model);
  const double count = batch->counted ? (double)batch->counted : 1; /* of none, all sums are 0 */
  for (int64_t i = 0; i < batch->sequences * batch->length; ++i)
    result->loss += made->losses.loss[i];
  result->loss /= count;
  for (int64_t i = 0; i < result->parameters->elements; ++i) result->gradients[i] /= (real)count;
}

static void make_logits(const lap_probe_request *request, const real_batch *made,
                        probe_result *result) {
  const lap_probe_batch *batch = request->batch;
  lap_gemma2 *model =
      lap_gemma2_record(request->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_HIDDEN,
                                                                .sequences = batch->sequences,
                                                                .length = batch->length,
                                                                .threads = request->threads,
                                                                .allocate = true});
  lap_gemma2_run(model, result->weights, NULL, &made->batch, NULL);
  const int64_t positions = batch->sequences * batch->length;
  result->logits =
      lap_allocate_aligned((size_t)(positions * request->model->vocab_size), sizeof(real));
  lap_gemma2_logits(model, result->weights, 0, positions, result->logits);
  lap_gemma2_destroy(model);
}

static lap_code check_result(const probe_result *result, lap_status *status) {
  if (!isfinite(result->loss))
    return lap_fail(status, LAP_NONFINITE, "the loss is %g; nothing is written", result->loss);
  for (int i = 0; i < result->parameters->count; ++i) {
    const lap_parameter *p = &result->parameters->parameter[i];
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
  const lap_parameters *parameters = result->parameters;
  const lap_probe_batch *batch = request->batch;
  const size_t count = (size_t)parameters->count + 2;
  const real loss = (real)result->loss;
  lap_safetensors_source *tensors = lap_allocate(count, sizeof *tensors);
  char(*names)[GRADIENT_NAME] = lap_allocate((size_t)parameters->count, sizeof *names);
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
  probe_result result = {.parameters = lap_parameters_create(request->model)};
  const size_t elements = (size_t)result.parameters->elements;
  result.weights = lap_allocate_aligned(elements, sizeof(real));
  lap_code code = read_weights(request->weights, result.parameters, result.weights, status);
  if (code == LAP_OK) {
    real_batch made = make_batch(request->batch);
    result.gradients = lap_allocate_aligned(elements, sizeof(real));
    train(request, &made, &result);
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
  return code;
}
