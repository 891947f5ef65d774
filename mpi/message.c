/* Messages inside a job, their completion by polling, and the watchdog. */
#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "autograd/core/clock.h"
#include "autograd/core/memory.h"
#include "mpi/communicator_internal.h"

/* Small messages arrive within the first microseconds, in which the thread only yields its core;
 * after that it sleeps, longer and longer, so that compute threads have the core. */
enum {
  SPIN_NANOSECONDS = 40 * 1000,
  SLEEP_NANOSECONDS_MIN = 50 * 1000,
  SLEEP_NANOSECONDS_MAX = 200 * 1000,
};
/* One poll counts as at most this much waiting: where a queue system has suspended the whole job,
 * the time in which this process did not run itself is no sign of a dead peer. */
static const double LONGEST_POLL_SECONDS = 1;

void lap_comm_check(lap_comm *comm, int result, const char *what) {
  if (result == MPI_SUCCESS) return;
  char reason[MPI_MAX_ERROR_STRING] = "";
  int length;
  MPI_Error_string(result, reason, &length);
  char *message = lap_format("MPI failed in %s: %s", what, reason);
  lap_comm_abort(comm, LAP_WATCHDOG, message);
}

void lap_comm_progress(lap_comm *comm) {
  if (comm->size == 1) return;
  int found;
  lap_comm_check(comm,
                 MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE),
                 "waiting for work");
}

/* Makes room for one more message and returns its place. */
static int new_pending(lap_comm *comm, int peer, size_t expected, bool receiving) {
  assert(pthread_equal(pthread_self(), comm->thread));
  assert(peer >= 0 && peer < comm->size && peer != comm->rank);
  if (comm->pending_count == comm->pending_capacity) {
    const size_t capacity = 2 * (size_t)comm->pending_capacity + 16;
    comm->pending_capacity = (int)capacity;
    comm->requests = lap_reallocate(comm->requests, capacity, sizeof *comm->requests);
    comm->pending = lap_reallocate(comm->pending, capacity, sizeof *comm->pending);
    comm->statuses = lap_reallocate(comm->statuses, capacity, sizeof *comm->statuses);
  }
  comm->pending[comm->pending_count] = (lap_pending){peer, expected, receiving};
  return comm->pending_count++;
}

static size_t message_at(size_t count, size_t offset) {
  return count - offset < LAP_MESSAGE_BYTES ? count - offset : LAP_MESSAGE_BYTES;
}

void lap_comm_send(lap_comm *comm, const void *bytes, size_t count, int to, int tag,
                   lap_traffic_kind kind) {
  for (size_t offset = 0; offset < count; offset += LAP_MESSAGE_BYTES) {
    const size_t part = message_at(count, offset);
    const int place = new_pending(comm, to, part, false);
    lap_comm_check(comm,
                   MPI_Isend((const char *)bytes + offset, (int)part, MPI_BYTE, to, tag,
                             MPI_COMM_WORLD, &comm->requests[place]),
                   "a send");
  }
  if (comm->nodes[to] == comm->nodes[comm->rank])
    comm->traffic.within_node[kind] += count;
  else
    comm->traffic.between_nodes[kind] += count;
}

void lap_comm_receive(lap_comm *comm, void *bytes, size_t count, int from, int tag) {
  for (size_t offset = 0; offset < count; offset += LAP_MESSAGE_BYTES) {
    const size_t part = message_at(count, offset);
    const int place = new_pending(comm, from, part, true);
    lap_comm_check(comm,
                   MPI_Irecv((char *)bytes + offset, (int)part, MPI_BYTE, from, tag, MPI_COMM_WORLD,
                             &comm->requests[place]),
                   "a receive");
  }
}

