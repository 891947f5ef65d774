#include "trainer/model/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/op/loss_row.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/wrong.h"
#include "trainer/model/window_logits.h"

typedef struct {
  const lap_evaluate_request *request;
  lap_position_sums *positions; /* [T] of the window at hand */
  float *confidence;            /* [T], likewise; NULL: nobody asks */
  float *scratch;               /* [T, 2 k] of lap_loss_row */
} evaluator;

static const lap_objective next_token = {
    .distill_weight = 0, .temperature = 1, .tail = LAP_TAIL_GHOST};

static int32_t likeliest(const float *z, int64_t count) {
  int64_t best = 0;
  for (int64_t j = 1; j < count; ++j)
    if (z[j] > z[best]) best = j;
  return (int32_t)best;
}

/* Of equals the one that comes first in the row: teach writes the most probable first, and its
 * rounding of log-probabilities makes some equal. */
static int32_t teacher_choice(const int32_t *ids, const float *probability, int64_t k) {
  int64_t best = -1;
  for (int64_t i = 0; i < k; ++i)
    if (ids[i] >= 0 && (best < 0 || probability[i] > probability[best])) best = i;
  return best < 0 ? -1 : ids[best];
}

/* Acceptance of speculative decoding with the model as the draft: sum over ids of min(p of the
 * teacher, p of the model). What is not kept of the teacher is known as one mass alone. */
static void sum_acceptance(const lap_batch *batch, int64_t t, const float *z, double log_sum,
                           lap_position_sums *sums) {
  double kept = 0;
  for (int64_t i = t * batch->k; i < (t + 1) * batch->k; ++i) {
    if (batch->teacher_ids[i] < 0) continue;
    const double p = exp((double)z[batch->teacher_ids[i]] - log_sum);
    kept += p;
    sums->accepted += fmin(p, (double)batch->teacher_probability[i]);
  }
  sums->accepted_rest = fmin(fmax(1 - kept, 0), (double)batch->teacher_tail[t]);
}

/* The sums of a position to the teacher; z is spent. `log_sum` is log sum exp of z. */
static void sum_teacher(const evaluator *e, const lap_micro_batch *window, int64_t t, float *z,
                        double log_sum, int32_t choice, lap_position_sums *sums) {
  const lap_batch *batch = &window->batch;
  const int64_t k = batch->k;
  const int32_t *ids = batch->teacher_ids + t * k;
  const float *probability = batch->teacher_probability + t * k;
  sums->agreed = choice == teacher_choice(ids, probability, k);
  /* Row 0 of the window stands at position 1. */
  sums->teacher_nats =
      window->rows->next_logprob ? -(double)window->rows->next_logprob[t - 1] : NAN;
  sum_acceptance(batch, t, z, log_sum, sums);
  const lap_row_labels labels = {.target = batch->targets[t],
                                 .k = k,
                                 .ids = ids,
                                 .probability = probability,
                                 .tail = batch->teacher_tail[t],
                                 .teacher_entropy = batch->teacher_entropy[t],
                                 .objective = &next_token};
  sums->kl =
      lap_loss_row(&labels, z, e->request->model->vocab_size, false, e->scratch + t * 2 * k).kl;
}

/* The sums of one counted position; z is spent. */
static void sum_position(void *context, const lap_micro_batch *window, int64_t t, float *z) {
  const evaluator *e = context;
  const int64_t vocab = e->request->model->vocab_size;
  const int32_t target = window->batch.targets[t], choice = likeliest(z, vocab);
  const double best = (double)z[choice], next = (double)z[target];
  lap_position_sums *sums = &e->positions[t];
  *sums = (lap_position_sums){.counted = 1, .correct = choice == target};
  /* The loss is made without the teacher, so that it has the same bits whatever the cache. */
  const lap_row_labels labels = {.target = target, .objective = &next_token};
  sums->nats = lap_loss_row(&labels, z, vocab, false, NULL).ce;
  /* The context of evaluation_detail.h. */
  const int64_t context_length = t - window->batch.document_start[t] + 1;
  if (2 * context_length > (int64_t)e->request->data->sequence_length) {
    sums->late = 1;
    sums->late_nats = sums->nats;
  }
  const double log_sum = next + sums->nats;
  if (e->confidence)
    e->confidence[t] = (float)(sums->correct > 0 ? exp(best - log_sum) : -exp(best - log_sum));
  if (window->batch.k) sum_teacher(e, window, t, z, log_sum, choice, sums);
  const uint16_t *bytes = e->request->piece_bytes;
  if (bytes && bytes[target] > 0) {
    sums->text_nats = sums->nats;
    sums->text_bytes = bytes[target];
  }
}

