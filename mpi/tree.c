#include "mpi/tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"
#include "mpi/exchange.h"
#include "mpi/lane_sum.h"

/* Elements that are merged at a time by one thread: the stack of partial sums stays in its
 * first-level cache. A divisor of LAP_BLOCK. */
enum { TILE = 256, MERGE_DEPTH = 64 };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Elements of round `round` of the piece of `rank`; its first element goes to *begin. */
static int64_t part_of_piece(const lap_comm *comm, const lap_lane_sum *sum, int rank, int64_t round,
                             int64_t *begin) {
  const int ranks = lap_comm_size(comm);
  const int64_t end = lap_owned_end(sum->elements, ranks, rank);
  *begin = smaller(lap_owned_begin(sum->elements, ranks, rank) + round * sum->chunk, end);
  return smaller(end - *begin, sum->chunk);
}

/* Where root number `root`, of another rank, arrives: this rank's own roots have no place. */
static float *arriving_root(const lap_comm *comm, const lap_lane_sum *sum, int64_t round,
                            int root) {
  const int rank = lap_comm_rank(comm);
  const int own = sum->first_root[rank + 1] - sum->first_root[rank];
  const int slot = root < sum->first_root[rank] ? root : root - own;
  return sum->arriving[round % 2] + slot * sum->chunk;
}

/* Lists one round: a part of everybody's piece goes to its owner, from every subtree root. */
static void list_round(lap_comm *comm, const lap_lane_sum *sum, int64_t round,
                       lap_exchange *exchange) {
  lap_exchange_clear(exchange);
  const int rank = lap_comm_rank(comm);
  int64_t begin;
  const int64_t mine = part_of_piece(comm, sum, rank, round, &begin);
  for (int step = 1; step < lap_comm_size(comm); ++step) {
    const int to = lap_exchange_to(comm, step), from = lap_exchange_from(comm, step);
    for (int root = sum->first_root[from]; root < sum->first_root[from + 1]; ++root)
      lap_exchange_receive(exchange, from, arriving_root(comm, sum, round, root),
                           (size_t)mine * sizeof(float));
    const int64_t theirs = part_of_piece(comm, sum, to, round, &begin);
    for (int own = 0; own < sum->counter.depth; ++own)
      lap_exchange_send(exchange, to, sum->partials[own] + begin, (size_t)theirs * sizeof(float));
  }
}

/* One tile of the piece: all roots in leaf order through the counter, whose additions are planned.
 */
static void merge_tile(const lap_lane_sum *sum, const float *const *roots, int64_t offset,
                       float *restrict out) {
  float stack[MERGE_DEPTH][TILE];
  int depth = 0;
  for (int root = 0; root < sum->first_root[sum->fold.replicas]; ++root) {
    memcpy(stack[depth++], roots[root] + offset, sizeof stack[0]);
    for (int merge = 0; merge < sum->merges[root]; ++merge, --depth)
      for (int i = 0; i < TILE; ++i)
        stack[depth - 2][i] = stack[depth - 2][i] + stack[depth - 1][i];
  }
  memcpy(out, stack[0], sizeof stack[0]);
}

static void merge_round(const lap_comm *comm, const lap_lane_sum *sum, int64_t round,
                        const float **roots, float *piece) {
  const int rank = lap_comm_rank(comm);
  int64_t begin;
  const int64_t count = part_of_piece(comm, sum, rank, round, &begin);
  for (int root = 0; root < sum->first_root[lap_comm_size(comm)]; ++root) {
    const int own = root - sum->first_root[rank];
    roots[root] = own >= 0 && own < sum->counter.depth ? sum->partials[own] + begin
                                                       : arriving_root(comm, sum, round, root);
  }
  float *part = piece + round * sum->chunk;
#pragma omp parallel for schedule(static)
  for (int64_t offset = 0; offset < count; offset += TILE)
    merge_tile(sum, roots, offset, part + offset);
}

/* The communication thread moves round r + 1 while the calling thread and its OpenMP team add round
 * r: additions never keep messages waiting. */
void lap_tree_reduce_scatter(lap_comm *comm, const lap_lane_sum *sum, float *piece) {
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  assert(sum->fold.replicas == ranks && sum->fold.replica == rank);
  assert(!sum->lane_open && sum->lanes_done == sum->fold.end_lane - sum->fold.first_lane);
  assert(sum->counter.depth == sum->first_root[rank + 1] - sum->first_root[rank]);
  assert(sum->counter.leaves.levels < MERGE_DEPTH);
  if (sum->elements == 0) return;
  const int64_t largest_piece = (sum->elements / LAP_BLOCK + ranks - 1) / ranks * LAP_BLOCK;
  const int64_t rounds = (largest_piece + sum->chunk - 1) / sum->chunk;
  const float **roots = lap_allocate((size_t)sum->first_root[ranks], sizeof *roots);
  lap_exchange exchanges[2];
  lap_comm_ticket tickets[2];
  for (int i = 0; i < 2; ++i)
    exchanges[i] = (lap_exchange){
        .round = LAP_ROUND_REDUCE, .kind = LAP_TRAFFIC_GRADIENTS, .what = "reduce gradients"};
  for (int64_t round = 0; round <= rounds; ++round) {
    if (round < rounds) {
      list_round(comm, sum, round, &exchanges[round % 2]);
      tickets[round % 2] = lap_exchange_start(comm, &exchanges[round % 2]);
    }
    if (round > 0) {
      lap_comm_wait(comm, tickets[(round - 1) % 2]);
      merge_round(comm, sum, round - 1, roots, piece);
    }
  }
  for (int i = 0; i < 2; ++i) lap_exchange_release(&exchanges[i]);
  free(roots);
}

void lap_tree_reduce(lap_comm *comm, const lap_lane_sum *sum, float *vector) {
  const int64_t begin = lap_owned_begin(sum->elements, lap_comm_size(comm), lap_comm_rank(comm));
  lap_tree_reduce_scatter(comm, sum, vector + begin);
  lap_tree_gather(comm, vector, sum->elements, LAP_TRAFFIC_GRADIENTS);
}

void lap_tree_gather(lap_comm *comm, float *vector, int64_t elements, lap_traffic_kind kind) {
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  lap_exchange exchange = {.round = LAP_ROUND_GATHER, .kind = kind, .what = "gather a vector"};
  const int64_t mine = lap_owned_begin(elements, ranks, rank);
  const int64_t count = lap_owned_end(elements, ranks, rank) - mine;
  for (int step = 1; step < ranks; ++step) {
    const int from = lap_exchange_from(comm, step);
    const int64_t theirs = lap_owned_begin(elements, ranks, from);
    lap_exchange_send(&exchange, lap_exchange_to(comm, step), vector + mine,
                      (size_t)count * sizeof(float));
    lap_exchange_receive(&exchange, from, vector + theirs,
                         (size_t)(lap_owned_end(elements, ranks, from) - theirs) * sizeof(float));
  }
  lap_exchange_finish(comm, &exchange);
}
