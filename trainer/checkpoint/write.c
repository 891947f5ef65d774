#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/wrong.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/checkpoint/payload.h"
#include "trainer/checkpoint/publish.h"
#include "trainer/checkpoint/read.h"
#include "trainer/state/hash.h"

/* What all ranks do together once the state is copied and space reserved, each on a thread of its
 * own or, where nobody waits for steps, on the one that calls. */
typedef struct {
  pthread_t thread;
  bool threaded;
  atomic_bool done;
  lap_status outcome; /* of all ranks, once done */
} worker;

struct lap_checkpoint_writer {
  lap_comm *comm;
  char *directory; /* NULL: one that stands alone */
  lap_checkpoint_extras extras;
  float *copy[LAP_STATE_KINDS]; /* [copied elements], kept from one to the next */
  int64_t copied;
  uint64_t *sums; /* [kinds][runs]: checksums (XXH3) of what was copied */

  bool in_flight; /* the rest is of that one */
  worker worker;
  bool behind;
  lap_comm *meeting; /* of the workers: that beside `comm` where behind, else `comm` */
  lap_checkpoint_draft draft;
  lap_checkpoint_keep keep;
  bool prunes;
  lap_state state; /* what is written: the caller's, or what this rank owns of it, copied */
  lap_state_digests *digests;
  int descriptor;                   /* of this rank's file; -1: it owns nothing, or it is closed */
  char *payload;                    /* its path */
  lap_checkpoint_piece *neighbours; /* pieces that this rank reads back */
  int neighbours_count, neighbour;
  double begun;
  lap_checkpoint_result result, last;
};

static bool is_root(const lap_checkpoint_writer *w) { return lap_comm_rank(w->comm) == 0; }

/* --- the copy --- */

/* Elements of a bucket that are copied, and compared, at once. */
enum { RUN = 1 << 18 };

static int64_t runs_of(int64_t elements) { return (elements + RUN - 1) / RUN; }

static int64_t count_runs(const lap_state *state) {
  int64_t runs = 0;
  for (int b = 0; b < state->partition->buckets; ++b)
    runs += runs_of(lap_range_count(state->owned[b]));
  return runs;
}

/* Of a run that begins at element `at` of `count`. */
static size_t run_bytes(int64_t count, int64_t at) {
  return (size_t)(count - at < RUN ? count - at : RUN) * sizeof(float);
}

/* What this rank owns, in memory of its own; the rest of the state is only pointed to. */
static void copy_state(lap_checkpoint_writer *w, const lap_state *state) {
  if (w->copied < state->owned_elements)
    for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) {
      lap_release_aligned(w->copy[kind]);
      w->copy[kind] = lap_allocate_aligned(state->owned_elements, sizeof(float));
      w->copied = state->owned_elements;
    }
  w->state = *state;
  w->sums = lap_reallocate(w->sums, LAP_STATE_KINDS * count_runs(state), sizeof *w->sums);
  uint64_t *sums = w->sums;
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) {
    w->state.whole[kind] = false;
    w->state.values[kind] = w->copy[kind];
    for (int b = 0; b < state->partition->buckets; ++b) {
      const int64_t count = lap_range_count(state->owned[b]);
      const float *from = lap_state_at(state, (lap_state_kind)kind, b, state->owned[b].begin);
      float *to = w->copy[kind] + state->owned_offset[b];
#pragma omp parallel for schedule(static)
      for (int64_t i = 0; i < count; i += RUN) {
        sums[i / RUN] = lap_xxh3(from + i, run_bytes(count, i));
        memcpy(to + i, from + i, run_bytes(count, i));
      }
      sums += runs_of(count);
    }
  }
}

