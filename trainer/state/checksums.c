#include "trainer/state/checksums.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "autograd/kernel/matmul/bfloat16.h"
#include "core/hash.h"
#include "core/memory.h"
#include "mpi/transport/exchange.h"
#include "mpi/transport/wrong.h"

struct lap_checksums {
  const lap_state *state;
  int parts, own;            /* owners whose blocks are listed, and which of them is this rank */
  int64_t *first;            /* [parts + 1]: the blocks of part q are [first[q], first[q + 1]) */
  lap_checksum_block *block; /* of all parts */
  uint64_t *copies;          /* of all blocks: of weights as passes read them */
  uint64_t *kept[LAP_STATE_KINDS]; /* of this rank's blocks; of weights a part of `copies` where
                                      passes read them as they are */
  bool shared;                     /* the checksums of copies have been sent for */
  lap_exchange exchange;
  lap_comm_ticket ticket;

  /* The first difference that was found, by block; -1: none. */
  int64_t fault;
  lap_state_kind fault_kind;
  bool fault_in_copy;
};

static int64_t blocks_of(int64_t elements) {
  return (elements + LAP_CHECKSUM_BLOCK - 1) / LAP_CHECKSUM_BLOCK;
}

static int64_t blocks_of_owner(const lap_partition *partition, int owner) {
  int64_t count = 0;
  for (int b = 0; b < partition->buckets; ++b)
    count += blocks_of(lap_range_count(lap_partition_range(partition, b, owner)));
  return count;
}

/* Whether passes read weights that other ranks update. */
static bool has_owners(const lap_state *state) {
  const lap_sharding sharding = state->placement.sharding;
  return (sharding == LAP_SHARDING_OPTIMIZER || sharding == LAP_SHARDING_GRADIENTS) &&
         state->partition->owners > 1;
}

/* The range of a bucket that part `part` of the list covers. */
static lap_range range_of(const lap_checksums *c, int bucket, int part) {
  if (part == c->own) return lap_state_held(c->state, LAP_EXP_AVG, bucket);
  return lap_partition_range(c->state->partition, bucket, part);
}

static int64_t count_own_blocks(const lap_state *state) {
  int64_t count = 0;
  for (int b = 0; b < state->partition->buckets; ++b)
    count += blocks_of(lap_range_count(lap_state_held(state, LAP_EXP_AVG, b)));
  return count;
}

static int64_t count_blocks(const lap_state *state) {
  if (!has_owners(state)) return count_own_blocks(state);
  int64_t count = 0;
  for (int owner = 0; owner < state->partition->owners; ++owner)
    count += blocks_of_owner(state->partition, owner);
  return count;
}

void lap_checksums_bytes(const lap_state *state, lap_memory_table *memory) {
  const size_t all = (size_t)count_blocks(state), own = (size_t)count_own_blocks(state);
  const size_t kinds = lap_state_holds_bfloat16(state) ? LAP_STATE_KINDS : LAP_STATE_KINDS - 1;
  memory->bytes[LAP_MEMORY_BUFFERS] +=
      (int64_t)(all * (sizeof(lap_checksum_block) + sizeof(uint64_t)) +
                own * kinds * sizeof(uint64_t));
}

static void list_blocks(lap_checksums *c) {
  c->block = lap_allocate(count_blocks(c->state), sizeof *c->block);
  for (int part = 0; part < c->parts; ++part) {
    int64_t next = c->first[part];
    for (int b = 0; b < c->state->partition->buckets; ++b) {
      const lap_range range = range_of(c, b, part);
      for (int64_t at = range.begin; at < range.end; at += LAP_CHECKSUM_BLOCK) {
        const int64_t end = at + LAP_CHECKSUM_BLOCK;
        c->block[next++] = (lap_checksum_block){b, at, end < range.end ? end : range.end};
      }
    }
    c->first[part + 1] = next;
  }
}

/* Each owner's to every other rank of its group. */
static void list_messages(lap_checksums *c) {
  const lap_group *group = &c->state->group;
  c->exchange =
      (lap_exchange){.tag = LAP_TAG_GATHER, .kind = LAP_TRAFFIC_CHECKS, .what = "gather checksums"};
  for (int step = 1; step < c->parts; ++step) {
    const int from = lap_group_from(group, step);
    lap_exchange_send(&c->exchange, lap_group_rank(group, lap_group_to(group, step)),
                      c->copies + c->first[c->own],
                      (size_t)lap_checksums_count(c) * sizeof *c->copies);
    lap_exchange_receive(&c->exchange, lap_group_rank(group, from), c->copies + c->first[from],
                         (size_t)(c->first[from + 1] - c->first[from]) * sizeof *c->copies);
  }
}

lap_checksums *lap_checksums_create(const lap_state *state) {
  lap_checksums *c = lap_allocate(1, sizeof *c);
  c->state = state;
  c->fault = -1;
  c->parts = has_owners(state) ? state->partition->owners : 1;
  c->own = has_owners(state) ? state->group.index : 0;
  c->first = lap_allocate(c->parts + 1, sizeof *c->first);
  list_blocks(c);
  c->copies = lap_allocate(c->first[c->parts], sizeof *c->copies);
  c->kept[LAP_WEIGHT] = c->copies + c->first[c->own];
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    if (kind != LAP_WEIGHT || lap_state_holds_bfloat16(state))
      c->kept[kind] = lap_allocate(lap_checksums_count(c), sizeof *c->kept[kind]);
  list_messages(c);
  return c;
}

