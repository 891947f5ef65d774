#include "trainer/audit/block_gradient.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/model.h"
#include "autograd/kernel/vector.h"
#include "core/memory.h"

struct lap_block_gradient {
  const lap_parameters *parameters;
  const float *weights;
  lap_dense_rows *dense;
  uint32_t vocab, slots;
  lap_gemma2 *model;
  lap_row_maker *maker;
  int threads;
  lap_batch batch; /* its tokens are those of dense->window */
  uint32_t *made;  /* [T, slots] */
  int32_t *ids;    /* [T, slots] */
  float *probability, *tail;
  double *entropy; /* [T]: 0; kl is not read */
};

lap_block_gradient *lap_block_gradient_create(const lap_gemma2_config *model,
                                              const lap_parameters *parameters,
                                              const float *weights, const lap_kept *kept,
                                              const lap_objective *objective, lap_dense_rows *dense,
                                              int threads) {
  const uint32_t length = dense->data.sequence_length, slots = lap_kept_slots(kept);
  const size_t all = (size_t)length * slots;
  lap_block_gradient *block = lap_allocate(1, sizeof *block);
  *block = (lap_block_gradient){.parameters = parameters,
                                .weights = weights,
                                .dense = dense,
                                .vocab = kept->vocab,
                                .slots = slots,
                                .threads = threads,
                                .maker = lap_row_maker_create(kept, threads),
                                .made = lap_allocate(all, sizeof *block->made),
                                .ids = lap_allocate(all, sizeof *block->ids),
                                .probability = lap_allocate_aligned(all, sizeof(float)),
                                .tail = lap_allocate(length, sizeof *block->tail),
                                .entropy = lap_allocate(length, sizeof *block->entropy)};
  block->model = lap_gemma2_record(model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                                                  .objective = objective,
                                                                  .sequences = 1,
                                                                  .length = length,
                                                                  .teacher_k = slots,
                                                                  .threads = threads,
                                                                  .shards = lap_whole_model(),
                                                                  .allocate = true});
  block->batch = dense->window->batch;
  block->batch.k = slots;
  block->batch.teacher_ids = block->ids;
  block->batch.teacher_probability = block->probability;
  block->batch.teacher_tail = block->tail;
  block->batch.teacher_entropy = block->entropy;
  return block;
}

void lap_block_gradient_destroy(lap_block_gradient *block) {
  if (!block) return;
  lap_gemma2_destroy(block->model);
  lap_row_maker_destroy(block->maker);
  free(block->made);
  free(block->ids);
  lap_release_aligned(block->probability);
  free(block->tail);
  free(block->entropy);
  free(block);
}

/* The row of position t; without ids where it is not counted. */
static void make_row(lap_block_gradient *block, int64_t t, uint64_t seed) {
  const uint32_t slots = block->slots;
  int32_t *ids = block->ids + t * slots;
  lap_made_row row = {.ids = block->made + t * slots, .logprob = block->probability + t * slots};
  const bool counted = block->batch.targets[t] >= 0;
  if (counted)
    lap_row_maker_make(block->maker, block->dense->logprob + t * block->vocab, -1,
                       lap_dense_rows_key(block->dense, t, seed), &row);
  for (uint32_t i = 0; i < slots; ++i)
    ids[i] = counted && row.logprob[i] > -INFINITY ? (int32_t)row.ids[i] : -1;
  if (counted)
    lap_vector_exp(row.logprob, slots, 0);
  else
    memset(row.logprob, 0, slots * sizeof *row.logprob);
  block->tail[t] = row.tail;
}

lap_code lap_block_gradient_run(lap_block_gradient *block, uint64_t begin, uint64_t end, int seeds,
                                float *const *gradients, uint64_t *counted, lap_status *status) {
  const int64_t elements = block->parameters->elements, length = block->batch.length;
  lap_dense_rows *dense = block->dense;
  *counted = 0;
  for (int s = 0; s < seeds; ++s) memset(gradients[s], 0, (size_t)elements * sizeof(float));
  for (uint64_t window = begin; window < end; ++window) {
    LAP_TRY(lap_dense_rows_fill(dense, window, status));
    *counted += dense->window->counted;
    for (int s = 0; s < seeds; ++s) {
#pragma omp parallel for schedule(static) num_threads(block->threads)
      for (int64_t t = 0; t < length; ++t) make_row(block, t, (uint64_t)s + 1);
      lap_gemma2_run(block->model, block->weights, gradients[s], &block->batch,
                     &dense->window->losses);
    }
  }
  const float share = *counted ? 1 / (float)*counted : 0;
  for (int s = 0; s < seeds; ++s)
    for (int64_t i = 0; i < elements; ++i) gradients[s][i] *= share;
  return LAP_OK;
}

/* --- inner products --- */

enum { PARTS = 8 };

static double inner_of(const float *a, const float *b, int64_t count) {
  double part[PARTS] = {0}, sum = 0;
  for (int64_t i = 0; i < count; ++i) part[i % PARTS] += (double)a[i] * (double)b[i];
  for (int j = 0; j < PARTS; ++j) sum += part[j];
  return sum;
}

static double apart_of(const float *a, const float *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double difference = (double)a[i] - (double)b[i];
    sum += difference * difference;
  }
  return sum;
}

typedef double (*pair_sum)(const float *a, const float *b, int64_t count);

static lap_inner sum_of(const lap_parameters *parameters, const float *a, const float *b,
                        pair_sum sum) {
  lap_inner inner = {0};
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const bool embeds = strcmp(p->name, "model.embed_tokens.weight") == 0;
    double *into = embeds ? &inner.embedding : &inner.other;
    *into += sum(a + p->offset, b + p->offset, p->elements);
  }
  return inner;
}

lap_inner lap_gradient_inner(const lap_parameters *parameters, const float *a, const float *b) {
  return sum_of(parameters, a, b, inner_of);
}

lap_inner lap_gradient_apart(const lap_parameters *parameters, const float *a, const float *b) {
  return sum_of(parameters, a, b, apart_of);
}
