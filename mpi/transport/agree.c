#include "mpi/transport/agree.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "mpi/transport/exchange.h"

/* --- moving bytes --- */

/* `rows` [ranks of the group][count], of which this rank's is there. */
static void gather_rows(const lap_group *group, lap_traffic_kind kind, void *rows, size_t count) {
  char *row = rows;
  const char *mine = row + (size_t)group->index * count;
  lap_exchange exchange = {.tag = LAP_TAG_AGREE, .kind = kind, .what = "an agreement of all ranks"};
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    lap_exchange_send(&exchange, lap_group_rank(group, to), mine, count);
    lap_exchange_receive(&exchange, lap_group_rank(group, from), row + (size_t)from * count, count);
  }
  lap_comm_run_exchange(group->comm, &exchange);
  lap_exchange_release(&exchange);
}

void lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all) {
  const lap_group group = lap_group_of_all(comm);
  memmove((char *)all + (size_t)group.index * count, mine, count);
  gather_rows(&group, LAP_TRAFFIC_SCALARS, all, count);
}

void lap_gather_all_checks(lap_comm *comm, const void *mine, size_t count, void *all) {
  const lap_group group = lap_group_of_all(comm);
  memmove((char *)all + (size_t)group.index * count, mine, count);
  gather_rows(&group, LAP_TRAFFIC_CHECKS, all, count);
}

void lap_gather_strings(const lap_group *group, const void *mine, size_t count, void **all,
                        size_t **counts) {
  size_t *sizes = lap_allocate(group->size, sizeof *sizes);
  sizes[group->index] = count;
  gather_rows(group, LAP_TRAFFIC_SCALARS, sizes, sizeof *sizes);
  size_t *begins = lap_allocate(group->size + 1, sizeof *begins);
  for (int i = 0; i < group->size; ++i) begins[i + 1] = begins[i] + sizes[i];
  char *joined = lap_allocate(begins[group->size], 1);
  if (count > 0) memcpy(joined + begins[group->index], mine, count);
  lap_exchange exchange = {
      .tag = LAP_TAG_AGREE, .kind = LAP_TRAFFIC_SCALARS, .what = "a gather on all ranks"};
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    lap_exchange_send(&exchange, lap_group_rank(group, to), mine, count);
    lap_exchange_receive(&exchange, lap_group_rank(group, from), joined + begins[from],
                         sizes[from]);
  }
  lap_comm_run_exchange(group->comm, &exchange);
  lap_exchange_release(&exchange);
  free(begins);
  *all = joined;
  *counts = sizes;
}

void lap_broadcast(lap_comm *comm, void *bytes, size_t count, int root) {
  const lap_group group = lap_group_of_all(comm);
  lap_exchange exchange = {
      .tag = LAP_TAG_BROADCAST, .kind = LAP_TRAFFIC_SCALARS, .what = "a broadcast"};
  if (group.index == root)
    for (int step = 1; step < group.size; ++step)
      lap_exchange_send(&exchange, lap_group_to(&group, step), bytes, count);
  else
    lap_exchange_receive(&exchange, root, bytes, count);
  lap_comm_run_exchange(comm, &exchange);
  lap_exchange_release(&exchange);
}

char *lap_broadcast_text(lap_comm *comm, char *text) {
  size_t bytes = text ? strlen(text) + 1 : 0;
  lap_broadcast(comm, &bytes, sizeof bytes, 0);
  if (bytes == 0) return NULL;
  if (lap_comm_rank(comm) != 0) text = lap_allocate((int64_t)bytes, 1);
  lap_broadcast(comm, text, bytes, 0);
  return text;
}

void lap_gather_to_root(lap_comm *comm, const void *mine, size_t count, void **all,
                        size_t **counts) {
  const int ranks = lap_comm_size(comm), root = 0;
  *all = NULL;
  *counts = NULL;
  size_t *sizes = lap_allocate(ranks, sizeof *sizes);
  lap_gather_all(comm, &count, sizeof count, sizes);
  lap_exchange exchange = {
      .tag = LAP_TAG_BROADCAST, .kind = LAP_TRAFFIC_SCALARS, .what = "a gather to rank 0"};
  if (lap_comm_rank(comm) != root) {
    lap_exchange_send(&exchange, root, mine, count);
    lap_comm_run_exchange(comm, &exchange);
    lap_exchange_release(&exchange);
    free(sizes);
    return;
  }
  size_t total = 0;
  for (int rank = 0; rank < ranks; ++rank) total += sizes[rank];
  char *joined = lap_allocate(total, 1);
  if (count > 0) memcpy(joined, mine, count);
  size_t offset = count;
  for (int rank = 1; rank < ranks; offset += sizes[rank++])
    lap_exchange_receive(&exchange, rank, joined + offset, sizes[rank]);
  lap_comm_run_exchange(comm, &exchange);
  lap_exchange_release(&exchange);
  *all = joined;
  *counts = sizes;
}

