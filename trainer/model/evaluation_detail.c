#include "trainer/model/evaluation_detail.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"

/* The sums of some positions of one window. */
typedef struct {
  uint64_t document; /* in the set; beyond the last document: a bucket of context */
  lap_position_sums sums;
} detail_group;

struct lap_detail_parts {
  const lap_data *data;
  lap_set_documents documents;
  detail_group *group; /* of all windows, one behind the other */
  uint64_t group_count, group_capacity;
  uint32_t *groups_of; /* [window_count] */
  uint32_t *counted;   /* [window_count] */
  uint64_t window_count, window_capacity;
  float *confidence; /* of counted positions */
  uint64_t confidence_count, confidence_capacity;
};

lap_detail_parts *lap_detail_parts_create(const lap_data *data) {
  lap_detail_parts *parts = lap_allocate(1, sizeof *parts);
  parts->data = data;
  parts->documents = lap_set_documents_find(data->tokens);
  return parts;
}

void lap_detail_parts_destroy(lap_detail_parts *parts) {
  if (!parts) return;
  lap_set_documents_release(&parts->documents);
  free(parts->group);
  free(parts->groups_of);
  free(parts->counted);
  free(parts->confidence);
  free(parts);
}

void lap_evaluation_detail_release(lap_evaluation_detail *detail) {
  lap_set_documents_release(&detail->documents);
  free(detail->document);
  free(detail->confidence);
  *detail = (lap_evaluation_detail){0};
}

static uint64_t doubled(uint64_t capacity, uint64_t needed) {
  while (capacity < needed) capacity = 2 * capacity + 1024;
  return capacity;
}

static void reserve(lap_detail_parts *p, uint64_t positions) {
  const uint64_t groups = p->group_count + positions + LAP_CONTEXT_BUCKETS;
  if (groups > p->group_capacity) {
    p->group_capacity = doubled(p->group_capacity, groups);
    p->group = lap_reallocate(p->group, (int64_t)p->group_capacity, sizeof *p->group);
  }
  if (p->window_count == p->window_capacity) {
    p->window_capacity = doubled(p->window_capacity, p->window_count + 1);
    const int64_t count = (int64_t)p->window_capacity;
    p->groups_of = lap_reallocate(p->groups_of, count, sizeof *p->groups_of);
    p->counted = lap_reallocate(p->counted, count, sizeof *p->counted);
  }
  if (p->confidence_count + positions > p->confidence_capacity) {
    p->confidence_capacity = doubled(p->confidence_capacity, p->confidence_count + positions);
    p->confidence =
        lap_reallocate(p->confidence, (int64_t)p->confidence_capacity, sizeof *p->confidence);
  }
}

/* floor(log2(context)). */
static int bucket_of(int64_t context) {
  assert(context >= 1);
  return 63 - __builtin_clzll((unsigned long long)context);
}

static int buckets_of(const lap_data *data) { return bucket_of(data->sequence_length) + 1; }

static void add_documents(lap_detail_parts *p, uint64_t index, const lap_position_sums *positions) {
  const lap_shard_window w = lap_data_window(p->data, index);
  const lap_token_shard *shard = p->data->tokens->shard[w.shard];
  uint64_t row;
  const uint32_t rows = lap_data_window_rows(p->data, w, &row);
  uint64_t entry = lap_shard_document(shard, row);
  detail_group *group = NULL;
  for (uint32_t i = 0; i < rows; ++i) {
    while (entry + 1 < shard->document_count && shard->documents[entry + 1] <= row + i) {
      ++entry;
      group = NULL;
    }
    if (positions[1 + i].counted == 0) continue;
    if (!group) {
      group = &p->group[p->group_count++];
      *group = (detail_group){.document = p->documents.first[w.shard] + entry};
    }
    lap_position_sums_add(&group->sums, &positions[1 + i]);
  }
}

