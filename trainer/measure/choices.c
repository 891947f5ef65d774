#include "trainer/measure/choices.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/op/loss_row.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/measure/wilson.h"
#include "trainer/model/window_logits.h"

/* --- texts to windows --- */

/* One context with one choice: the tokens, without BOS, and how many of them are scored. */
typedef struct {
  int32_t *ids; /* [count] */
  size_t count, first;
} sequence;

/* All of them; sequence i is window i of the set. */
typedef struct {
  sequence *sequence; /* [count], item by item, choice by choice */
  size_t count, longest;
  lap_token_shard shard;
  lap_token_shard *shards[1];
  lap_token_set set;
  lap_data data;
} score_plan;

static void release_plan(score_plan *plan) {
  for (size_t i = 0; i < plan->count; ++i) free(plan->sequence[i].ids);
  free(plan->sequence);
  free(plan->shard.tokens);
  free(plan->shard.documents);
}

static lap_code encode(lap_tokenizer *tokenizer, const char *text, sequence *encoded,
                       lap_status *status) {
  const uint32_t *ids;
  LAP_TRY(lap_tokenizer_encode(tokenizer, text, strlen(text), &ids, &encoded->count, status));
  encoded->ids = lap_allocate((int64_t)encoded->count, sizeof *encoded->ids);
  for (size_t i = 0; i < encoded->count; ++i) encoded->ids[i] = (int32_t)ids[i];
  return LAP_OK;
}

static size_t common(const sequence *a, const sequence *b) {
  size_t i = 0;
  while (i < a->count && i < b->count && a->ids[i] == b->ids[i]) ++i;
  return i;
}

static lap_code encode_item(const lap_choices_request *request, const lap_choice_item *item,
                            score_plan *plan, lap_status *status) {
  const int64_t most = request->model->source.config->model.max_position_embeddings - 2;
  sequence context, *all = plan->sequence + plan->count;
  LAP_TRY(encode(request->tokenizer, item->context, &context, status));
  size_t shared = context.count;
  lap_code code = LAP_OK;
  for (size_t c = 0; c < item->choices && code == LAP_OK; ++c) {
    char *text = lap_format("%s%s", item->context, item->choice[c]);
    code = encode(request->tokenizer, text, &all[c], status);
    free(text);
    if (code != LAP_OK) break;
    ++plan->count;
    const size_t same = common(&context, &all[c]);
    if (same < shared) shared = same;
    if (all[c].count > plan->longest) plan->longest = all[c].count;
    if ((int64_t)all[c].count > most)
      code = lap_fail(status, LAP_DATA,
                      "%s:%zu: context and choice %zu have %zu tokens; with BOS the model takes "
                      "%" PRId64,
                      request->choices->path, item->line, c, all[c].count, most);
  }
  for (size_t c = 0; c < item->choices && code == LAP_OK; ++c) all[c].first = shared;
  free(context.ids);
  return code;
}

/* A window of its own for each sequence: the prefix, BOS, its tokens, and EOS to the end, which is
 * not counted. */
static void fill_windows(score_plan *plan, const lap_config *config) {
  const size_t rows = plan->longest + 1;
  plan->shard =
      (lap_token_shard){.path = "choices",
                        .token_count = plan->count * rows,
                        .document_count = plan->count,
                        .vocab_size = (uint32_t)config->model.vocab_size,
                        .tokens = lap_allocate((int64_t)(plan->count * rows), sizeof(uint32_t)),
                        .documents = lap_allocate((int64_t)plan->count + 1, sizeof(uint64_t))};
  for (size_t i = 0; i <= plan->count; ++i) plan->shard.documents[i] = i * rows;
  for (size_t i = 0; i < plan->count; ++i) {
    uint32_t *row = plan->shard.tokens + i * rows;
    for (size_t r = 0; r < rows; ++r) row[r] = LAP_EOS;
    row[0] = LAP_BOS;
    for (size_t t = 0; t < plan->sequence[i].count; ++t)
      row[1 + t] = (uint32_t)plan->sequence[i].ids[t];
  }
  plan->shards[0] = &plan->shard;
  plan->set =
      (lap_token_set){.shard = plan->shards, .count = 1, .token_count = plan->shard.token_count};
  plan->data = (lap_data){
      .tokens = &plan->set, .sequence_length = (uint32_t)rows + 1, .document_mask = true};
}

static lap_code make_plan(const lap_choices_request *request, score_plan *plan,
                          lap_status *status) {
  size_t count = 0;
  for (size_t i = 0; i < request->choices->count; ++i) count += request->choices->item[i].choices;
  plan->sequence = lap_allocate((int64_t)count, sizeof *plan->sequence);
  for (size_t i = 0; i < request->choices->count; ++i)
    LAP_TRY(encode_item(request, &request->choices->item[i], plan, status));
  fill_windows(plan, request->model->source.config);
  return LAP_OK;
}

/* --- the model's scores --- */

typedef struct {
  int64_t vocab;
  double *nats; /* [T] of the window at hand */
} scorer;