static void wait_for_checksums(lap_checksums *c) {
  if (c->ticket) lap_comm_wait(c->state->group.comm, c->ticket);
  c->ticket = 0;
}

void lap_checksums_destroy(lap_checksums *c) {
  if (!c) return;
  wait_for_checksums(c);
  lap_exchange_release(&c->exchange);
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    if (kind != LAP_WEIGHT || lap_state_holds_bfloat16(c->state)) free(c->kept[kind]);
  free(c->copies);
  free(c->block);
  free(c->first);
  free(c);
}

int64_t lap_checksums_count(const lap_checksums *c) {
  return c->first[c->own + 1] - c->first[c->own];
}

lap_checksum_block lap_checksums_block(const lap_checksums *c, int64_t index) {
  assert(index >= 0 && index < lap_checksums_count(c));
  return c->block[c->first[c->own] + index];
}

/* --- taking and checking --- */

/* Below, `index` counts the blocks of all parts. */

static int64_t elements_of(const lap_checksum_block *block) { return block->end - block->begin; }

static uint64_t checksum(const lap_checksums *c, lap_state_kind kind, int64_t index) {
  const lap_checksum_block *block = &c->block[index];
  return lap_xxh3(lap_state_at(c->state, kind, block->bucket, block->begin),
                  (size_t)elements_of(block) * sizeof(float));
}

/* Of weights that this rank updates, as passes will read them. */
static uint64_t checksum_of_rounded(const lap_checksums *c, int64_t index) {
  uint16_t rounded[LAP_CHECKSUM_BLOCK];
  const lap_checksum_block *block = &c->block[index];
  lap_bfloat16_pack_values(lap_state_at(c->state, LAP_WEIGHT, block->bucket, block->begin),
                           elements_of(block), rounded);
  return lap_xxh3(rounded, (size_t)elements_of(block) * sizeof *rounded);
}

static uint64_t checksum_of_copy(const lap_checksums *c, int64_t index) {
  const lap_checksum_block *block = &c->block[index];
  if (!c->state->bfloat16) return checksum(c, LAP_WEIGHT, index);
  return lap_xxh3(c->state->bfloat16 + block->begin,
                  (size_t)elements_of(block) * sizeof *c->state->bfloat16);
}

static void compare(lap_checksums *c, lap_state_kind kind, bool copy, int64_t index) {
  const uint64_t found = copy ? checksum_of_copy(c, index) : checksum(c, kind, index);
  if (found == (copy ? c->copies[index] : c->kept[kind][index - c->first[c->own]])) return;
#pragma omp critical(lap_checksums_fault)
  if (c->fault < 0 || index < c->fault) {
    c->fault = index;
    c->fault_kind = kind;
    c->fault_in_copy = copy;
  }
}

void lap_checksums_take(lap_checksums *c, int64_t index) {
  const int64_t at = c->first[c->own] + index;
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    c->kept[kind][index] = checksum(c, (lap_state_kind)kind, at);
  if (c->state->bfloat16) c->copies[at] = checksum_of_rounded(c, at);
}

void lap_checksums_check(lap_checksums *c, int64_t index) {
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    compare(c, (lap_state_kind)kind, false, c->first[c->own] + index);
}

void lap_checksums_take_all(lap_checksums *c) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < lap_checksums_count(c); ++i) lap_checksums_take(c, i);
}

void lap_checksums_check_all(lap_checksums *c) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < lap_checksums_count(c); ++i) lap_checksums_check(c, i);
}

/* --- copies --- */

void lap_checksums_share(lap_checksums *c) {
  c->shared = true;
  if (c->parts == 1) return;
  wait_for_checksums(c);
  c->ticket = lap_comm_start_exchange(c->state->group.comm, &c->exchange);
}

void lap_checksums_check_copies(lap_checksums *c) {
  if (!c->shared) return;
  wait_for_checksums(c);
  const int64_t all = c->first[c->parts], begin = c->first[c->own], end = c->first[c->own + 1];
  const bool own_too = c->state->bfloat16 != NULL;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < all; ++i)
    if (own_too || i < begin || i >= end) compare(c, LAP_WEIGHT, true, i);
}

/* --- the verdict --- */

lap_code lap_checksums_verdict(const lap_checksums *c, uint64_t step, lap_status *status) {
  if (c->fault < 0) return LAP_OK;
  const lap_state *state = c->state;
  const lap_checksum_block *block = &c->block[c->fault];
  const lap_parameter *first = lap_parameters_at(state->parameters, block->begin);
  const lap_parameter *last = lap_parameters_at(state->parameters, block->end - 1);
  const lap_comm *comm = state->placement.comm;
  return lap_wrong_arithmetic(
      comm, lap_comm_rank(comm), step, status,
      "%s%s of %s, model shard %d, element %" PRId64 ", to %s, element %" PRId64
      ", changed in memory since the last update (integrity.state)",
      c->fault_in_copy ? "this rank's copy of the " : "", lap_state_kind_name(c->fault_kind),
      first->name, first->model_shard, block->begin - first->offset,
      last == first ? "the same" : last->name, block->end - 1 - last->offset);
}