static lap_code fail_changed(const lap_checkpoint_writer *w, lap_state_kind kind, int64_t element,
                             lap_status *status) {
  const lap_parameter *tensor = lap_parameters_at(w->state.parameters, element);
  return lap_wrong_arithmetic(
      w->comm, lap_comm_rank(w->comm), w->state.step, status,
      "%s of %s, model shard %d, from element %" PRId64
      " on, changed in the memory from which the checkpoint is written; there is none of this step",
      lap_state_kind_name(kind), tensor->name, tensor->model_shard, element - tensor->offset);
}

/* Once it has been written and hashed: nobody else would notice, since both are of the copy. */
static lap_code check_copy(const lap_checkpoint_writer *w, lap_status *status) {
  const uint64_t *sum = w->sums;
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    for (int b = 0; b < w->state.partition->buckets; ++b) {
      const int64_t count = lap_range_count(w->state.owned[b]);
      const float *copy = w->copy[kind] + w->state.owned_offset[b];
      for (int64_t i = 0; i < count; i += RUN)
        if (lap_xxh3(copy + i, run_bytes(count, i)) != *sum++)
          return fail_changed(w, (lap_state_kind)kind, w->state.owned[b].begin + i, status);
    }
  return LAP_OK;
}

void lap_checkpoint_writer_bytes(const lap_state *state, lap_memory_table *memory) {
  memory->bytes[LAP_MEMORY_CHECKPOINT] +=
      state->owned_elements * (int64_t)(LAP_STATE_KINDS * sizeof(float));
}

/* --- the directory and its space --- */

/* Collective. Rank 0 makes the directory. */
static lap_code make_directory(lap_checkpoint_writer *w, lap_status *status) {
  lap_checkpoint_draft *d = &w->draft;
  char *temporary = NULL;
  if (is_root(w)) {
    status->code = lap_checkpoint_begin_directory(d->path, &temporary, status);
    assert(!temporary || strlen(temporary) < sizeof d->temporary); /* the kernel's limit */
    snprintf(d->temporary, sizeof d->temporary, "%s", temporary ? temporary : "");
    free(temporary);
  }
  const lap_code code = lap_agree(w->comm, status);
  lap_broadcast(w->comm, d->temporary, sizeof d->temporary, 0);
  if (code == LAP_OK)
    lap_file_await(d->temporary); /* where it does not come, the next step says so */
  return code;
}

/* Collective. A rank that owns nothing writes no file. */
static lap_code reserve(lap_checkpoint_writer *w, lap_status *status) {
  const int rank = lap_comm_rank(w->comm);
  w->result.bytes = lap_payload_list(&w->state, w->draft.header.full, rank, &w->draft.list);
  w->payload = lap_payload_path(w->draft.temporary, rank);
  if (w->result.bytes > 0)
    status->code = lap_payload_reserve(w->payload, w->result.bytes, &w->descriptor, status);
  return lap_agree(w->comm, status);
}

/* --- the work: all ranks meet by `meeting` --- */

static lap_code write_own(lap_checkpoint_writer *w, lap_status *status) {
  lap_code code = LAP_OK;
  if (w->descriptor >= 0)
    code = lap_payload_write(&w->state, &w->draft.list, w->descriptor, w->payload, status);
  w->descriptor = -1;
  if (w->digests) lap_state_digests_compute(w->digests, !w->behind);
  if (w->behind && code == LAP_OK) code = check_copy(w, status);
  return code;
}

/* How many ranks on each rank's neighbour is: on another node for as many of them as can be. */
static int neighbour_shift(const lap_comm *comm) {
  const int ranks = lap_comm_size(comm);
  int best = ranks > 1 ? 1 : 0, most = 0;
  for (int shift = 1; shift < ranks && most < ranks; ++shift) {
    int elsewhere = 0;
    for (int r = 0; r < ranks; ++r)
      elsewhere += lap_comm_node(comm, r) != lap_comm_node(comm, (r + shift) % ranks);
    if (elsewhere > most) most = elsewhere, best = shift;
  }
  return best;
}