/* Windows of a replica: replica, replica + R, ...; the most that one has. */
static uint64_t share_of(const lap_evaluate_request *request) {
  const uint64_t windows = lap_data_window_count(request->data);
  const uint64_t replicas = (uint64_t)request->state->placement.fold.replicas;
  return (windows + replicas - 1) / replicas;
}

/* This replica's windows into sums [share], on its leader. After a failure it only takes part in
 * the passes of the others. */
static lap_code evaluate_share(const lap_evaluate_request *request, uint64_t windows,
                               lap_position_sums *sums, lap_detail_parts *parts,
                               lap_status *status) {
  const size_t length = request->data->sequence_length;
  const size_t k = (size_t)lap_data_teacher_k(request->data);
  const lap_fold *fold = &request->state->placement.fold;
  const uint64_t share = share_of(request);
  lap_window_logits *model = lap_window_logits_create(
      request->model, request->state, request->weights, request->data, request->threads);
  lap_window_logits_set_leave(model, request->leave, request->context);
  evaluator e = {.request = request,
                 .positions = lap_allocate(length, sizeof *e.positions),
                 .confidence = parts ? lap_allocate(length, sizeof *e.confidence) : NULL,
                 .scratch = lap_allocate_aligned(length * 2 * k, sizeof(float))};
  lap_code code = LAP_OK;
  lap_progress_state progress = {.step = "eval", .unit = "windows", .total = share};
  lap_progress_report(request->hook, progress);
  for (uint64_t i = 0; i < share; ++i) {
    const uint64_t window = i * (uint64_t)fold->replicas + (uint64_t)fold->replica;
    if (window < windows && code == LAP_OK) {
      memset(e.positions, 0, length * sizeof *e.positions);
      code = lap_window_logits_visit(model, window, sum_position, &e, status);
      for (size_t t = 0; t < length; ++t) lap_position_sums_add(&sums[i], &e.positions[t]);
      if (parts && code == LAP_OK && lap_window_logits_leads(model))
        lap_detail_parts_add(parts, window, e.positions, e.confidence,
                             lap_window_logits_window(model)->document_start);
    } else {
      lap_window_logits_join_pass(model);
    }
    progress.done = i + 1;
    if (code == LAP_OK) lap_progress_report(request->hook, progress);
  }
  lap_window_logits_destroy(model);
  free(e.positions);
  free(e.confidence);
  lap_release_aligned(e.scratch);
  return code;
}

static lap_evaluation evaluation_of(const lap_evaluate_request *request,
                                    const lap_position_sums *total, uint64_t windows) {
  const bool taught = request->data->cache != NULL;
  /* A draw of the teacher is no distribution: the smaller of two is not right on average. */
  const bool accepts = taught && lap_cache_schema_of(request->data->cache)->codec == LAP_CODEC_TOPK;
  return (lap_evaluation){
      .loss = total->nats / total->counted,
      .perplexity = exp(total->nats / total->counted),
      .bits_per_byte = request->piece_bytes ? total->text_nats / log(2) / total->text_bytes : NAN,
      .accuracy = total->correct / total->counted,
      .kl = taught ? total->kl / total->counted : NAN,
      .agreement = taught ? total->agreed / total->counted : NAN,
      .acceptance = accepts ? total->accepted / total->counted : NAN,
      .acceptance_most = accepts ? (total->accepted + total->accepted_rest) / total->counted : NAN,
      .teacher_loss = taught ? total->teacher_nats / total->counted : NAN,
      .counted = (uint64_t)total->counted,
      .windows = windows,
  };
}

/* Collective. Every rank has added the sums of all windows. */
static lap_code compare_totals(lap_comm *comm, const lap_position_sums *total, lap_status *status) {
  double numbers[sizeof *total / sizeof(double)];
  const int count = sizeof numbers / sizeof *numbers;
  _Static_assert(sizeof numbers / sizeof *numbers <= LAP_OUTCOME_MOST, "a hash takes them all");
  memcpy(numbers, total, sizeof numbers);
  return lap_agree_on_outcome(comm, numbers, count, status, "sums of an evaluation");
}

