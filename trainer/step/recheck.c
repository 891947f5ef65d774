#include "trainer/step/recheck.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "mpi/tree/bucket_slots.h"
#include "trainer/step/recheck_draw.h"

/* Computations of one lane: the first, the recheck, and those that decide. */
enum { FIRST, AGAIN, MOST_VOTES = 4 };

typedef char hash_text[LAP_XXH128_HEX];

struct lap_recheck {
  const lap_config *config;
  const lap_state *state;
  lap_bucket_slots slots;
  float *memory;             /* of the slots: the gradient of a lane that is computed again */
  float **buckets;           /* [buckets] in it */
  int most;                  /* lanes of a recheck */
  int *lane, *first, *again; /* [most]: the lanes, and the replicas that compute them */
  int count;                 /* lanes chosen in this step; 0: it is not due */
  hash_text *hashes;         /* [votes][hashes_of_lane]: hashes_of */
  hash_text *target;         /* where those of the current lane go; NULL: nowhere */
  lap_recheck_verdict verdict;
  bool found;
};

/* One of each tensor's gradient, and behind them one of the losses. */
static int64_t hashes_of_lane(const lap_state *state) { return state->parameters->count + 1; }

/* --- memory --- */

static int most_lanes(const lap_config *config) {
  const int lanes = lap_mesh_lanes(&config->mesh);
  return config->integrity.recheck_lanes < lanes ? (int)config->integrity.recheck_lanes : lanes;
}

/* With one micro-batch a layer's gradient is whole when backward leaves it, and not needed once it
 * has been hashed: all layers take turns in one place. */
static lap_bucket_slots make_slots(const lap_config *config, const lap_state *state) {
  int *slots = NULL;
  if (lap_config_micro_batches(config) == 1) {
    slots = lap_allocate(state->parameters->bucket_count, sizeof *slots);
    lap_parameters_layer_slots(state->parameters, 1, slots);
  }
  const lap_bucket_slots made = lap_bucket_slots_create(state->partition, slots);
  free(slots);
  return made;
}

/* Two of every lane, and further votes of the one that is settled. */
static int64_t hash_rows(int lanes) { return INT64_C(2) * lanes + MOST_VOTES - 2; }

void lap_recheck_bytes(const lap_config *config, const lap_state *state, lap_memory_table *memory) {
  if (config->integrity.recheck_every == 0) return;
  lap_bucket_slots slots = make_slots(config, state);
  memory->bytes[LAP_MEMORY_GRADIENTS] += slots.elements * (int64_t)sizeof(float);
  memory->bytes[LAP_MEMORY_BUFFERS] +=
      hash_rows(most_lanes(config)) * hashes_of_lane(state) * (int64_t)sizeof(hash_text);
  lap_bucket_slots_release(&slots);
}

lap_recheck *lap_recheck_create(const lap_config *config, const lap_state *state) {
  lap_recheck *r = lap_allocate(1, sizeof *r);
  const int buckets = state->partition->buckets;
  r->config = config;
  r->state = state;
  r->slots = make_slots(config, state);
  r->memory = lap_allocate_aligned(r->slots.elements, sizeof *r->memory);
  r->buckets = lap_allocate(buckets, sizeof *r->buckets);
  for (int b = 0; b < buckets; ++b) r->buckets[b] = r->memory + r->slots.offset[b];
  r->most = most_lanes(config);
  r->lane = lap_allocate(r->most, sizeof *r->lane);
  r->first = lap_allocate(r->most, sizeof *r->first);
  r->again = lap_allocate(r->most, sizeof *r->again);
  r->hashes = lap_allocate(hash_rows(r->most) * hashes_of_lane(state), sizeof *r->hashes);
  r->verdict.suspect =
      lap_allocate(lap_comm_size(state->placement.comm), sizeof *r->verdict.suspect);
  return r;
}

void lap_recheck_destroy(lap_recheck *r) {
  if (!r) return;
  lap_bucket_slots_release(&r->slots);
  lap_release_aligned(r->memory);
  free(r->buckets);
  free(r->lane);
  free(r->first);
  free(r->again);
  free(r->hashes);
  free(r->verdict.suspect);
  free(r);
}

