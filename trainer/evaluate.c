#include "trainer/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"
#include "autograd/gemma2/model.h"
#include "dataset/tokenizer.h"
#include "mpi/agree.h"
#include "trainer/clock.h"
#include "trainer/metrics.h"

/* What one window adds up; all ranks get those of every window. */
typedef struct {
  double counted, ce, correct, text_nats, text_bytes, kl, agree, teacher_nats;
} window_sums;

typedef struct {
  const lap_evaluate_request *request;
  lap_gemma2 *model;
  lap_micro_batch *micro;
  float *logits;  /* [chunk, V] */
  float *scratch; /* [2 k] of lap_loss_row, one for each row of a chunk */
  int64_t chunk;
} evaluator;

static int32_t likeliest(const float *z, int64_t count) {
  int64_t best = 0;
  for (int64_t j = 1; j < count; ++j)
    if (z[j] > z[best]) best = j;
  return (int32_t)best;
}

static int32_t teacher_choice(const int32_t *ids, const float *probability, int64_t k) {
  int64_t best = -1;
  for (int64_t i = 0; i < k; ++i)
    if (ids[i] >= 0 && (best < 0 || probability[i] > probability[best] ||
                        (probability[i] == probability[best] && ids[i] < ids[best])))
      best = i;
  return best < 0 ? -1 : ids[best];
}

/* The sums of one counted position; z is spent. */
static window_sums row_sums(const evaluator *e, float *z, int64_t row, float *scratch) {
  const lap_batch *batch = &e->micro->batch;
  const int64_t vocab = e->request->model->vocab_size, k = batch->k;
  const int32_t target = batch->targets[row];
  const lap_objective next_token = {.distill_weight = 0, .temperature = 1, .tail = LAP_TAIL_GHOST};
  const int32_t choice = likeliest(z, vocab);
  window_sums sums = {.counted = 1, .correct = choice == target};
  if (k) {
    const int32_t taught =
        teacher_choice(batch->teacher_ids + row * k, batch->teacher_probability + row * k, k);
    sums.agree = choice == taught;
    sums.teacher_nats =
        e->micro->rows->next_logprob ? -(double)e->micro->rows->next_logprob[row - 1] : NAN;
  }
  const lap_row_loss loss =
      lap_loss_row(z, vocab, target, k, k ? batch->teacher_ids + row * k : NULL,
                   k ? batch->teacher_probability + row * k : NULL, k ? batch->teacher_tail[row] : 0,
                   k ? batch->teacher_entropy[row] : 0, &next_token, 0, false, scratch);
  sums.ce = loss.ce;
  sums.kl = loss.kl;
  const uint16_t *bytes = e->request->piece_bytes;
  if (bytes && bytes[target] > 0) {
    sums.text_nats = loss.ce;
    sums.text_bytes = bytes[target];
  }
  return sums;
}

static void add(window_sums *total, const window_sums *part) {
  double *t = (double *)total;
  const double *p = (const double *)part;
  for (size_t i = 0; i < sizeof *total / sizeof *t; ++i) t[i] += p[i];
}

static lap_code evaluate_window(const evaluator *e, uint64_t window, window_sums *sums,
                                lap_status *status) {
  const int64_t vocab = e->request->model->vocab_size, k = e->micro->batch.k;
  LAP_TRY(lap_micro_batch_fill(e->micro, e->request->data, &window, status));
  lap_gemma2_run(e->model, e->request->weights, NULL, &e->micro->batch, NULL);
  window_sums *rows = lap_allocate((size_t)e->chunk, sizeof *rows);
  const int64_t length = e->micro->batch.length;
  for (int64_t begin = 0; begin < length; begin += e->chunk) {
    const int64_t count = begin + e->chunk < length ? e->chunk : length - begin;
    lap_gemma2_logits(e->model, e->request->weights, begin, count, e->logits);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < count; ++r)
      rows[r] = e->micro->batch.targets[begin + r] >= 0
                    ? row_sums(e, e->logits + r * vocab, begin + r, e->scratch + r * 2 * k)
                    : (window_sums){0};
    for (int64_t r = 0; r < count; ++r) add(sums, &rows[r]);
  }
  free(rows);
  return LAP_OK;
}

