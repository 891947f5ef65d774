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

static chunk_digests *hash_own_chunks(const lap_state *state, int kinds, int *count) {
  const chunk_list list = list_chunks(state);
  float *tails[LAP_STATE_KINDS] = {NULL};
  for (int kind = 0; kind < kinds; ++kind)
    tails[kind] = fetch_tails(state, (lap_state_kind)kind, &list);
  chunk_digests *digests = lap_allocate(list.count, sizeof *digests);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < list.count; ++i) {
    digests[i].canonical = list.chunk[i].canonical;
    for (int kind = 0; kind < kinds; ++kind)
      hash_chunk(state, (lap_state_kind)kind, &list.chunk[i], tails[kind], digests[i].kind[kind]);
  }
  for (int kind = 0; kind < kinds; ++kind) free(tails[kind]);
  free(list.chunk);
  free(list.tail);
  *count = list.count;
  return digests;
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

/* Collective. The hash over `head` and what follows it, on every rank. */
static void hash_all(const lap_state *state, int kinds, char *head, char hex[LAP_SHA256_HEX]) {
  lap_comm *comm = state->placement.comm;
  int count;
  chunk_digests *mine = hash_own_chunks(state, kinds, &count);
  void *all;
  size_t *sizes;
  lap_gather_to_root(comm, mine, (size_t)count * sizeof *mine, &all, &sizes);
  if (lap_comm_rank(comm) == 0) {
    size_t total = 0;
    for (int rank = 0; rank < lap_comm_size(comm); ++rank) total += sizes[rank];
    total /= sizeof(chunk_digests);
    qsort(all, total, sizeof(chunk_digests), by_position);
    lap_sha256_stream *stream = lap_sha256_create();
    lap_sha256_add(stream, head, strlen(head));
    hash_tensors(state->all, kinds, all, total, stream);
    uint8_t digest[LAP_SHA256_SIZE];
    lap_sha256_finish(stream, digest);
    lap_sha256_hex(digest, hex);
  }
  lap_broadcast(comm, hex, LAP_SHA256_HEX, 0);
  free(head);
  free(mine);
  free(all);
  free(sizes);
}

void lap_state_sha256(const lap_state *state, char hex[LAP_SHA256_HEX]) {
  assert(state->values[LAP_EXP_AVG] && state->values[LAP_EXP_AVG_SQ]);
  hash_all(state, LAP_STATE_KINDS,
           lap_format("lapidary-state 1\nstep %" PRIu64 "\napplied_updates %" PRIu64 "\n",
                      state->step, state->applied_updates),
           hex);
}

void lap_weights_sha256(const lap_state *state, char hex[LAP_SHA256_HEX]) {
  hash_all(state, 1, lap_copy_string("lapidary-weights 1\n"), hex);
}