lap_code lap_evaluate(const lap_evaluate_request *request, lap_evaluation *evaluation,
                      lap_status *status) {
  const double start = lap_clock_seconds();
  const lap_placement *placement = &request->state->placement;
  const uint32_t length = request->data->sequence_length;
  const uint64_t windows = lap_data_window_count(request->data);
  const uint64_t share = share_of(request), ranks = (uint64_t)lap_comm_size(placement->comm);
  const uint64_t replicas = (uint64_t)placement->fold.replicas;
  const uint64_t stride = (uint64_t)placement->fold.model_ranks; /* leaders are this far apart */
  lap_position_sums *mine = lap_allocate(share, sizeof *mine);
  lap_position_sums *all = lap_allocate(share * ranks, sizeof *all);
  lap_status outcome = {0};
  lap_detail_parts *parts = request->detail ? lap_detail_parts_create(request->data) : NULL;
  outcome.code = evaluate_share(request, windows, mine, parts, &outcome);
  if (lap_agree(placement->comm, &outcome) == LAP_OK) {
    lap_gather_all(placement->comm, mine, (size_t)share * sizeof *mine, all);
    lap_position_sums total = {0};
    for (uint64_t w = 0; w < windows; ++w)
      lap_position_sums_add(&total, &all[w % replicas * stride * share + w / replicas]);
    if (parts)
      lap_detail_collect(parts, placement->comm, windows, replicas, stride, request->detail);
    *evaluation = evaluation_of(request, &total, windows);
    evaluation->seconds = lap_clock_seconds() - start;
    evaluation->tokens_per_second = (double)(windows * length) / evaluation->seconds;
    outcome.code = compare_totals(placement->comm, &total, &outcome);
    if (outcome.code == LAP_OK && total.counted == 0)
      outcome.code = lap_fail(&outcome, LAP_DATA,
                              "%s: no position is counted: the shards hold no text to predict",
                              request->data->tokens->shard[0]->path);
  }
  lap_detail_parts_destroy(parts);
  free(mine);
  free(all);
  *status = outcome;
  return outcome.code;
}

void lap_evaluate_bytes(const lap_gemma2_config *model, const lap_state *state, int64_t length,
                        int64_t teacher_k, int threads, lap_memory_table *memory) {
  lap_window_logits_bytes(model, state, length, teacher_k, threads, memory);
  memory->bytes[LAP_MEMORY_BUFFERS] += length * (int64_t)sizeof(lap_position_sums) +
                                       length * 2 * teacher_k * (int64_t)sizeof(float) +
                                       model->vocab_size * (int64_t)sizeof(uint16_t);
}

uint16_t *lap_evaluate_piece_bytes(const char *tokenizer_path, int64_t vocab_size,
                                   lap_status *status) {
  lap_tokenizer *tokenizer;
  if (lap_tokenizer_open(tokenizer_path, &tokenizer, status) != LAP_OK) return NULL;
  uint16_t *bytes = lap_allocate(vocab_size, sizeof *bytes);
  for (int64_t id = 0; id < vocab_size; ++id)
    bytes[id] = id < lap_tokenizer_vocab_size(tokenizer)
                    ? (uint16_t)lap_tokenizer_piece_bytes(tokenizer, (uint32_t)id)
                    : 0;
  lap_tokenizer_close(tokenizer);
  return bytes;
}

/* The teacher's loss is of float32 logarithms: a model that is its teacher may be off by their
 * rounding. */
double lap_evaluation_lead(const lap_evaluation *e) {
  const double lead = e->teacher_loss - e->loss, rounding = 0x1p-22 * fabs(e->teacher_loss);
  return fabs(lead) > rounding || isnan(lead) ? lead : 0;
}

json_t *lap_evaluation_to_json(const lap_evaluation *e) {
  json_t *object = json_object();
  json_object_set_new(object, "loss", lap_json_number(e->loss));
  json_object_set_new(object, "perplexity", lap_json_number(e->perplexity));
  json_object_set_new(object, "bits_per_byte", lap_json_number(e->bits_per_byte));
  json_object_set_new(object, "accuracy", lap_json_number(e->accuracy));
  json_object_set_new(object, "kl", lap_json_number(e->kl));
  json_object_set_new(object, "agreement", lap_json_number(e->agreement));
  json_object_set_new(object, "acceptance", lap_json_number(e->acceptance));
  json_object_set_new(object, "acceptance_most", lap_json_number(e->acceptance_most));
  json_object_set_new(object, "teacher_loss", lap_json_number(e->teacher_loss));
  const double lead = lap_evaluation_lead(e);
  json_object_set_new(object, "better_than_teacher",
                      isnan(lead) ? json_null() : json_boolean(lead > 0));
  json_object_set_new(object, "below_teacher_loss", lap_json_number(lead));
  json_object_set_new(object, "counted", json_integer((json_int_t)e->counted));
  json_object_set_new(object, "windows", json_integer((json_int_t)e->windows));
  json_object_set_new(object, "seconds", lap_json_number(e->seconds));
  json_object_set_new(object, "tokens_per_second", lap_json_number(e->tokens_per_second));
  return object;
}