/* This rank's windows: rank, rank + P, ... into sums [ceil(W / P)]. */
static lap_code evaluate_share(const lap_evaluate_request *request, lap_comm *comm,
                               uint64_t windows, window_sums *sums, lap_status *status) {
  const int64_t vocab = request->model->vocab_size;
  const int64_t k = request->data->cache ? lap_cache_schema_of(request->data->cache)->k : 0;
  evaluator e = {.request = request, .chunk = lap_head_chunk(vocab)};
  if (e.chunk > request->data->sequence_length) e.chunk = request->data->sequence_length;
  e.model = lap_gemma2_record(request->model, LAP_GEMMA2_HIDDEN, NULL, 1,
                              request->data->sequence_length, k, request->threads, true);
  e.micro = lap_micro_batch_create(request->data, 1);
  e.logits = lap_allocate_aligned((size_t)(e.chunk * vocab), sizeof(float));
  e.scratch = lap_allocate_aligned((size_t)(e.chunk * 2 * k), sizeof(float));
  const uint64_t ranks = (uint64_t)lap_comm_size(comm), rank = (uint64_t)lap_comm_rank(comm);
  const uint64_t share = (windows + ranks - 1) / ranks;
  lap_code code = LAP_OK;
  for (uint64_t i = 0; i < share && code == LAP_OK; ++i) {
    const uint64_t window = i * ranks + rank;
    if (window < windows) code = evaluate_window(&e, window, &sums[i], status);
    if (request->progress) request->progress(request->context, i + 1, share);
  }
  lap_gemma2_destroy(e.model);
  lap_micro_batch_destroy(e.micro);
  lap_release_aligned(e.logits);
  lap_release_aligned(e.scratch);
  return code;
}

lap_code lap_evaluate(const lap_evaluate_request *request, lap_comm *comm,
                      lap_evaluation *evaluation, lap_status *status) {
  const double start = lap_clock_seconds();
  const uint32_t length = request->data->sequence_length;
  const uint64_t windows = lap_set_window_count(request->data->tokens, length);
  const uint64_t ranks = (uint64_t)lap_comm_size(comm), share = (windows + ranks - 1) / ranks;
  window_sums *mine = lap_allocate((size_t)share, sizeof *mine);
  window_sums *all = lap_allocate((size_t)(share * ranks), sizeof *all);
  lap_status outcome = {0};
  outcome.code = evaluate_share(request, comm, windows, mine, &outcome);
  if (lap_agree(comm, &outcome) == LAP_OK) {
    lap_gather_all(comm, mine, (size_t)share * sizeof *mine, all);
    window_sums total = {0};
    for (uint64_t w = 0; w < windows; ++w) add(&total, &all[w % ranks * share + w / ranks]);
    const bool taught = request->data->cache != NULL;
    *evaluation = (lap_evaluation){
        .loss = total.ce / total.counted,
        .perplexity = exp(total.ce / total.counted),
        .bits_per_byte = request->piece_bytes ? total.text_nats / log(2) / total.text_bytes : NAN,
        .accuracy = total.correct / total.counted,
        .kl = taught ? total.kl / total.counted : NAN,
        .agreement = taught ? total.agree / total.counted : NAN,
        .teacher_loss = taught ? total.teacher_nats / total.counted : NAN,
        .counted = (uint64_t)total.counted,
        .windows = windows,
        .seconds = lap_clock_seconds() - start,
    };
    evaluation->tokens_per_second = (double)(windows * length) / evaluation->seconds;
    if (total.counted == 0)
      outcome.code = lap_fail(&outcome, LAP_DATA,
                              "%s: no position is counted: the shards hold no text to predict",
                              request->data->tokens->shard[0]->path);
  }
  free(mine);
  free(all);
  *status = outcome;
  return outcome.code;
}

uint16_t *lap_evaluate_piece_bytes(const char *tokenizer_path, int64_t vocab_size,
                                   lap_status *status) {
  lap_tokenizer *tokenizer;
  if (lap_tokenizer_open(tokenizer_path, &tokenizer, status) != LAP_OK) return NULL;
  uint16_t *bytes = lap_allocate((size_t)vocab_size, sizeof *bytes);
  for (int64_t id = 0; id < vocab_size; ++id)
    bytes[id] = id < lap_tokenizer_vocab_size(tokenizer)
                    ? (uint16_t)lap_tokenizer_piece_bytes(tokenizer, (uint32_t)id)
                    : 0;
  lap_tokenizer_close(tokenizer);
  return bytes;
}

json_t *lap_evaluation_to_json(const lap_evaluation *e) {
  json_t *object = json_object();
  json_object_set_new(object, "loss", lap_metrics_number(e->loss));
  json_object_set_new(object, "perplexity", lap_metrics_number(e->perplexity));
  json_object_set_new(object, "bits_per_byte", lap_metrics_number(e->bits_per_byte));
  json_object_set_new(object, "accuracy", lap_metrics_number(e->accuracy));
  json_object_set_new(object, "kl", lap_metrics_number(e->kl));
  json_object_set_new(object, "agreement", lap_metrics_number(e->agreement));
  json_object_set_new(object, "teacher_loss", lap_metrics_number(e->teacher_loss));
  json_object_set_new(object, "counted", json_integer((json_int_t)e->counted));
  json_object_set_new(object, "windows", json_integer((json_int_t)e->windows));
  json_object_set_new(object, "seconds", lap_metrics_number(e->seconds));
  json_object_set_new(object, "tokens_per_second", lap_metrics_number(e->tokens_per_second));
  return object;
}
