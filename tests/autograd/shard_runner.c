/* Compiled twice, as the autograd is. */
#include "tests/autograd/shard_runner.h"

#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gemma2/model.h"
#include "core/memory.h"

/* --- where processes meet --- */

typedef struct {
  pthread_barrier_t barrier;
  int shards, local;
  void *parts[LAP_MAX_SHARDS]; /* by process */
} meeting;

typedef struct {
  const shard_setup *setup;
  meeting *meeting;
  int rank;
  int sums, double_sums, largest;
  lap_gemma2 *model;
  real *vector, *vector_gradients; /* in the layout of this process */
  const real **weights;            /* [buckets] */
  real **gradients;
  real *thrown_away;
  double *losses; /* [4, BT] */
  real *logits;   /* [S][BT, V/M] */
  char *events;
  double flops, seconds[3];
  int64_t bytes;
} process;

/* The tree of docs/design.md#summation-tree over shards [low, low + width), of which there are
 * `count`. */
#define DEFINE_SUM(name, type)                                                                   \
  static type name(const type *const *part, int count, int low, int width, int64_t i) {          \
    if (width == 1) return part[low][i];                                                         \
    const int middle = low + width / 2;                                                          \
    const type left = name(part, count, low, width / 2, i);                                      \
    return middle < count ? left + name(part, count, middle, width / 2, i) : left;               \
  }                                                                                              \
  static void name##_all(process *p, type *parts, int64_t elements, type *out) {                 \
    const type *part[LAP_MAX_SHARDS];                                                            \
    meeting *m = p->meeting;                                                                     \
    m->parts[p->rank] = parts;                                                                   \
    pthread_barrier_wait(&m->barrier);                                                           \
    for (int s = 0; s < m->shards; ++s)                                                          \
      part[s] = (type *)m->parts[s / m->local] + s % m->local * elements;                        \
    for (int64_t i = 0; i < elements; ++i) out[i] = name(part, m->shards, 0, LAP_MAX_SHARDS, i); \
    pthread_barrier_wait(&m->barrier);                                                           \
    for (int64_t i = 0; i < m->local * elements; ++i) parts[i] = (type)NAN;                      \
  }
DEFINE_SUM(sum_reals, real)
DEFINE_SUM(sum_doubles, double)

static void sum(void *context, real *parts, int64_t elements, real *out) {
  process *p = context;
  ++p->sums;
  sum_reals_all(p, parts, elements, out);
}

static void sum_double(void *context, double *parts, int64_t elements, double *out) {
  process *p = context;
  ++p->double_sums;
  sum_doubles_all(p, parts, elements, out);
}

static void largest(void *context, real *values, int64_t count) {
  process *p = context;
  meeting *m = p->meeting;
  real *most = lap_allocate(count, sizeof *most);
  ++p->largest;
  m->parts[p->rank] = values;
  pthread_barrier_wait(&m->barrier);
  for (int64_t i = 0; i < count; ++i) {
    most[i] = values[i];
    for (int rank = 0; rank < m->shards / m->local; ++rank) {
      const real other = ((real *)m->parts[rank])[i];
      if (isnan(other) || other > most[i]) most[i] = other;
    }
  }
  pthread_barrier_wait(&m->barrier);
  memcpy(values, most, (size_t)count * sizeof *most);
  free(most);
}

/* --- buckets that move --- */

static real *reals(int64_t n) { return lap_allocate_aligned(n, sizeof(real)); }

static bool used_by(const process *p, const lap_bucket *bucket, int block) {
  const int last = (int)p->model->config.num_hidden_layers + 1;
  return !bucket->is_copy && (bucket->block == block || (bucket->block == 0 && block == last));
}

static void note(process *p, char sign, int block, bool backward) {
  char *longer = lap_format("%s%s%c%d%s", p->events ? p->events : "", p->events ? " " : "", sign,
                            block, backward ? "'" : "");
  free(p->events);
  p->events = longer;
}

static void enter(void *context, int block, bool backward) {
  process *p = context;
  const lap_parameters *list = p->model->parameters;
  note(p, '+', block, backward);
  for (int b = 0; b < list->bucket_count; ++b) {
    const lap_bucket *bucket = &list->bucket[b];
    if (!used_by(p, bucket, block)) continue;
    real *fresh = reals(bucket->end - bucket->begin);
    memcpy(fresh, p->vector + bucket->begin, (size_t)(bucket->end - bucket->begin) * sizeof *fresh);
    p->weights[b] = fresh;
  }
}