/* Collective. Every rank gets the pieces of its neighbour, to read them back; rank 0 those of all,
 * for the manifest. */
static void exchange_pieces(lap_checkpoint_writer *w) {
  lap_checkpoint_pieces *list = &w->draft.list;
  const int rank = lap_comm_rank(w->comm), ranks = w->draft.ranks;
  const int shift = neighbour_shift(w->comm);
  const size_t mine = (size_t)list->pieces * sizeof *list->piece;
  void *theirs, *all;
  size_t their_bytes, *bytes, total = 0;
  w->neighbour = (rank + shift) % ranks;
  lap_send_receive(w->meeting, (rank + ranks - shift) % ranks, list->piece, mine, w->neighbour,
                   &theirs, &their_bytes);
  w->neighbours = theirs;
  w->neighbours_count = (int)(their_bytes / sizeof *w->neighbours);
  lap_gather_to_root(w->meeting, list->piece, mine, &all, &bytes);
  if (!bytes) return;
  for (int r = 0; r < ranks; ++r) total += bytes[r];
  free(bytes);
  free(list->piece);
  list->piece = all;
  list->pieces = (int)(total / sizeof *list->piece);
}

/* Collective. */
static void finish_digests(lap_checkpoint_writer *w) {
  if (!w->digests) return;
  lap_state_digests_finish(w->digests, w->meeting, w->result.state_sha256);
  w->digests = NULL;
  memcpy(w->draft.header.state_sha256, w->result.state_sha256, LAP_SHA256_HEX);
}

static lap_code read_neighbours(lap_checkpoint_writer *w, lap_status *status) {
  if (w->neighbours_count == 0) return LAP_OK;
  char *path = lap_payload_path(w->draft.temporary, w->neighbour);
  const lap_code code =
      lap_payload_read_back(path, w->draft.all, w->neighbours, w->neighbours_count, status);
  free(path);
  return code;
}

static lap_code publish(lap_checkpoint_writer *w, lap_status *status) {
  LAP_TRY(lap_checkpoint_publish_draft(&w->draft, status));
  if (w->directory) lap_checkpoint_update_hint(w->directory, w->result.step);
  if (w->prunes)
    lap_checkpoint_prune_alone(w->directory, &w->keep, (int64_t)w->result.step, &w->result.pruned);
  return LAP_OK;
}

/* Collective. */
static lap_code work_together(lap_checkpoint_writer *w, lap_status *status) {
  status->code = write_own(w, status);
  LAP_TRY(lap_agree(w->meeting, status));
  exchange_pieces(w);
  finish_digests(w);
  status->code = read_neighbours(w, status);
  LAP_TRY(lap_agree(w->meeting, status));
  if (is_root(w)) status->code = publish(w, status);
  return lap_agree(w->meeting, status);
}

static void work(lap_checkpoint_writer *w) {
  w->worker.outcome = (lap_status){.code = LAP_OK};
  work_together(w, &w->worker.outcome);
  w->result.seconds = lap_clock_seconds() - w->begun;
  atomic_store(&w->worker.done, true);
}

static void *work_on_thread(void *writer) {
  lap_checkpoint_writer *w = writer;
  work(w);
  struct timespec used;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0)
    w->result.thread_seconds = (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
  return NULL;
}

/* Collective. Signals stay with the main thread. Where there is no thread to be had, the caller
 * works. */
