/* Flights: the messages of jobs, their completion by polling, and the watchdog. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/internal.h"

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

void lap_comm_job_begin(lap_comm *comm, lap_comm_ticket ticket, const char *what) {
  if (comm->in_flight == comm->flight_count) {
    comm->flights = lap_reallocate(comm->flights, comm->flight_count + 1, sizeof *comm->flights);
    comm->flights[comm->flight_count++] = lap_allocate(1, sizeof **comm->flights);
  }
  lap_job *flight = comm->flights[comm->in_flight++];
  flight->ticket = ticket;
  flight->what = what;
  flight->waited = 0;
  flight->count = 0;
}

void lap_comm_release_jobs(lap_comm *comm) {
  for (int i = 0; i < comm->flight_count; ++i) {
    free(comm->flights[i]->requests);
    free(comm->flights[i]->pending);
    free(comm->flights[i]->statuses);
    free(comm->flights[i]);
  }
  free(comm->flights);
}

/* The request of one more message of the flight that is being posted. */
static MPI_Request *new_request(lap_comm *comm, int peer, size_t expected, bool receiving) {
  assert(pthread_equal(pthread_self(), comm->thread));
  assert(peer >= 0 && peer < comm->size && peer != comm->rank);
  lap_job *flight = comm->flights[comm->in_flight - 1];
  if (flight->count == flight->capacity) {
    const size_t capacity = 2 * (size_t)flight->capacity + 16;
    flight->capacity = (int)capacity;
    flight->requests = lap_reallocate(flight->requests, capacity, sizeof *flight->requests);
    flight->pending = lap_reallocate(flight->pending, capacity, sizeof *flight->pending);
    flight->statuses = lap_reallocate(flight->statuses, capacity, sizeof *flight->statuses);
  }
  flight->pending[flight->count] = (lap_pending){peer, expected, receiving};
  return &flight->requests[flight->count++];
}

static size_t message_at(size_t count, size_t offset) {
  return count - offset < LAP_MESSAGE_BYTES ? count - offset : LAP_MESSAGE_BYTES;
}

void lap_comm_send(lap_comm *comm, const void *bytes, size_t count, int to, int tag,
                   lap_traffic_kind kind) {
  for (size_t offset = 0; offset < count; offset += LAP_MESSAGE_BYTES) {
    const size_t part = message_at(count, offset);
    lap_comm_check(comm,
                   MPI_Isend((const char *)bytes + offset, (int)part, MPI_BYTE, to, tag,
                             MPI_COMM_WORLD, new_request(comm, to, part, false)),
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
    lap_comm_check(comm,
                   MPI_Irecv((char *)bytes + offset, (int)part, MPI_BYTE, from, tag, MPI_COMM_WORLD,
                             new_request(comm, from, part, true)),
                   "a receive");
  }
}

/* Writes "rank 1 on a, rank 3 on b and 5 more" of the peers whose messages are not complete. */
static void name_missing_peers(lap_comm *comm, const lap_job *flight, char *text, size_t size) {
  enum { NAMED = 4 };
  bool *missing = lap_allocate(comm->size, sizeof *missing);
  for (int i = 0; i < flight->count; ++i) {
    int complete = 0;
    MPI_Request_get_status(flight->requests[i], &complete, MPI_STATUS_IGNORE);
    if (!complete) missing[flight->pending[i].peer] = true;
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

static _Noreturn void watchdog_fires(lap_comm *comm, const lap_job *flight) {
  char peers[1024], activity[LAP_ACTIVITY_SIZE];
  name_missing_peers(comm, flight, peers, sizeof peers);
  pthread_mutex_lock(&comm->mutex);
  memcpy(activity, comm->activity, sizeof activity);
  pthread_mutex_unlock(&comm->mutex);
  char *message = lap_format(
      "watchdog: waited %.0f seconds for %s in %s%s%s%s; ending all ranks with exit code %d (a "
      "longer patience is watchdog_seconds)",
      flight->waited, peers, flight->what, activity[0] ? " (" : "", activity,
      activity[0] ? ")" : "", LAP_WATCHDOG);
  lap_comm_abort(comm, LAP_WATCHDOG, message);
}

static double watchdog_limit(lap_comm *comm) {
  pthread_mutex_lock(&comm->mutex);
  const double seconds = comm->watchdog_seconds;
  pthread_mutex_unlock(&comm->mutex);
  return seconds;
}

/* A peer that sent fewer bytes than this rank expects is doing something else than this rank: MPI
 * calls that success. */
static void check_counts(lap_comm *comm, const lap_job *flight) {
  for (int i = 0; i < flight->count; ++i) {
    const lap_pending *pending = &flight->pending[i];
    if (!pending->receiving) continue;
    int received = 0;
    MPI_Get_count(&flight->statuses[i], MPI_BYTE, &received);
    if ((size_t)received == pending->expected) continue;
    char *message = lap_format(
        "rank %d on %s sent %d bytes where %zu were expected in %s: the ranks do not run the same "
        "program with the same settings",
        pending->peer, comm->hosts[pending->peer], received, pending->expected, flight->what);
    lap_comm_abort(comm, LAP_USAGE, message);
  }
}

static bool is_complete(lap_comm *comm, lap_job *flight) {
  if (flight->count == 0) return true;
  int complete = 0;
  const int result = MPI_Testall(flight->count, flight->requests, &complete, flight->statuses);
  if (result == MPI_ERR_IN_STATUS)
    for (int i = 0; i < flight->count; ++i) {
      const int error = flight->statuses[i].MPI_ERROR;
      if (error != MPI_ERR_PENDING) lap_comm_check(comm, error, flight->what);
    }
  lap_comm_check(comm, result, flight->what);
  if (complete) check_counts(comm, flight);
  return complete;
}

int lap_comm_poll(lap_comm *comm, double seconds) {
  int landed = 0, flying = 0;
  const double limit = comm->in_flight > 0 ? watchdog_limit(comm) : 0;
  for (int i = 0; i < comm->in_flight; ++i) {
    lap_job *flight = comm->flights[i];
    if (is_complete(comm, flight)) {
      lap_comm_job_done(comm, flight->ticket);
      ++landed;
      continue;
    }
    flight->waited += seconds;
    if (flight->waited > limit) watchdog_fires(comm, flight);
    comm->flights[i] = comm->flights[flying];
    comm->flights[flying++] = flight;
  }
  comm->in_flight = flying;
  return landed;
}