static void leave(void *context, int block, bool backward) {
  process *p = context;
  const lap_parameters *list = p->model->parameters;
  note(p, '-', block, backward);
  for (int b = 0; b < list->bucket_count; ++b) {
    const lap_bucket *bucket = &list->bucket[b];
    if (!used_by(p, bucket, block)) continue;
    real *gone = (real *)p->weights[b];
    for (int64_t i = 0; i < bucket->end - bucket->begin; ++i) gone[i] = (real)NAN;
    lap_release_aligned(gone);
    p->weights[b] = NULL;
    if (backward && bucket->block == block) p->gradients[b] = p->thrown_away;
  }
}

/* --- one process --- */

/* Copies a part between this process's vector and the one of one shard. */
static void copy_parameter(const lap_parameter *p, const lap_parameter *whole, real *mine,
                           double *all, bool back) {
  for (lap_run run = {0}; run.part < p->elements; run.part += run.count) {
    run = lap_parameter_run(p, run.part, p->elements);
    for (int64_t i = 0; i < run.count; ++i) {
      real *m = &mine[p->offset + run.part + i];
      double *a = &all[whole->offset + run.whole + i];
      if (back)
        *a = (double)*m;
      else
        *m = (real)*a;
    }
  }
}

static void copy_vector(const process *p, real *mine, double *all, bool back) {
  lap_parameters *whole = lap_parameters_create(p->setup->config);
  const lap_parameters *list = p->model->parameters;
  for (int i = 0; i < list->count; ++i)
    if (!back || !list->parameter[i].is_copy)
      copy_parameter(&list->parameter[i], lap_parameters_find(whole, list->parameter[i].name), mine,
                     all, back);
  lap_parameters_destroy(whole);
}

static void open_process(process *p, const double *weights, const double *gradients) {
  const shard_setup *setup = p->setup;
  const lap_gemma2_mode modes[] = {LAP_GEMMA2_TRAIN, LAP_GEMMA2_LOSS, LAP_GEMMA2_HIDDEN};
  const int64_t rows = setup->batch->sequences * setup->batch->length;
  p->model = lap_gemma2_record(
      setup->config,
      &(lap_gemma2_recording){.mode = modes[setup->mode],
                              .objective = setup->objective,
                              .sequences = setup->batch->sequences,
                              .length = setup->batch->length,
                              .teacher_k = setup->batch->k,
                              .threads = setup->threads,
                              .shards = {setup->shards, p->rank * setup->local, setup->local},
                              .recompute = setup->recompute,
                              .allocate = true});
  const lap_parameters *list = p->model->parameters;
  p->vector = reals(list->elements);
  p->vector_gradients = reals(list->elements);
  p->thrown_away = reals(list->elements);
  copy_vector(p, p->vector, (double *)weights, false);
  if (gradients) copy_vector(p, p->vector_gradients, (double *)gradients, false);
  p->weights = lap_allocate(list->bucket_count, sizeof *p->weights);
  p->gradients = lap_allocate(list->bucket_count, sizeof *p->gradients);
  for (int b = 0; b < list->bucket_count; ++b) {
    if (!setup->moving || list->bucket[b].is_copy)
      p->weights[b] = p->vector + list->bucket[b].begin;
    p->gradients[b] = p->vector_gradients + list->bucket[b].begin;
  }
  p->losses = lap_allocate(4 * rows, sizeof *p->losses);
  p->logits = reals(rows * setup->config->vocab_size / setup->shards * setup->local);
}

static void close_process(process *p) {
  lap_gemma2_destroy(p->model);
  lap_release_aligned(p->vector);
  lap_release_aligned(p->vector_gradients);
  lap_release_aligned(p->thrown_away);
  lap_release_aligned(p->logits);
  free(p->weights), free(p->gradients), free(p->losses), free(p->events);
}

static void measure(process *p) {
  lap_tape_profile_row rows[16];
  const int count = lap_tape_profile(p->model->tape, rows, 16);
  for (int i = 0; i < count; ++i) {
    p->seconds[0] += rows[i].forward_seconds;
    p->seconds[1] += rows[i].recompute_seconds;
    p->seconds[2] += rows[i].backward_seconds;
  }
  p->flops = lap_tape_flops(p->model->tape);
  p->bytes = lap_tape_bytes(p->model->tape);
}

