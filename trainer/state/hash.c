#include "trainer/state/hash.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/collective/partition_fetch.h"
#include "mpi/transport/agree.h"

/* The digests of one chunk, in the order of lap_state_kind, and where it begins in the canonical
 * vector. */
typedef struct {
  int64_t canonical;
  uint8_t kind[LAP_STATE_KINDS][LAP_SHA256_SIZE];
} chunk_digests;

/* A chunk that this rank hashes: one that starts in a range it owns. Its end may lie beyond the
 * range; the rest is `tail` elements on from there, fetched from whoever owns it. */
typedef struct {
  int bucket;
  int64_t begin, end; /* of this rank's vector */
  int64_t canonical;
  int64_t tail; /* where its tail begins among the fetched ones */
} chunk;

typedef struct {
  chunk *chunk;
  int count;
  lap_range *tail; /* [tails] */
  int tails;
  int64_t tail_elements;
} chunk_list;

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t chunks_up_to(int64_t elements) {
  return (elements + LAP_STATE_CHUNK - 1) / LAP_STATE_CHUNK;
}

static void add_chunk(chunk_list *list, const lap_parameter *p, int64_t begin, lap_range owned) {
  chunk added = {.bucket = p->bucket,
                 .begin = begin,
                 .end = smaller(begin + LAP_STATE_CHUNK, p->offset + p->elements),
                 .canonical = p->canonical + (begin - p->offset),
                 .tail = list->tail_elements};
  if (added.end > owned.end) {
    list->tail = lap_reallocate(list->tail, list->tails + 1, sizeof *list->tail);
    list->tail[list->tails++] = (lap_range){owned.end, added.end};
    list->tail_elements += added.end - owned.end;
  }
  list->chunk = lap_reallocate(list->chunk, list->count + 1, sizeof *list->chunk);
  list->chunk[list->count++] = added;
}

static chunk_list list_chunks(const lap_state *state) {
  chunk_list list = {0};
  for (int i = 0; i < state->parameters->count; ++i) {
    const lap_parameter *p = &state->parameters->parameter[i];
    if (p->is_copy) continue;
    const lap_range owned = state->owned[p->bucket];
    const int64_t first = chunks_up_to(larger(0, owned.begin - p->offset));
    const int64_t past = chunks_up_to(smaller(owned.end, p->offset + p->elements) - p->offset);
    for (int64_t c = first; c < past; ++c)
      add_chunk(&list, p, p->offset + c * LAP_STATE_CHUNK, owned);
  }
  return list;
}

/* What the chunks need of a kind beyond the ranges of this rank; NULL where all of it is here. */
static float *fetch_tails(const lap_state *state, lap_state_kind kind, const chunk_list *list) {
  if (state->whole[kind]) return NULL;
  float *tails = lap_allocate(list->tail_elements, sizeof *tails);
  lap_partition_fetch(&state->group, state->partition, state->values[kind],
                      (lap_fetch){list->tail, list->tails, tails}, LAP_TRAFFIC_SCALARS);
  return tails;
}

static void hash_chunk(const lap_state *state, lap_state_kind kind, const chunk *c,
                       const float *tails, uint8_t digest[LAP_SHA256_SIZE]) {
  const int64_t here = smaller(c->end, lap_state_held(state, kind, c->bucket).end);
  lap_sha256_stream *stream = lap_sha256_create();
  lap_sha256_add(stream, lap_state_at(state, kind, c->bucket, c->begin),
                 (size_t)(here - c->begin) * sizeof(float));
  if (here < c->end)
    lap_sha256_add(stream, tails + c->tail, (size_t)(c->end - here) * sizeof(float));
  lap_sha256_finish(stream, digest);
}

struct lap_state_digests {
  const lap_state *state;
  int kinds;
  char *head; /* what is hashed before the tensors */
  chunk_list list;
  float *tails[LAP_STATE_KINDS];
  chunk_digests *digests; /* [list.count] once computed */
};

/* Collective. Takes over `head`. */
static lap_state_digests *begin(const lap_state *state, int kinds, char *head) {
  lap_state_digests *d = lap_allocate(1, sizeof *d);
  *d =
      (lap_state_digests){.state = state, .kinds = kinds, .head = head, .list = list_chunks(state)};
  for (int kind = 0; kind < kinds; ++kind)
    d->tails[kind] = fetch_tails(state, (lap_state_kind)kind, &d->list);
  return d;
}

void lap_state_digests_compute(lap_state_digests *d, bool parallel) {
  const int count = d->list.count;
  d->digests = lap_allocate(count, sizeof *d->digests);
#pragma omp parallel for schedule(static) if (parallel)
  for (int i = 0; i < count; ++i) {
    d->digests[i].canonical = d->list.chunk[i].canonical;
    for (int kind = 0; kind < d->kinds; ++kind)
      hash_chunk(d->state, (lap_state_kind)kind, &d->list.chunk[i], d->tails[kind],
                 d->digests[i].kind[kind]);
  }
}