static void start_work(lap_checkpoint_writer *w) {
  w->meeting = w->behind ? lap_comm_beside(w->comm) : w->comm;
  atomic_store(&w->worker.done, false);
  w->worker.threaded = false;
  if (w->behind) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->worker.threaded = pthread_create(&w->worker.thread, NULL, work_on_thread, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  if (w->worker.threaded) return;
  lap_comm_set_waits_beside(w->comm, w->behind);
  work(w);
  lap_comm_set_waits_beside(w->comm, false);
}

/* --- its end --- */

/* Collective. After a failure nothing of it is left when any rank returns. */
static void clear_away(lap_checkpoint_writer *w) {
  lap_status ignored;
  if (w->descriptor >= 0) close(w->descriptor);
  if (is_root(w) && w->draft.temporary[0] != '\0')
    lap_file_remove_tree(w->draft.temporary, &ignored);
  lap_barrier(w->comm);
}

/* Collective. */
static void end(lap_checkpoint_writer *w, lap_code code) {
  if (code != LAP_OK) clear_away(w);
  lap_state_digests_destroy(w->digests);
  free(w->draft.list.piece);
  free(w->draft.list.tensor);
  free(w->draft.list.file);
  free(w->draft.path);
  free(w->neighbours);
  free(w->payload);
  w->digests = NULL;
  w->draft = (lap_checkpoint_draft){.path = NULL};
  w->neighbours = NULL;
  w->payload = NULL;
  w->descriptor = -1;
  w->in_flight = false;
}

lap_code lap_checkpoint_finish(lap_checkpoint_writer *w, lap_status *status) {
  if (!w->in_flight) return LAP_OK;
  const double start = lap_clock_seconds();
  lap_comm_set_waits_beside(w->comm, true);
  if (w->worker.threaded) pthread_join(w->worker.thread, NULL);
  lap_comm_set_waits_beside(w->comm, false);
  *status = w->worker.outcome;
  end(w, status->code);
  w->result.held_seconds += lap_clock_seconds() - start;
  if (status->code == LAP_OK) w->last = w->result;
  return status->code;
}

bool lap_checkpoint_in_flight(const lap_checkpoint_writer *w) { return w->in_flight; }

bool lap_checkpoint_is_busy(const lap_checkpoint_writer *w) {
  return w->in_flight && !atomic_load(&w->worker.done);
}

const lap_checkpoint_result *lap_checkpoint_last(const lap_checkpoint_writer *w) {
  return &w->last;
}

/* --- beginning --- */

static lap_checkpoint_writer *new_writer(lap_comm *comm, const lap_checkpoint_extras *extras) {
  assert(extras->config_text);
  lap_checkpoint_writer *w = lap_allocate(1, sizeof *w);
  w->comm = comm;
  w->extras = *extras;
  w->descriptor = -1;
  return w;
}

lap_checkpoint_writer *lap_checkpoint_writer_create(const char *directory, lap_comm *comm,
                                                    const lap_checkpoint_extras *extras) {
  assert(extras->numbers);
  lap_checkpoint_writer *w = new_writer(comm, extras);
  w->directory = lap_copy_string(directory);
  return w;
}

void lap_checkpoint_writer_destroy(lap_checkpoint_writer *w) {
  if (!w) return;
  assert(!w->in_flight);
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) lap_release_aligned(w->copy[kind]);
  free(w->sums);
  free(w->directory);
  free(w);
}

/* Collective. Takes over `path`. The rest is the worker's. */
static lap_code begin_draft(lap_checkpoint_writer *w, const lap_state *state, char *path, bool full,
                            lap_status *status) {
  w->draft = (lap_checkpoint_draft){.directory = w->directory,
                                    .path = path,
                                    .all = state->all,
                                    .extras = w->extras,
                                    .header = {.full = full,
                                               .step = state->step,
                                               .applied_updates = state->applied_updates,
                                               .model_shards = state->all->shards.of,
                                               .bad_steps = state->bad_steps},
                                    .ranks = lap_comm_size(w->comm)};
  if (full) lap_numbers_sha256(w->extras.numbers, w->draft.header.numbers_sha256);
  *status = (lap_status){.code = LAP_OK};
  w->state = *state;
  lap_code code = make_directory(w, status);
  if (code == LAP_OK) code = reserve(w, status);
  if (code != LAP_OK) {
    end(w, code);
    return code;
  }
  if (w->behind) copy_state(w, state);
  if (full) w->digests = lap_state_digests_begin(&w->state);
  w->in_flight = true;
  start_work(w);
  return LAP_OK;
}