static void score_position(void *context, const lap_micro_batch *window, int64_t t, float *z) {
  static const lap_objective next_token = {
      .distill_weight = 0, .temperature = 1, .tail = LAP_TAIL_GHOST};
  const scorer *s = context;
  const lap_row_labels labels = {.target = window->batch.targets[t], .objective = &next_token};
  s->nats[t] = lap_loss_row(&labels, z, s->vocab, false, NULL).ce;
}

static lap_code check_finite(const lap_choices_request *request, uint64_t window, double nats,
                             lap_status *status) {
  if (isfinite(nats)) return LAP_OK;
  uint64_t choice = window;
  const lap_choice_item *item = request->choices->item;
  while (choice >= item->choices) choice -= item++->choices;
  return lap_fail(status, LAP_NONFINITE,
                  "%s:%zu: the loss of choice %" PRIu64
                  " is %g; the model's weights are not usable: take an earlier checkpoint",
                  request->choices->path, item->line, choice, nats);
}

/* This replica's windows into nats [share]; after a failure it only takes part in passes. */
static lap_code score_share(const lap_choices_request *request, const score_plan *plan,
                            uint64_t share, double *nats, lap_status *status) {
  const lap_fold *fold = &request->model->state->placement.fold;
  const lap_gemma2_config *config = &request->model->source.config->model;
  lap_window_logits *model = lap_window_logits_create(
      config, request->model->state, request->model->weights, &plan->data, request->threads);
  scorer s = {.vocab = config->vocab_size,
              .nats = lap_allocate(plan->data.sequence_length, sizeof *s.nats)};
  lap_code code = LAP_OK;
  lap_progress_state progress = {.step = "eval", .unit = "choices", .total = share};
  lap_progress_report(request->hook, progress);
  for (uint64_t i = 0; i < share; ++i) {
    const uint64_t window = i * (uint64_t)fold->replicas + (uint64_t)fold->replica;
    if (window < plan->count && code == LAP_OK) {
      code = lap_window_logits_visit(model, window, score_position, &s, status);
      /* Token t of the sequence is the target of position t + 1: the prefix is at 0, BOS at 1. */
      const sequence *scored = &plan->sequence[window];
      for (size_t t = scored->first; t < scored->count && code == LAP_OK; ++t)
        nats[i] += s.nats[t + 1];
      if (code == LAP_OK) code = check_finite(request, window, nats[i], status);
    } else {
      lap_window_logits_join_pass(model);
    }
    progress.done = i + 1;
    if (code == LAP_OK) lap_progress_report(request->hook, progress);
  }
  lap_window_logits_destroy(model);
  free(s.nats);
  return code;
}

/* --- the baseline --- */

/* -log of the share of each token among those of the shards, each counted once more. */
static double *unigram_nats(const lap_token_set *set, int64_t vocab) {
  double *nats = lap_allocate(vocab, sizeof *nats);
  for (size_t s = 0; s < set->count; ++s)
    for (uint64_t i = 0; i < set->shard[s]->token_count; ++i) nats[set->shard[s]->tokens[i]] += 1;
  for (int64_t id = 0; id < vocab; ++id)
    nats[id] = -log((nats[id] + 1) / ((double)set->token_count + (double)vocab));
  return nats;
}

static void score_unigram(const lap_choices_request *request, const score_plan *plan,
                          double *nats) {
  double *of = unigram_nats(request->unigram, request->model->source.config->model.vocab_size);
  for (size_t i = 0; i < plan->count; ++i) {
    const sequence *scored = &plan->sequence[i];
    nats[i] = 0;
    for (size_t t = scored->first; t < scored->count; ++t) nats[i] += of[scored->ids[t]];
  }
  free(of);
}

/* --- the choice --- */

/* nats [choices] of one item. */
static lap_choices_score judge(const lap_choice_item *item, const double *nats) {
  size_t best = 0, best_per_byte = 0;
  for (size_t c = 1; c < item->choices; ++c) {
    const double length = (double)strlen(item->choice[c]);
    if (nats[c] < nats[best]) best = c;
    if (nats[c] / length < nats[best_per_byte] / (double)strlen(item->choice[best_per_byte]))
      best_per_byte = c;
  }
  return (lap_choices_score){best == item->answer, best_per_byte == item->answer};
}

static void rank_all(const lap_choices *choices, const double *nats, uint32_t *rank) {
  for (size_t i = 0; i < choices->count; nats += choices->item[i++].choices) {
    const lap_choice_item *item = &choices->item[i];
    rank[i] = 1;
    for (size_t c = 0; c < item->choices; ++c) rank[i] += nats[c] < nats[item->answer];
  }
}

/* `items` [count] gets each of them; NULL: the sums alone. */
static lap_choices_score judge_all(const lap_choices *choices, const double *nats,
                                   lap_choices_score *items) {
  lap_choices_score score = {0};
  for (size_t i = 0; i < choices->count; nats += choices->item[i++].choices) {
    const lap_choices_score one = judge(&choices->item[i], nats);
    score.correct += one.correct;
    score.correct_per_byte += one.correct_per_byte;
    if (items) items[i] = one;
  }
  return score;
}