/* --- hashes of a lane --- */

/* Of the lane with this index among the chosen, [hashes_of_lane]. */
static hash_text *hashes_of(const lap_recheck *r, int vote, int index) {
  const int64_t row = vote <= AGAIN ? INT64_C(2) * index + vote : INT64_C(2) * r->most + vote - 2;
  return r->hashes + row * hashes_of_lane(r->state);
}

/* Steps count from 1, as in the log. */
static bool is_due(const lap_config *config, uint64_t step) {
  const int64_t every = config->integrity.recheck_every;
  return every > 0 && (step + 1) % (uint64_t)every == 0;
}

/* The lanes are chosen. */
static void assign(lap_recheck *r) {
  const lap_placement *placement = &r->state->placement;
  lap_recheck_assign(&placement->mesh, placement->fold.schedule, placement->fold.replicas,
                     (uint64_t)r->config->seed, r->state->step, r->lane, r->count, r->first,
                     r->again);
}

static void choose(lap_recheck *r) {
  r->count = lap_recheck_choose((uint64_t)r->config->seed, r->state->step,
                                lap_mesh_lanes(&r->state->placement.mesh), r->most, r->lane);
}

void lap_recheck_begin(lap_recheck *r) {
  r->count = 0;
  r->target = NULL;
  r->found = false;
  if (!is_due(r->config, r->state->step)) return;
  choose(r);
  assign(r);
}

void lap_recheck_doubt(lap_recheck *r, const double *losses) {
  const int lanes = lap_mesh_lanes(&r->state->placement.mesh);
  r->count = 0;
  for (int lane = 0; lane < lanes && r->count < r->most; ++lane)
    if (!isfinite(losses[lane])) r->lane[r->count++] = lane;
  if (r->count == 0) choose(r);
  assign(r);
}

void lap_recheck_watch(lap_recheck *r, int lane) {
  r->target = NULL;
  for (int i = 0; i < r->count; ++i)
    if (r->lane[i] == lane) r->target = hashes_of(r, FIRST, i);
}

static bool has_nan(const float *values, int64_t count) {
  int found = 0;
  for (int64_t i = 0; i < count; ++i) found |= values[i] != values[i];
  return found;
}

/* A NaN is a NaN, whatever its bits: kernels do not agree on these. */
static void hash_gradient(const float *values, int64_t count, hash_text text) {
  const size_t bytes = (size_t)count * sizeof *values;
  if (!has_nan(values, count)) {
    lap_xxh128_hex(values, bytes, text);
    return;
  }
  float *plain = lap_allocate(count, sizeof *plain);
  for (int64_t i = 0; i < count; ++i) plain[i] = isnan(values[i]) ? NAN : values[i];
  lap_xxh128_hex(plain, bytes, text);
  free(plain);
}

void lap_recheck_take(lap_recheck *r, int block, float *const *gradients) {
  const lap_parameters *parameters = r->state->parameters;
  for (int p = 0; r->target && p < parameters->count; ++p) {
    const lap_parameter *parameter = &parameters->parameter[p];
    const lap_bucket *bucket = &parameters->bucket[parameter->bucket];
    if (bucket->block == block)
      hash_gradient(gradients[parameter->bucket] + (parameter->offset - bucket->begin),
                    parameter->elements, r->target[p]);
  }
}

void lap_recheck_take_losses(lap_recheck *r, const double *sums, int count) {
  enum { MOST = 16 };
  double plain[MOST]; /* as hash_gradient */
  assert(count <= MOST);
  for (int i = 0; i < count; ++i) plain[i] = isnan(sums[i]) ? NAN : sums[i];
  if (r->target)
    lap_xxh128_hex(plain, (size_t)count * sizeof *plain, r->target[r->state->parameters->count]);
}

