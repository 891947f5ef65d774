#include "trainer/model/window_logits.h"

#include <inttypes.h>
#include <stdlib.h>

#include "autograd/gemma2/model.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/stop.h"
#include "mpi/collective/mesh_groups.h"
#include "mpi/collective/shard_sum.h"

struct lap_window_logits {
  lap_state *state;
  lap_block_weights *weights;
  const lap_data *data;
  lap_gemma2 *model;
  lap_micro_batch *window;
  lap_shard_sum *shard_sum;
  lap_shard_group group; /* of shard_sum */
  int64_t chunk;         /* rows of logits at a time */
  float *parts;          /* [shards here][chunk, V / shards of all] */
  float *all_parts;      /* [shards of all][chunk, V / shards], on the leader */
  float *logits;         /* [chunk, V], on the leader */
  lap_window_times times;
  bool (*leave)(void *context); /* or NULL */
  void *leave_context;
};

static int shards_of(const lap_window_logits *w) { return w->state->placement.mesh.model; }

bool lap_window_logits_leads(const lap_window_logits *w) {
  return w->state->placement.fold.model_rank == 0;
}

const lap_micro_batch *lap_window_logits_window(const lap_window_logits *w) { return w->window; }

/* Rows of logits at a time. */
static int64_t chunk_of(const lap_gemma2_config *model, int64_t length) {
  const int64_t chunk = lap_lm_head_chunk(model->vocab_size, length);
  return chunk < length ? chunk : length;
}

static lap_gemma2 *record(const lap_gemma2_config *model, lap_shard_range shards, int64_t length,
                          int threads, bool allocate) {
  return lap_gemma2_record(model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_HIDDEN,
                                                          .sequences = 1,
                                                          .length = length,
                                                          .threads = threads,
                                                          .shards = shards,
                                                          .allocate = allocate});
}

/* Floats of its arrays. */
typedef struct {
  int64_t parts, all_parts, logits;
} logits_sizes;

static logits_sizes sizes_of(const lap_placement *placement, int64_t chunk, int64_t vocab) {
  const lap_fold *fold = &placement->fold;
  const int64_t all = chunk * vocab;
  const bool joins = placement->mesh.model > 1 && fold->model_rank == 0;
  return (logits_sizes){.parts = all / placement->mesh.model * fold->shard_count,
                        .all_parts = joins && fold->model_ranks > 1 ? all : 0,
                        .logits = joins ? all : 0};
}

static float *allocate_floats(int64_t count) {
  return count ? lap_allocate_aligned(count, sizeof(float)) : NULL;
}

lap_window_logits *lap_window_logits_create(const lap_gemma2_config *model, lap_state *state,
                                            lap_block_weights *weights, const lap_data *data,
                                            int threads) {
  lap_window_logits *w = lap_allocate(1, sizeof *w);
  const lap_placement *placement = &state->placement;
  const int64_t length = data->sequence_length;
  const lap_group shards = lap_group_of_shards(placement->comm, &placement->fold);
  w->state = state;
  w->weights = weights;
  w->data = data;
  w->chunk = chunk_of(model, length);
  w->model = record(model, state->parameters->shards, length, threads, true);
  w->window = lap_micro_batch_create(data, 1);
  w->shard_sum = lap_shard_sum_create(&shards, &placement->mesh, &placement->fold);
  w->group = lap_shard_sum_group(w->shard_sum);
  const logits_sizes sizes = sizes_of(placement, w->chunk, model->vocab_size);
  w->parts = allocate_floats(sizes.parts);
  w->all_parts = sizes.all_parts ? allocate_floats(sizes.all_parts) : w->parts;
  w->logits = allocate_floats(sizes.logits);
  return w;
}

void lap_window_logits_bytes(const lap_gemma2_config *config, const lap_state *state,
                             int64_t length, int64_t teacher_k, int threads,
                             lap_memory_table *memory) {
  const lap_placement *placement = &state->placement;
  lap_gemma2 *model = record(config, state->parameters->shards, length, threads, false);
  const logits_sizes sizes = sizes_of(placement, chunk_of(config, length), config->vocab_size);
  memory->bytes[LAP_MEMORY_ACTIVATIONS] += lap_gemma2_bytes(model);
  memory->bytes[LAP_MEMORY_LOGITS] +=
      (sizes.parts + sizes.all_parts + sizes.logits) * (int64_t)sizeof(float);
  memory->bytes[LAP_MEMORY_BUFFERS] +=
      lap_micro_batch_bytes(1, length, teacher_k, false) +
      lap_shard_sum_bytes(&placement->mesh, &placement->fold, length * config->hidden_size);
  lap_gemma2_destroy(model);
}