/* Writes "rank 1 on a, rank 3 on b and 5 more" of the peers whose messages are not complete. */
static void name_missing_peers(lap_comm *comm, char *text, size_t size) {
  enum { NAMED = 4 };
  bool *missing = lap_allocate((size_t)comm->size, sizeof *missing);
  for (int i = 0; i < comm->pending_count; ++i) {
    int complete = 0;
    MPI_Request_get_status(comm->requests[i], &complete, MPI_STATUS_IGNORE);
    if (!complete) missing[comm->pending[i].peer] = true;
  }
  int count = 0;
  size_t length = 0;
  text[0] = '\0';
  for (int rank = 0; rank < comm->size; ++rank) {
    if (!missing[rank] || ++count > NAMED || length >= size) continue;
    length += (size_t)snprintf(text + length, size - length, "%srank %d on %s",
                               count > 1 ? ", " : "", rank, comm->hosts[rank]);
  }
  if (count > NAMED && length < size)
    snprintf(text + length, size - length, " and %d more", count - NAMED);
  free(missing);
}

static _Noreturn void watchdog_fires(lap_comm *comm, const char *what, double seconds) {
  char peers[1024], activity[LAP_ACTIVITY_SIZE];
  name_missing_peers(comm, peers, sizeof peers);
  pthread_mutex_lock(&comm->mutex);
  memcpy(activity, comm->activity, sizeof activity);
  pthread_mutex_unlock(&comm->mutex);
  char *message = lap_format(
      "watchdog: waited %.0f seconds for %s in %s%s%s%s; ending all ranks with exit code %d (a "
      "longer patience is watchdog_seconds)",
      seconds, peers, what, activity[0] ? " (" : "", activity, activity[0] ? ")" : "",
      LAP_WATCHDOG);
  lap_comm_abort(comm, LAP_WATCHDOG, message);
}

static double watchdog_limit(lap_comm *comm) {
  pthread_mutex_lock(&comm->mutex);
  const double seconds = comm->watchdog_seconds;
  pthread_mutex_unlock(&comm->mutex);
  return seconds;
}

/* Polls until all messages are there; yields at first, then sleeps. */
static void poll_until_complete(lap_comm *comm, const char *what) {
  const double limit = watchdog_limit(comm), begin = lap_clock_seconds();
  double last = begin, waited = 0;
  long nanoseconds = SLEEP_NANOSECONDS_MIN;
  for (;;) {
    int complete = 0;
    const int result = MPI_Testall(comm->pending_count, comm->requests, &complete, comm->statuses);
    if (result == MPI_ERR_IN_STATUS)
      for (int i = 0; i < comm->pending_count; ++i) {
        const int error = comm->statuses[i].MPI_ERROR;
        if (error != MPI_ERR_PENDING) lap_comm_check(comm, error, what);
      }
    lap_comm_check(comm, result, what);
    if (complete) return;
    lap_comm_check_abort(comm);
    const double now = lap_clock_seconds();
    waited += now - last < LONGEST_POLL_SECONDS ? now - last : LONGEST_POLL_SECONDS;
    last = now;
    if (waited > limit) watchdog_fires(comm, what, waited);
    if (now - begin < 1e-9 * SPIN_NANOSECONDS) {
      sched_yield();
    } else {
      nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
      if (nanoseconds < SLEEP_NANOSECONDS_MAX) nanoseconds += nanoseconds / 2;
    }
  }
}

/* A peer that sent fewer bytes than this rank expects is doing something else than this rank: MPI
 * calls that success. */
static void check_counts(lap_comm *comm, const char *what) {
  for (int i = 0; i < comm->pending_count; ++i) {
    const lap_pending *pending = &comm->pending[i];
    if (!pending->receiving) continue;
    int received = 0;
    MPI_Get_count(&comm->statuses[i], MPI_BYTE, &received);
    if ((size_t)received == pending->expected) continue;
    char *message = lap_format(
        "rank %d on %s sent %d bytes where %zu were expected in %s: the ranks do not run the same "
        "program with the same settings",
        pending->peer, comm->hosts[pending->peer], received, pending->expected, what);
    lap_comm_abort(comm, LAP_USAGE, message);
  }
}

void lap_comm_complete(lap_comm *comm, const char *what) {
  if (comm->pending_count == 0) return;
  poll_until_complete(comm, what);
  check_counts(comm, what);
  comm->pending_count = 0;
}