void lap_recheck_open(lap_recheck *r, int block) {
  const lap_bucket_list *list = &r->state->parameters->block[block];
  for (int i = 0; i < list->count; ++i) {
    const int b = list->bucket[i];
    if (r->slots.is_shared[b])
      memset(r->buckets[b], 0,
             (size_t)lap_partition_elements(r->state->partition, b) * sizeof(float));
  }
}

/* --- computing again --- */

static void compute(lap_recheck *r, const lap_recheck_computer *computer, int lane,
                    hash_text *target, bool may_leave, lap_status *own) {
  r->target = target;
  if (target) memset(r->memory, 0, (size_t)r->slots.elements * sizeof *r->memory);
  computer->compute(computer->context, lane, target ? r->buckets : NULL, may_leave, own);
  r->target = NULL;
}

/* Every replica computes what it was assigned, one lane a round. */
static void compute_assigned(lap_recheck *r, const lap_recheck_computer *computer,
                             lap_status *own) {
  const lap_fold *fold = &r->state->placement.fold;
  int *load = lap_allocate(fold->replicas, sizeof *load), rounds = 0, next = 0;
  for (int i = 0; i < r->count; ++i)
    if (++load[r->again[i]] > rounds) rounds = load[r->again[i]];
  free(load);
  for (int round = 0; round < rounds; ++round) {
    while (next < r->count && r->again[next] != fold->replica) ++next;
    const bool mine = next < r->count;
    compute(r, computer, mine ? r->lane[next] : -1, mine ? hashes_of(r, AGAIN, next) : NULL, true,
            own);
    if (mine) ++next;
  }
}

/* --- comparing --- */

/* The hash of a lane's hashes: what ranks tell each other. */
static void digest(const lap_recheck *r, int vote, int index, hash_text text) {
  lap_xxh128_hex(hashes_of(r, vote, index), (size_t)hashes_of_lane(r->state) * sizeof(hash_text),
                 text);
}

/* What all ranks know of one lane. */
typedef struct {
  int lane, votes;
  int replica[MOST_VOTES];  /* who computed it */
  int same_as[MOST_VOTES];  /* the first vote with the same gradients */
  const hash_text *digests; /* [ranks][stride]; "" where the rank is of another replica */
  int stride;
} ballot;

static const char *digest_of(const lap_recheck *r, const ballot *b, int vote, int model_rank) {
  const int rank = b->replica[vote] * r->state->placement.fold.model_ranks + model_rank;
  return b->digests[(int64_t)rank * b->stride + vote];
}

static bool is_same(const lap_recheck *r, const ballot *b, int vote, int other) {
  for (int m = 0; m < r->state->placement.fold.model_ranks; ++m)
    if (strcmp(digest_of(r, b, vote, m), digest_of(r, b, other, m)) != 0) return false;
  return true;
}

static void sort_into_camps(const lap_recheck *r, ballot *b) {
  for (int v = 0; v < b->votes; ++v) {
    b->same_as[v] = 0;
    while (!is_same(r, b, v, b->same_as[v])) ++b->same_as[v];
  }
}

/* Collective. The digests [count] of each rank on all: malloc'ed [ranks][count]. */
static hash_text *gather_digests(const lap_recheck *r, const hash_text *mine, int count) {
  lap_comm *comm = r->state->placement.comm;
  hash_text *all = lap_allocate((int64_t)lap_comm_size(comm) * count, sizeof *all);
  lap_gather_all(comm, mine, (size_t)count * sizeof *mine, all);
  return all;
}

/* Collective. Whether every replica has computed what it had to. */
static lap_code agree_on_computing(const lap_recheck *r, const lap_status *own,
                                   lap_status *status) {
  *status = *own;
  return lap_agree(r->state->placement.comm, status);
}

/* --- deciding --- */

/* Who computes the lane once more: a third replica, or both again, or the only one. */
static void add_votes(const lap_recheck *r, ballot *b) {
  const int replicas = r->state->placement.fold.replicas;
  if (replicas >= 3) {
    int third = 0;
    while (third == b->replica[FIRST] || third == b->replica[AGAIN]) ++third;
    b->replica[b->votes++] = third;
    return;
  }
  b->replica[b->votes++] = b->replica[FIRST];
  if (replicas == 2) b->replica[b->votes++] = b->replica[AGAIN];
}