static void move(lap_comm *comm, int to, const void *mine, size_t count, int from, void *theirs,
                 size_t their_count) {
  lap_exchange exchange = {.tag = LAP_TAG_BROADCAST,
                           .kind = LAP_TRAFFIC_SCALARS,
                           .what = "a message from one rank to the next"};
  lap_exchange_send(&exchange, to, mine, count);
  lap_exchange_receive(&exchange, from, theirs, their_count);
  lap_comm_run_exchange(comm, &exchange);
  lap_exchange_release(&exchange);
}

void lap_send_receive(lap_comm *comm, int to, const void *mine, size_t count, int from,
                      void **theirs, size_t *their_count) {
  const int rank = lap_comm_rank(comm);
  assert((to == rank) == (from == rank));
  *their_count = count;
  if (to != rank) move(comm, to, &count, sizeof count, from, their_count, sizeof *their_count);
  *theirs = lap_allocate((int64_t)*their_count, 1);
  if (to != rank)
    move(comm, to, mine, count, from, *theirs, *their_count);
  else if (count > 0)
    memcpy(*theirs, mine, count);
}

void lap_barrier(lap_comm *comm) {
  const char here = 1;
  char *all = lap_allocate(lap_comm_size(comm), 1);
  lap_gather_all(comm, &here, sizeof here, all);
  free(all);
}

/* --- agreeing --- */

void lap_agree_range(lap_comm *comm, int64_t mine, int64_t *smallest, int64_t *largest) {
  const int ranks = lap_comm_size(comm);
  int64_t *all = lap_allocate(ranks, sizeof *all);
  lap_gather_all(comm, &mine, sizeof mine, all);
  *smallest = *largest = mine;
  for (int rank = 0; rank < ranks; ++rank) {
    if (all[rank] < *smallest) *smallest = all[rank];
    if (all[rank] > *largest) *largest = all[rank];
  }
  free(all);
}

/* What ranks tell each other about a text before any of them sends it. */
typedef struct {
  int64_t code; /* of an outcome */
  uint64_t length;
  char hash[LAP_XXH128_HEX];
} summary;

static summary *gather_summaries(lap_comm *comm, lap_code code, const char *text) {
  summary mine = {.code = code, .length = strlen(text)};
  lap_xxh128_hex(text, strlen(text), mine.hash);
  summary *all = lap_allocate(lap_comm_size(comm), sizeof *all);
  lap_gather_all(comm, &mine, sizeof mine, all);
  return all;
}

static bool same_text(const summary *a, const summary *b) {
  return a->length == b->length && strcmp(a->hash, b->hash) == 0;
}

lap_code lap_agree(lap_comm *comm, lap_status *status) {
  const int ranks = lap_comm_size(comm);
  if (status->code == LAP_OK) status->message[0] = '\0';
  summary *all = gather_summaries(comm, status->code, status->message);
  int lowest = -1;
  bool all_the_same = true;
  for (int rank = 0; rank < ranks; ++rank) {
    if (lowest < 0 && all[rank].code != LAP_OK) lowest = rank;
    if (all[rank].code == LAP_OK || !same_text(&all[rank], &all[0])) all_the_same = false;
  }
  if (lowest >= 0) {
    status->code = (lap_code)all[lowest].code;
    if (!all_the_same) {
      lap_broadcast(comm, status->message, sizeof status->message, lowest);
      lap_fail_context(status, "rank %d on %s", lowest, lap_comm_host(comm, lowest));
    }
  }
  free(all);
  return status->code;
}

/* The first line in which two texts differ, short enough for a message: `excerpt` gets that of
 * `text`, shortened around the difference. */
static void first_difference(const char *text, const char *other, char *excerpt, size_t size) {
  size_t line = 0, at = 0;
  while (text[at] != '\0' && text[at] == other[at])
    if (text[at++] == '\n') line = at;
  const size_t before = 60;
  const bool cut = at - line > before;
  const char *begin = text + (cut ? at - before : line);
  snprintf(excerpt, size, "%s%.*s", cut ? "..." : "", (int)strcspn(begin, "\n"), begin);
}

lap_code lap_agree_same(lap_comm *comm, const char *what, const char *mine, const char *advice,
                        lap_status *status) {
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  summary *all = gather_summaries(comm, LAP_OK, mine);
  int differs = 1;
  while (differs < ranks && same_text(&all[0], &all[differs])) ++differs;
  if (differs >= ranks) {
    free(all);
    return LAP_OK;
  }
  const int pair[2] = {0, differs};
  char *texts[2];
  for (int i = 0; i < 2; ++i) {
    const size_t size = all[pair[i]].length + 1;
    texts[i] = lap_allocate(size, 1);
    if (rank == pair[i]) memcpy(texts[i], mine, size);
    lap_broadcast(comm, texts[i], size, pair[i]);
  }
  char excerpts[2][400];
  for (int i = 0; i < 2; ++i)
    first_difference(texts[i], texts[1 - i], excerpts[i], sizeof excerpts[i]);
  lap_fail(status, LAP_USAGE, "%s: rank 0 on %s has \"%s\", rank %d on %s has \"%s\": %s", what,
           lap_comm_host(comm, 0), excerpts[0], differs, lap_comm_host(comm, differs), excerpts[1],
           advice);
  free(texts[0]);
  free(texts[1]);
  free(all);
  return status->code;
}