/* What is known of each item. */
static void judge_items(const lap_choices *choices, const double *nats, lap_choices_result *r) {
  r->rank = lap_allocate((int64_t)r->items, sizeof *r->rank);
  r->nats = lap_allocate((int64_t)r->items, sizeof *r->nats);
  r->item = lap_allocate((int64_t)r->items, sizeof *r->item);
  rank_all(choices, nats, r->rank);
  r->model = judge_all(choices, nats, r->item);
  for (size_t i = 0; i < choices->count; nats += choices->item[i++].choices)
    r->nats[i] = nats[choices->item[i].answer];
}

lap_code lap_choices_score_all(const lap_choices_request *request, lap_choices_result *result,
                               lap_status *status) {
  const lap_placement *placement = &request->model->state->placement;
  const uint64_t replicas = (uint64_t)placement->fold.replicas;
  const uint64_t stride = (uint64_t)placement->fold.model_ranks; /* leaders are this far apart */
  score_plan plan = {0};
  lap_status outcome = {0};
  outcome.code = make_plan(request, &plan, &outcome);
  if (lap_agree(placement->comm, &outcome) == LAP_OK) {
    const uint64_t share = (plan.count + replicas - 1) / replicas;
    const int64_t all_count = (int64_t)(share * (uint64_t)lap_comm_size(placement->comm));
    double *mine = lap_allocate((int64_t)share, sizeof *mine);
    double *all = lap_allocate(all_count, sizeof *all);
    double *nats = lap_allocate((int64_t)plan.count, sizeof *nats);
    outcome.code = score_share(request, &plan, share, mine, &outcome);
    if (lap_agree(placement->comm, &outcome) == LAP_OK) {
      lap_gather_all(placement->comm, mine, (size_t)share * sizeof *mine, all);
      for (uint64_t w = 0; w < plan.count; ++w)
        nats[w] = all[w % replicas * stride * share + w / replicas];
      *result = (lap_choices_result){.items = request->choices->count,
                                     .has_unigram = request->unigram != NULL};
      for (size_t i = 0; i < request->choices->count; ++i)
        result->chance += 1 / (double)request->choices->item[i].choices;
      result->chance /= (double)result->items;
      judge_items(request->choices, nats, result);
      if (request->unigram) {
        score_unigram(request, &plan, nats);
        result->unigram = judge_all(request->choices, nats, NULL);
      }
    }
    free(mine);
    free(all);
    free(nats);
  }
  release_plan(&plan);
  *status = outcome;
  return outcome.code;
}

/* --- the result --- */

void lap_choices_result_release(lap_choices_result *result) {
  free(result->rank);
  free(result->nats);
  free(result->item);
  *result = (lap_choices_result){0};
}

double lap_choices_exposure(const lap_choices *choices, const lap_choices_result *r, size_t i) {
  return log2((double)choices->item[i].choices) - log2((double)r->rank[i]);
}

/* Items that were seen `seen` times. */
static json_t *seen_to_json(const lap_choices *choices, const lap_choices_result *r, int64_t seen) {
  double total = 0, least = INFINITY, most = -INFINITY;
  json_int_t items = 0;
  for (size_t i = 0; i < choices->count; ++i) {
    if (choices->item[i].seen != seen) continue;
    const double exposure = lap_choices_exposure(choices, r, i);
    ++items;
    total += exposure;
    least = fmin(least, exposure);
    most = fmax(most, exposure);
  }
  return json_pack("{s:I, s:I, s:f, s:f, s:f}", "seen", (json_int_t)seen, "items", items,
                   "exposure", total / (double)items, "least_exposure", least, "most_exposure",
                   most);
}

static json_t *all_seen_to_json(const lap_choices *choices, const lap_choices_result *r) {
  json_t *list = json_array();
  for (int64_t seen = -1;;) { /* the next larger one, until there is none */
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < choices->count; ++i)
      if (choices->item[i].seen > seen && choices->item[i].seen < next)
        next = choices->item[i].seen;
    if (next == INT64_MAX) break;
    seen = next;
    json_array_append_new(list, seen_to_json(choices, r, seen));
  }
  if (json_array_size(list) > 0) return list;
  json_decref(list);
  return json_null();
}

json_t *lap_choices_to_json(const lap_choices *choices, const lap_choices_result *r) {
  json_t *object = json_pack("{s:I, s:f}", "items", (json_int_t)r->items, "chance", r->chance);
  lap_wilson_json(object, "accuracy", r->model.correct, r->items, true);
  lap_wilson_json(object, "accuracy_per_byte", r->model.correct_per_byte, r->items, true);
  lap_wilson_json(object, "unigram_accuracy", r->unigram.correct, r->items, r->has_unigram);
  lap_wilson_json(object, "unigram_accuracy_per_byte", r->unigram.correct_per_byte, r->items,
                  r->has_unigram);
  double exposure = 0;
  for (size_t i = 0; i < choices->count; ++i) exposure += lap_choices_exposure(choices, r, i);
  json_object_set_new(object, "exposure", json_real(exposure / (double)r->items));
  json_object_set_new(object, "by_seen", all_seen_to_json(choices, r));
  return object;
}