static void *run_process(void *argument) {
  process *p = argument;
  const shard_setup *setup = p->setup;
  const test_batch *b = setup->batch;
  const int64_t rows = b->sequences * b->length;
  real *probability = reals(rows * b->k), *tail = reals(rows);
  for (int64_t i = 0; i < rows * b->k; ++i) probability[i] = (real)b->probability[i];
  for (int64_t i = 0; i < rows; ++i) tail[i] = (real)b->tail[i];
  const lap_batch batch = {.sequences = b->sequences,
                           .length = b->length,
                           .tokens = b->tokens,
                           .document_start = b->document_start,
                           .targets = b->targets,
                           .k = b->k,
                           .teacher_ids = b->ids,
                           .teacher_probability = probability,
                           .teacher_tail = tail,
                           .teacher_entropy = b->entropy};
  const lap_losses losses = {p->losses, p->losses + rows, p->losses + 2 * rows,
                             p->losses + 3 * rows};
  const lap_shard_group group = {p, sum, sum_double, largest};
  const lap_block_hooks hooks = {p, enter, leave};
  omp_set_num_threads(setup->threads);
  const lap_gemma2_pass pass = {.weights = p->weights,
                                .gradients = setup->mode == MODEL_TRAIN ? p->gradients : NULL,
                                .batch = &batch,
                                .losses = setup->mode == MODEL_HIDDEN ? NULL : &losses,
                                .group = setup->shards > 1 ? &group : NULL,
                                .hooks = setup->moving ? &hooks : NULL};
  if (setup->folded)
    lap_gemma2_run(p->model, p->vector, pass.gradients ? p->vector_gradients : NULL, &batch,
                   pass.losses);
  else
    lap_gemma2_replay(p->model, &pass);
  if (setup->mode == MODEL_HIDDEN) lap_gemma2_logits(p->model, p->vector, 0, rows, p->logits);
  measure(p);
  lap_release_aligned(probability);
  lap_release_aligned(tail);
  return NULL;
}

/* --- all of them --- */

static void report_logits(const process *p, double *logits) {
  const shard_setup *setup = p->setup;
  const int64_t rows = setup->batch->sequences * setup->batch->length;
  const int64_t vocab = setup->config->vocab_size, part = vocab / setup->shards;
  for (int s = 0; s < setup->local; ++s)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < part; ++j)
        logits[r * vocab + (p->rank * setup->local + s) * part + j] =
            (double)p->logits[(s * rows + r) * part + j];
}

/* What every process has must be the same on every one of them. */
static void check_copies(const process *p, const process *first) {
  const lap_parameters *mine = p->model->parameters, *others = first->model->parameters;
  const int64_t rows = p->setup->batch->sequences * p->setup->batch->length;
  assert_memory_equal(p->losses, first->losses, (size_t)(4 * rows) * sizeof *p->losses);
  assert_int_equal(p->sums, first->sums);
  for (int i = 0; i < mine->count; ++i)
    if (mine->parameter[i].is_norm) {
      const lap_parameter *a = &mine->parameter[i], *b = lap_parameters_find(others, a->name);
      assert_memory_equal(p->vector_gradients + a->offset, first->vector_gradients + b->offset,
                          (size_t)a->elements * sizeof(real));
    }
  assert_true((p->events == NULL) == (first->events == NULL));
  if (p->events) assert_string_equal(p->events, first->events);
}

static void report(process *p, const process *first, shard_result *result) {
  const int64_t rows = p->setup->batch->sequences * p->setup->batch->length;
  double *const to[] = {result->losses.loss, result->losses.ce, result->losses.kd,
                        result->losses.kl};
  if (p != first) check_copies(p, first);
  if (result->gradients) copy_vector(p, p->vector_gradients, result->gradients, true);
  if (result->logits) report_logits(p, result->logits);
  result->flops += p->flops;
  if (p != first) return;
  for (int i = 0; i < 4; ++i)
    if (to[i]) memcpy(to[i], p->losses + i * rows, (size_t)rows * sizeof(double));
  result->events = p->events ? lap_copy_string(p->events) : NULL;
  result->sums = p->sums, result->double_sums = p->double_sums, result->largest = p->largest;
  result->bytes = p->bytes;
  memcpy(result->seconds, p->seconds, sizeof p->seconds);
}

static void run(const shard_setup *setup, const double *weights, shard_result *result) {
  const int count = setup->shards / setup->local;
  process processes[LAP_MAX_SHARDS];
  pthread_t thread[LAP_MAX_SHARDS];
  meeting m = {.shards = setup->shards, .local = setup->local};
  pthread_barrier_init(&m.barrier, NULL, (unsigned)count);
  result->flops = 0;
  for (int i = 0; i < count; ++i) {
    processes[i] = (process){.setup = setup, .meeting = &m, .rank = i};
    open_process(&processes[i], weights, result->gradients);
  }
  for (int i = 0; i < count; ++i)
    assert_int_equal(pthread_create(&thread[i], NULL, run_process, &processes[i]), 0);
  for (int i = 0; i < count; ++i) pthread_join(thread[i], NULL);
  for (int i = 0; i < count; ++i) report(&processes[i], &processes[0], result);
  for (int i = 0; i < count; ++i) close_process(&processes[i]);
  pthread_barrier_destroy(&m.barrier);
}

const shard_runner LAP_PRECISION(shard_runner) = {run};