double lap_window_logits_flops(const lap_gemma2_config *config, int64_t length) {
  lap_gemma2 *model = record(config, lap_whole_model(), length, 1, false);
  int32_t *document_start = lap_allocate(length, sizeof *document_start); /* one document: all 0 */
  const lap_batch window = {.sequences = 1, .length = length, .document_start = document_start};
  double forward;
  const double body = lap_tape_flops_of(model->tape, &window, &forward);
  free(document_start);
  lap_gemma2_destroy(model);
  return body + 2.0 * (double)length * (double)config->hidden_size * (double)config->vocab_size;
}

void lap_window_logits_destroy(lap_window_logits *w) {
  if (!w) return;
  lap_gemma2_destroy(w->model);
  lap_micro_batch_destroy(w->window);
  lap_shard_sum_destroy(w->shard_sum);
  if (w->all_parts != w->parts) lap_release_aligned(w->all_parts);
  lap_release_aligned(w->parts);
  lap_release_aligned(w->logits);
  free(w);
}

void lap_window_logits_set_leave(lap_window_logits *w, bool (*leave)(void *context),
                                 void *context) {
  w->leave = leave;
  w->leave_context = context;
}

bool lap_window_logits_any(const lap_window_logits *w, bool mine) {
  return lap_shard_sum_any(w->shard_sum, mine);
}

/* After a failure on any rank of the replica: this rank's own, or that of another. */
static lap_code share_failure(const lap_window_logits *w, uint64_t index, lap_status *status) {
  const bool stopped = lap_window_logits_any(w, status->code == LAP_STOPPED);
  if (status->code != LAP_OK) return status->code;
  if (stopped) return lap_fail(status, LAP_STOPPED, "another rank of the replica stopped");
  return lap_fail(status, LAP_DATA, "another rank of the replica could not read window %" PRIu64,
                  index);
}

void lap_window_logits_join_pass(lap_window_logits *w) { lap_block_weights_join_pass(w->weights); }

static void enter_block(void *context, int block, bool backward) {
  lap_block_weights_enter(context, block, backward);
}

static void leave_block(void *context, int block, bool backward) {
  (void)context, (void)block, (void)backward;
}

static lap_gemma2_pass pass_of(const lap_window_logits *w) {
  return (lap_gemma2_pass){.weights = lap_block_weights_buckets(w->weights),
                           .bfloat16 = lap_block_weights_bfloat16(w->weights),
                           .batch = &w->window->batch,
                           .group = shards_of(w) > 1 ? &w->group : NULL};
}

/* Rows [begin, end) of the window's logits, on the leader; elsewhere NULL. */
static float *make_logits(lap_window_logits *w, int64_t begin, int64_t end) {
  const int64_t rows = end - begin;
  const lap_gemma2_pass pass = pass_of(w);
  lap_gemma2_bucket_logits(w->model, &pass, begin, rows, w->parts);
  if (shards_of(w) == 1) return w->parts;
  if (w->state->placement.fold.model_ranks > 1)
    lap_shard_sum_collect(w->shard_sum, w->parts,
                          rows * (w->model->config.vocab_size / shards_of(w)), w->all_parts);
  if (!lap_window_logits_leads(w)) return NULL;
  lap_gemma2_join_logits(w->all_parts, shards_of(w), rows, w->model->config.vocab_size, w->logits);
  return w->logits;
}

/* Adds the time since *since, and starts anew. */
static void account(double *seconds, double *since) {
  const double now = lap_clock_seconds();
  *seconds += now - *since;
  *since = now;
}

lap_code lap_window_logits_visit(lap_window_logits *w, uint64_t index, lap_position_visitor visitor,
                                 void *context, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  status->code = lap_micro_batch_fill(w->window, w->data, &index, status);
  if (status->code == LAP_OK) status->code = lap_stop_check(status);
  if (status->code == LAP_OK && w->leave && w->leave(w->leave_context))
    lap_fail(status, LAP_STOPPED, "stopped before window %" PRIu64, index);
  if (lap_window_logits_any(w, status->code != LAP_OK)) {
    lap_window_logits_join_pass(w);
    return share_failure(w, index, status);
  }
  double since = lap_clock_seconds();
  const lap_block_hooks hooks = {w->weights, enter_block, leave_block};
  lap_gemma2_pass pass = pass_of(w);
  pass.hooks = &hooks;
  lap_gemma2_replay(w->model, &pass);
  const int64_t length = w->window->batch.length, vocab = w->model->config.vocab_size;
  for (int64_t begin = 0; begin < length; begin += w->chunk) {
    const int64_t end = begin + w->chunk < length ? begin + w->chunk : length;
    float *logits = make_logits(w, begin, end);
    account(&w->times.forward_seconds, &since);
    if (!logits) continue;
#pragma omp parallel for schedule(static)
    for (int64_t t = begin; t < end; ++t)
      if (w->window->targets[t] >= 0) visitor(context, w->window, t, logits + (t - begin) * vocab);
    account(&w->times.visit_seconds, &since);
  }
  w->times.windows += 1;
  return LAP_OK;
}

lap_window_times lap_window_logits_times(const lap_window_logits *w) { return w->times; }