/* Where the first tensor differs between two votes, in the order in which backward completes
 * gradients: later ones follow from it. */
typedef struct {
  int order; /* blocks behind it; INT32_MAX: nowhere, the losses differ alone */
  int model_shard;
  char name[64];
} difference;

static difference compare_tensors(const lap_recheck *r, const hash_text *a, const hash_text *b) {
  const lap_parameters *parameters = r->state->parameters;
  difference found = {.order = INT32_MAX};
  for (int p = 0; p < parameters->count; ++p) {
    const lap_parameter *parameter = &parameters->parameter[p];
    const int order = parameters->block_count - 1 - parameters->bucket[parameter->bucket].block;
    if (order >= found.order || strcmp(a[p], b[p]) == 0) continue;
    found.order = order;
    found.model_shard = parameter->model_shard;
    memcpy(found.name, parameter->name, sizeof found.name);
  }
  return found;
}

/* Collective. Hashes of two votes meet on every rank of the group of their shards. */
static difference first_difference(const lap_recheck *r, const ballot *b, int index, int vote,
                                   int other) {
  const lap_fold *fold = &r->state->placement.fold;
  const int64_t tensors = hashes_of_lane(r->state);
  hash_text *mine = lap_allocate(2 * tensors, sizeof *mine);
  const size_t size = (size_t)tensors * sizeof *mine;
  if (b->replica[vote] == fold->replica) memcpy(mine, hashes_of(r, vote, index), size);
  if (b->replica[other] == fold->replica) memcpy(mine + tensors, hashes_of(r, other, index), size);
  void *all;
  size_t *counts;
  lap_gather_strings(&r->state->group, mine, 2 * size, &all, &counts);
  const hash_text *hashes = all;
  const difference here = compare_tensors(r, hashes + 2 * tensors * b->replica[vote],
                                          hashes + 2 * tensors * b->replica[other] + tensors);
  free(mine);
  free(all);
  free(counts);
  lap_comm *comm = r->state->placement.comm;
  const int ranks = lap_comm_size(comm);
  difference *everywhere = lap_allocate(ranks, sizeof *everywhere), first = here;
  lap_gather_all(comm, &here, sizeof here, everywhere);
  for (int rank = ranks - 1; rank >= 0; --rank)
    if (everywhere[rank].order <= first.order) first = everywhere[rank];
  free(everywhere);
  return first;
}

/* The ranks of a vote whose gradients are not those of `right`. */
static void suspect_ranks(lap_recheck *r, const ballot *b, int vote, int right) {
  const int model_ranks = r->state->placement.fold.model_ranks;
  for (int m = 0; m < model_ranks; ++m)
    if (strcmp(digest_of(r, b, vote, m), digest_of(r, b, right, m)) != 0)
      r->verdict.suspect[b->replica[vote] * model_ranks + m] = true;
}

/* --- words --- */

enum { WORDS = 1024 };

