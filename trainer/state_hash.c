#include "trainer/state_hash.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"
#include "mpi/agree.h"

/* The digests of one chunk, in the order of lap_state_kind. */
typedef struct {
  uint8_t kind[LAP_STATE_KINDS][LAP_SHA256_SIZE];
} chunk_digests;

typedef struct {
  int64_t begin, end; /* of the canonical vector */
} chunk;

/* The chunks that this rank hashes: those that start in its piece. Only the last of them can reach
 * beyond the piece, into the `tail` that other ranks own. */
typedef struct {
  chunk *chunk;
  int64_t count;
  int64_t end; /* of the last one, or of the piece */
} chunk_list;

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t chunks_up_to(int64_t elements) {
  return (elements + LAP_STATE_CHUNK - 1) / LAP_STATE_CHUNK;
}

static chunk_list list_chunks(const lap_state *state) {
  chunk_list list = {.end = state->owned_end};
  for (int i = 0; i < state->parameters->count; ++i) {
    const lap_parameter *p = &state->parameters->parameter[i];
    const int64_t end = p->offset + p->elements;
    const int64_t first = chunks_up_to(larger(0, state->owned_begin - p->offset));
    const int64_t past = chunks_up_to(smaller(state->owned_end, end) - p->offset);
    if (first >= past) continue;
    list.chunk = lap_reallocate(list.chunk, (size_t)(list.count + past - first), sizeof(chunk));
    for (int64_t c = first; c < past; ++c) {
      const int64_t begin = p->offset + c * LAP_STATE_CHUNK;
      list.chunk[list.count++] = (chunk){begin, smaller(begin + LAP_STATE_CHUNK, end)};
    }
  }
  if (list.count > 0) list.end = larger(list.end, list.chunk[list.count - 1].end);
  return list;
}

/* What the last chunk needs of a moment beyond the piece. Weights are whole on every rank. */
static float *fetch_tail(const lap_state *state, lap_comm *comm, lap_state_kind kind, int64_t end) {
  float *tail = lap_allocate((size_t)(end - state->owned_end), sizeof *tail);
  lap_exchange_ranges(comm, state->parameters->elements,
                      lap_state_at(state, kind, state->owned_begin), state->owned_end, end, tail,
                      LAP_TRAFFIC_SCALARS);
  return tail;
}

static void hash_chunk(const lap_state *state, lap_state_kind kind, chunk c, const float *tail,
                       uint8_t digest[LAP_SHA256_SIZE]) {
  const int64_t here = kind == LAP_WEIGHT ? c.end : smaller(c.end, state->owned_end);
  lap_sha256_stream *stream = lap_sha256_create();
  lap_sha256_add(stream, lap_state_at(state, kind, c.begin),
                 (size_t)(here - c.begin) * sizeof(float));
  lap_sha256_add(stream, tail, (size_t)(c.end - here) * sizeof(float));
  lap_sha256_finish(stream, digest);
}

static chunk_digests *hash_own_chunks(const lap_state *state, lap_comm *comm, int64_t *count) {
  const chunk_list list = list_chunks(state);
  float *tail[LAP_STATE_KINDS] = {NULL, fetch_tail(state, comm, LAP_EXP_AVG, list.end),
                                  fetch_tail(state, comm, LAP_EXP_AVG_SQ, list.end)};
  chunk_digests *digests = lap_allocate((size_t)list.count, sizeof *digests);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < list.count; ++i)
    for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
      hash_chunk(state, (lap_state_kind)kind, list.chunk[i], tail[kind], digests[i].kind[kind]);
  free(tail[LAP_EXP_AVG]);
  free(tail[LAP_EXP_AVG_SQ]);
  free(list.chunk);
  *count = list.count;
  return digests;
}

static void add_text(lap_sha256_stream *stream, char *text) {
  lap_sha256_add(stream, text, strlen(text));
  free(text);
}

/* The digests of all chunks come in the order of the canonical vector. */
static void hash_tensors(const lap_state *state, const chunk_digests *digests,
                         lap_sha256_stream *stream) {
  for (int i = 0; i < state->parameters->count; ++i) {
    const lap_parameter *p = &state->parameters->parameter[i];
    char *shape = p->is_norm ? lap_format("%" PRId64, p->columns)
                             : lap_format("%" PRId64 "x%" PRId64, p->rows, p->columns);
    add_text(stream, lap_format("%s shard 0 float32 %s\n", p->name, shape));
    free(shape);
    const int64_t chunks = chunks_up_to(p->elements);
    for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
      for (int64_t c = 0; c < chunks; ++c)
        lap_sha256_add(stream, digests[c].kind[kind], LAP_SHA256_SIZE);
    digests += chunks;
  }
}

void lap_state_sha256(const lap_state *state, lap_comm *comm, char hex[LAP_SHA256_HEX]) {
  assert(state->exp_avg && state->exp_avg_sq);
  int64_t count;
  chunk_digests *mine = hash_own_chunks(state, comm, &count);
  void *all;
  size_t *sizes;
  lap_gather_to_root(comm, mine, (size_t)count * sizeof *mine, &all, &sizes);
  if (lap_comm_rank(comm) == 0) {
    lap_sha256_stream *stream = lap_sha256_create();
    add_text(stream, lap_format("lapidary-state 1\nstep %" PRIu64 "\napplied_updates %" PRIu64 "\n",
                                state->step, state->applied_updates));
    hash_tensors(state, all, stream);
    uint8_t digest[LAP_SHA256_SIZE];
    lap_sha256_finish(stream, digest);
    lap_sha256_hex(digest, hex);
  }
  lap_broadcast(comm, hex, LAP_SHA256_HEX, 0);
  free(mine);
  free(all);
  free(sizes);
}