static void add_contexts(lap_detail_parts *p, const lap_position_sums *positions,
                         const int32_t *document_start) {
  const int buckets = buckets_of(p->data);
  lap_position_sums sums[LAP_CONTEXT_BUCKETS] = {{0}};
  for (int64_t t = 0; t < p->data->sequence_length; ++t)
    if (positions[t].counted > 0)
      lap_position_sums_add(&sums[bucket_of(t - document_start[t] + 1)], &positions[t]);
  for (int b = 0; b < buckets; ++b)
    if (sums[b].counted > 0)
      p->group[p->group_count++] =
          (detail_group){.document = p->documents.count + (uint64_t)b, .sums = sums[b]};
}

void lap_detail_parts_add(lap_detail_parts *p, uint64_t index, const lap_position_sums *positions,
                          const float *confidence, const int32_t *document_start) {
  const uint64_t length = p->data->sequence_length;
  reserve(p, length);
  const uint64_t groups = p->group_count, counted = p->confidence_count;
  add_documents(p, index, positions);
  add_contexts(p, positions, document_start);
  for (uint64_t t = 0; t < length; ++t)
    if (positions[t].counted > 0) p->confidence[p->confidence_count++] = confidence[t];
  p->groups_of[p->window_count] = (uint32_t)(p->group_count - groups);
  p->counted[p->window_count++] = (uint32_t)(p->confidence_count - counted);
}

/* One kind of item of all ranks, on rank 0; a cursor for each rank. */
typedef struct {
  char *bytes, **next; /* next [ranks] */
} gathered;

static gathered gather(lap_comm *comm, const void *items, uint64_t count, size_t size) {
  void *all;
  size_t *counts;
  lap_gather_to_root(comm, items, (size_t)count * size, &all, &counts);
  if (!all) return (gathered){0};
  const int ranks = lap_comm_size(comm);
  gathered g = {.bytes = all, .next = lap_allocate(ranks, sizeof *g.next)};
  size_t before = 0;
  for (int r = 0; r < ranks; ++r) {
    g.next[r] = g.bytes + before;
    before += counts[r];
  }
  free(counts);
  return g;
}

static void release(const gathered *g) {
  free(g->bytes);
  free(g->next);
}

/* The next item of a rank into *item. */
static void take(const gathered *g, uint64_t rank, void *item, size_t size) {
  assert(g->next);
  memcpy(item, g->next[rank], size);
  g->next[rank] += size;
}

static void assemble(uint64_t windows, uint64_t replicas, uint64_t stride, const gathered all[4],
                     lap_evaluation_detail *detail) {
  for (uint64_t w = 0; w < windows; ++w) {
    const uint64_t rank = w % replicas * stride;
    uint32_t groups, counted;
    take(&all[0], rank, &groups, sizeof groups);
    take(&all[1], rank, &counted, sizeof counted);
    for (uint32_t i = 0; i < groups; ++i) {
      detail_group group;
      take(&all[2], rank, &group, sizeof group);
      lap_position_sums *total = group.document < detail->documents.count
                                     ? &detail->document[group.document]
                                     : &detail->bucket[group.document - detail->documents.count];
      lap_position_sums_add(total, &group.sums);
    }
    if (counted > 0)
      take(&all[3], rank, detail->confidence + detail->counted, counted * sizeof(float));
    detail->counted += counted;
  }
}

void lap_detail_collect(const lap_detail_parts *parts, lap_comm *comm, uint64_t windows,
                        uint64_t replicas, uint64_t stride, lap_evaluation_detail *detail) {
  const gathered all[4] = {
      gather(comm, parts->groups_of, parts->window_count, sizeof *parts->groups_of),
      gather(comm, parts->counted, parts->window_count, sizeof *parts->counted),
      gather(comm, parts->group, parts->group_count, sizeof *parts->group),
      gather(comm, parts->confidence, parts->confidence_count, sizeof *parts->confidence)};
  *detail = (lap_evaluation_detail){0};
  if (lap_comm_rank(comm) == 0) {
    detail->documents = lap_set_documents_find(parts->data->tokens);
    detail->document = lap_allocate((int64_t)detail->documents.count, sizeof *detail->document);
    detail->buckets = buckets_of(parts->data);
    detail->confidence =
        lap_allocate((int64_t)parts->data->tokens->token_count, sizeof *detail->confidence);
    assemble(windows, replicas, stride, all, detail);
  }
  for (int i = 0; i < 4; ++i) release(&all[i]);
}