static void add_words(char words[WORDS], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_words(char words[WORDS], const char *format, ...) {
  const size_t length = strlen(words);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(words + length, WORDS - length, format, arguments);
  va_end(arguments);
}

/* "rank 0 on a (A), rank 1 on b (B)": who computed, equal letters for equal gradients. */
static void add_votes_in_words(const lap_recheck *r, const ballot *b, char words[WORDS]) {
  const lap_placement *placement = &r->state->placement;
  const int model_ranks = placement->fold.model_ranks;
  for (int v = 0; v < b->votes; ++v) {
    const int rank = b->replica[v] * model_ranks;
    add_words(words, "%s", v ? ", " : "");
    if (model_ranks > 1)
      add_words(words, "ranks %d to %d on %s", rank, rank + model_ranks - 1,
                lap_comm_host(placement->comm, rank));
    else
      add_words(words, "rank %d on %s", rank, lap_comm_host(placement->comm, rank));
    add_words(words, " (%c)", 'A' + b->same_as[v]);
  }
}

static void add_suspects(const lap_recheck *r, char words[WORDS]) {
  lap_comm *comm = r->state->placement.comm;
  enum { NAMED = 4 };
  int named = 0, more = 0;
  for (int rank = 0; rank < lap_comm_size(comm); ++rank) {
    if (!r->verdict.suspect[rank]) continue;
    if (named == NAMED) {
      ++more;
      continue;
    }
    add_words(words, "%srank %d on %s", named++ ? ", " : "", rank, lap_comm_host(comm, rank));
  }
  if (more) add_words(words, " and %d more", more);
}

static lap_code describe(const lap_recheck *r, const ballot *b, const difference *first,
                         int differing, lap_status *status) {
  char votes[WORDS] = "", suspects[WORDS] = "", others[64] = "", what[128] = "";
  add_votes_in_words(r, b, votes);
  add_suspects(r, suspects);
  if (differing > 1) snprintf(others, sizeof others, " and of %d more lanes", differing - 1);
  const bool losses = first->order == INT32_MAX;
  if (losses)
    snprintf(what, sizeof what, "No gradient differs");
  else
    snprintf(what, sizeof what, "The first tensor that differs is %s of model shard %d",
             first->name, first->model_shard);
  return lap_fail(
      status, LAP_NONFINITE,
      "step %" PRIu64
      ": the %s of lane %d%s differ between computations that give the same bits where arithmetic "
      "is right: %s. %s: %s. %s. No update was made in this step; what earlier steps did is "
      "checked by `lapidary verify RUN`",
      r->state->step + 1, losses ? "losses" : "gradients", b->lane, others, votes,
      r->verdict.decided ? "Computed wrongly" : "No majority decides between", suspects, what);
}

/* Fills the verdict. Returns a vote that differs from *right, which is the first where no majority
 * is right. */
static int judge(lap_recheck *r, const ballot *b, int *right) {
  bool wrong[MOST_VOTES] = {false};
  int example = AGAIN;
  memset(r->verdict.suspect, 0,
         (size_t)lap_comm_size(r->state->placement.comm) * sizeof *r->verdict.suspect);
  *right = lap_recheck_vote(b->same_as, b->votes, wrong);
  r->found = true;
  /* Who alone contradicts himself is wrong in any case. */
  r->verdict.decided = *right >= 0 || r->state->placement.fold.replicas == 1;
  if (*right < 0) {
    *right = FIRST;
    suspect_ranks(r, b, FIRST, AGAIN);
    for (int v = AGAIN; v < b->votes; ++v) suspect_ranks(r, b, v, FIRST);
    return AGAIN;
  }
  for (int v = b->votes - 1; v >= 0; --v) {
    if (!wrong[v]) continue;
    suspect_ranks(r, b, v, *right);
    example = v;
  }
  return example;
}

/* Collective. The lane is computed once more, and the majority is right. */
static lap_code settle(lap_recheck *r, const lap_recheck_computer *computer, ballot *b, int index,
                       int differing, lap_status *status) {
  const lap_fold *fold = &r->state->placement.fold;
  add_votes(r, b);
  hash_text *target = NULL;
  for (int v = AGAIN + 1; v < b->votes; ++v)
    if (b->replica[v] == fold->replica) target = hashes_of(r, v, index);
  lap_status own = {0};
  compute(r, computer, target ? b->lane : -1, target, false, &own);
  LAP_TRY(agree_on_computing(r, &own, status));
  hash_text mine[MOST_VOTES] = {{0}};
  for (int v = 0; v < b->votes; ++v)
    if (b->replica[v] == fold->replica) digest(r, v, index, mine[v]);
  hash_text *digests = gather_digests(r, mine, b->votes);
  b->digests = digests;
  b->stride = b->votes;
  sort_into_camps(r, b);
  int right;
  const int example = judge(r, b, &right);
  const difference first = first_difference(r, b, index, example, right);
  free(digests);
  return describe(r, b, &first, differing, status);
}

/* --- a recheck --- */

static lap_code check_lanes(lap_recheck *r, const lap_recheck_computer *computer,
                            lap_status *status) {
  const int replica = r->state->placement.fold.replica;
  lap_status own = {0};
  compute_assigned(r, computer, &own);
  LAP_TRY(agree_on_computing(r, &own, status));
  hash_text *mine = lap_allocate(INT64_C(2) * r->count, sizeof *mine);
  for (int i = 0; i < r->count; ++i) {
    hash_text *of_lane = mine + INT64_C(2) * i;
    if (r->first[i] == replica) digest(r, FIRST, i, of_lane[FIRST]);
    if (r->again[i] == replica) digest(r, AGAIN, i, of_lane[AGAIN]);
  }
  hash_text *all = gather_digests(r, mine, 2 * r->count);
  int differing = 0, index = 0;
  ballot found = {0};
  for (int i = r->count - 1; i >= 0; --i) {
    const ballot b = {.lane = r->lane[i],
                      .votes = 2,
                      .replica = {r->first[i], r->again[i]},
                      .digests = all + INT64_C(2) * i,
                      .stride = 2 * r->count};
    if (is_same(r, &b, FIRST, AGAIN)) continue;
    ++differing;
    index = i;
    found = b;
  }
  free(mine);
  free(all);
  return differing ? settle(r, computer, &found, index, differing, status) : LAP_OK;
}

lap_code lap_recheck_run(lap_recheck *r, const lap_recheck_computer *computer, lap_status *status) {
  if (r->count == 0) return LAP_OK;
  lap_comm *comm = r->state->placement.comm;
  const lap_traffic sent = *lap_comm_traffic(comm);
  const lap_mesh_traffic mesh = *lap_comm_mesh_traffic(comm);
  const lap_code code = check_lanes(r, computer, status);
  *lap_comm_traffic(comm) = sent;
  *lap_comm_mesh_traffic(comm) = mesh;
  return code;
}

/* --- a step made twice --- */

static bool is_equal(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* The ranks that compute the lane first; of several, one of them is wrong. */
static void suspect_lane(lap_recheck *r, int lane) {
  const lap_fold *fold = &r->state->placement.fold;
  r->lane[0] = lane;
  r->count = 1;
  assign(r);
  memset(r->verdict.suspect, 0,
         (size_t)lap_comm_size(r->state->placement.comm) * sizeof *r->verdict.suspect);
  for (int m = 0; m < fold->model_ranks; ++m)
    r->verdict.suspect[r->first[0] * fold->model_ranks + m] = true;
  r->verdict.decided = fold->model_ranks == 1;
  r->found = true;
}

lap_code lap_recheck_compare(lap_recheck *r, const double *before, const double *after,
                             double norm_before, double norm_after, lap_status *status) {
  static const char ending[] = "No update was made in this step";
  const int lanes = lap_mesh_lanes(&r->state->placement.mesh);
  const uint64_t step = r->state->step + 1;
  int lane = 0;
  while (lane < lanes && is_equal(before[lane], after[lane])) ++lane;
  if (lane < lanes) {
    char suspects[WORDS] = "";
    suspect_lane(r, lane);
    add_suspects(r, suspects);
    return lap_fail(status, LAP_NONFINITE,
                    "step %" PRIu64
                    ": lane %d had a loss of %g, and of %g when the same ranks computed it again. "
                    "%s: %s. %s",
                    step, lane, before[lane], after[lane],
                    r->verdict.decided ? "Computed wrongly" : "One of them computed wrongly",
                    suspects, ending);
  }
  if (is_equal(norm_before, norm_after)) return LAP_OK;
  return lap_fail(status, LAP_NONFINITE,
                  "step %" PRIu64
                  ": the gradient norm was %g, and %g when the same ranks computed all lanes "
                  "again: nobody knows which rank computed wrongly. %s",
                  step, norm_before, norm_after, ending);
}

const lap_recheck_verdict *lap_recheck_found(const lap_recheck *r) {
  return r->found ? &r->verdict : NULL;
}