/* Collective. Before anything is removed or written. */
static lap_code check_fence(const lap_checkpoint_writer *w, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  if (is_root(w)) status->code = lap_directory_lock_check(w->extras.lock, status);
  return lap_agree(w->comm, status);
}

/* Collective. Whether a whole one with the hash of this state is there. */
static bool is_there(lap_checkpoint_writer *w, const lap_state *state, const char *path) {
  bool exists = is_root(w) && lap_file_exists(path);
  lap_broadcast(w->comm, &exists, sizeof exists, 0);
  if (!exists) return false;
  lap_state_sha256(state, w->result.state_sha256);
  return lap_checkpoint_is_there(path, w->result.state_sha256, w->comm);
}

lap_code lap_checkpoint_begin(lap_checkpoint_writer *w, const lap_state *state,
                              const lap_checkpoint_keep *keep, bool behind, lap_status *status) {
  assert(!w->in_flight && w->directory);
  w->begun = lap_clock_seconds();
  w->behind = behind;
  w->prunes = keep != NULL;
  if (keep) w->keep = *keep;
  w->result = (lap_checkpoint_result){.step = state->step};
  lap_code code = check_fence(w, status);
  if (code != LAP_OK) return code;
  if (is_root(w)) lap_checkpoint_tidy(w->directory, NULL);
  char *path = lap_format("%s/step-%08" PRIu64, w->directory, state->step);
  if (is_there(w, state, path)) {
    if (is_root(w)) {
      lap_checkpoint_update_hint(w->directory, state->step);
      if (keep)
        lap_checkpoint_prune_alone(w->directory, keep, (int64_t)state->step, &w->result.pruned);
    }
    free(path);
    w->result.was_there = true;
    w->last = w->result;
  } else {
    code = begin_draft(w, state, path, true, status);
  }
  w->result.held_seconds = lap_clock_seconds() - w->begun;
  return code;
}

/* --- in one go --- */

lap_code lap_checkpoint_write(const char *directory, const lap_state *state,
                              const lap_checkpoint_extras *extras,
                              char state_sha256[LAP_SHA256_HEX], lap_status *status) {
  lap_checkpoint_writer *w = lap_checkpoint_writer_create(directory, state->placement.comm, extras);
  lap_code code = lap_checkpoint_begin(w, state, NULL, false, status);
  if (code == LAP_OK) code = lap_checkpoint_finish(w, status);
  if (code == LAP_OK) memcpy(state_sha256, w->last.state_sha256, LAP_SHA256_HEX);
  lap_checkpoint_writer_destroy(w);
  return code;
}

/* Collective. */
static lap_code check_nothing_there(const char *path, lap_comm *comm, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  if (lap_comm_rank(comm) == 0 && lap_file_exists(path))
    lap_fail(status, LAP_USAGE, "%s: exists; name a place where nothing is", path);
  return lap_agree(comm, status);
}

lap_code lap_checkpoint_write_weights(const char *path, const lap_state *state,
                                      const lap_checkpoint_extras *extras, lap_status *status) {
  lap_comm *comm = state->placement.comm;
  char *plain = lap_copy_string(path);
  for (size_t end = strlen(plain); end > 1 && plain[end - 1] == '/'; --end) plain[end - 1] = '\0';
  if (lap_comm_rank(comm) == 0) lap_checkpoint_tidy_beside(plain);
  lap_code code = check_nothing_there(plain, comm, status);
  if (code != LAP_OK) {
    free(plain);
    return code;
  }
  lap_checkpoint_writer *w = new_writer(comm, extras);
  code = begin_draft(w, state, plain, false, status);
  if (code == LAP_OK) code = lap_checkpoint_finish(w, status);
  lap_checkpoint_writer_destroy(w);
  return code;
}