void lap_state_digests_destroy(lap_state_digests *d) {
  if (!d) return;
  for (int kind = 0; kind < d->kinds; ++kind) free(d->tails[kind]);
  free(d->list.chunk);
  free(d->list.tail);
  free(d->digests);
  free(d->head);
  free(d);
}

/* --- all chunks of all ranks, on rank 0 --- */

static int by_position(const void *a, const void *b) {
  const int64_t x = ((const chunk_digests *)a)->canonical,
                y = ((const chunk_digests *)b)->canonical;
  return (x > y) - (x < y);
}

static void add_text(lap_sha256_stream *stream, char *text) {
  lap_sha256_add(stream, text, strlen(text));
  free(text);
}

/* One shard's part of a tensor; its chunks are neighbours in `all`. */
static void hash_part(const lap_parameter *p, int kinds, const chunk_digests *all, size_t count,
                      lap_sha256_stream *stream) {
  char *shape = p->is_norm ? lap_format("%" PRId64, p->columns)
                           : lap_format("%" PRId64 "x%" PRId64, p->rows, p->columns);
  add_text(stream, lap_format("%s shard %d float32 %s\n", p->name, p->model_shard, shape));
  free(shape);
  const chunk_digests key = {.canonical = p->canonical};
  const chunk_digests *first = bsearch(&key, all, count, sizeof *all, by_position);
  assert(first);
  for (int kind = 0; kind < kinds; ++kind)
    for (int64_t c = 0; c < chunks_up_to(p->elements); ++c) {
      assert(first[c].canonical == p->canonical + c * LAP_STATE_CHUNK);
      lap_sha256_add(stream, first[c].kind[kind], LAP_SHA256_SIZE);
    }
}

/* Tensors in byte order of names, in each the shards in order. Shard 0 has a part of all of them
 * and stands first. */
static void hash_tensors(const lap_parameters *all, int kinds, const chunk_digests *digests,
                         size_t count, lap_sha256_stream *stream) {
  for (int i = 0; i < all->count && all->parameter[i].model_shard == 0; ++i) {
    const lap_parameter *first = &all->parameter[i];
    for (int shard = 0; shard < (first->is_norm ? 1 : all->shards.of); ++shard)
      hash_part(lap_parameters_find_shard(all, first->name, shard), kinds, digests, count, stream);
  }
}

void lap_state_digests_finish(lap_state_digests *d, lap_comm *comm, char hex[LAP_SHA256_HEX]) {
  assert(d->digests);
  void *all;
  size_t *sizes;
  lap_gather_to_root(comm, d->digests, (size_t)d->list.count * sizeof *d->digests, &all, &sizes);
  if (lap_comm_rank(comm) == 0) {
    size_t total = 0;
    for (int rank = 0; rank < lap_comm_size(comm); ++rank) total += sizes[rank];
    total /= sizeof(chunk_digests);
    qsort(all, total, sizeof(chunk_digests), by_position);
    lap_sha256_stream *stream = lap_sha256_create();
    lap_sha256_add(stream, d->head, strlen(d->head));
    hash_tensors(d->state->all, d->kinds, all, total, stream);
    uint8_t digest[LAP_SHA256_SIZE];
    lap_sha256_finish(stream, digest);
    lap_sha256_hex(digest, hex);
  }
  lap_broadcast(comm, hex, LAP_SHA256_HEX, 0);
  free(all);
  free(sizes);
  lap_state_digests_destroy(d);
}

/* Collective. All three parts. */
static void hash_all(lap_state_digests *digests, char hex[LAP_SHA256_HEX]) {
  lap_state_digests_compute(digests, true);
  lap_state_digests_finish(digests, digests->state->placement.comm, hex);
}

lap_state_digests *lap_state_digests_begin(const lap_state *state) {
  assert(state->values[LAP_EXP_AVG] && state->values[LAP_EXP_AVG_SQ]);
  return begin(state, LAP_STATE_KINDS,
               lap_format("lapidary-state 1\nstep %" PRIu64 "\napplied_updates %" PRIu64 "\n",
                          state->step, state->applied_updates));
}

void lap_state_sha256(const lap_state *state, char hex[LAP_SHA256_HEX]) {
  hash_all(lap_state_digests_begin(state), hex);
}

void lap_weights_sha256(const lap_state *state, char hex[LAP_SHA256_HEX]) {
  hash_all(begin(state, 1, lap_copy_string("lapidary-weights 1\n")), hex);
}
