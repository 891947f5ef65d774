/* internal: what communicator.c (life, thread, queue) and message.c (messages,
 * watchdog) share; private to mpi/. */
#ifndef LAP_MPI_TRANSPORT_INTERNAL_H
#define LAP_MPI_TRANSPORT_INTERNAL_H

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>

#include "mpi/transport/communicator.h"

enum { LAP_ACTIVITY_SIZE = 256 };

typedef struct {
  lap_comm_job post;
  void *argument;
  const char *what;
  bool done; /* all its messages are complete */
} lap_comm_entry;

/* What is known of one started message. */
typedef struct {
  int peer;
  size_t expected; /* bytes */
  bool receiving;
} lap_pending;

/* A job whose messages are on their way. */
typedef struct {
  lap_comm_ticket ticket;
  const char *what;
  double waited; /* seconds, for the watchdog */
  MPI_Request *requests;
  lap_pending *pending;
  MPI_Status *statuses;
  int count, capacity; /* messages */
} lap_job;

struct lap_comm {
  int rank, size;
  bool with_mpi;                         /* false where the process was started alone */
  char (*hosts)[MPI_MAX_PROCESSOR_NAME]; /* [size] */
  int *nodes;                            /* [size] */
  lap_traffic traffic;                   /* written by jobs, read after they were waited for */
  lap_mesh_traffic mesh_traffic;         /* of the threads that call collectives */

  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t work; /* for the communication thread: a job, an end or an abort */
  pthread_cond_t done; /* for callers: MPI is up, or a job is done */

  /* Under `mutex`. Jobs are numbered from 1; job n stands in queue[n % capacity] until it and all
   * before it are done. */
  lap_comm_entry *queue;
  uint64_t capacity, submitted, posted, completed;
  bool started, finishing;
  lap_status start_status;
  double watchdog_seconds, exposed_seconds;
  char activity[LAP_ACTIVITY_SIZE];

  atomic_int abort_code; /* not 0: the communication thread ends the whole job with it */

  /* Of the communication thread alone: the first `in_flight` are on their way, in the order in
   * which they were posted; the last of them is being posted while a job's function runs. */
  lap_job **flights;
  int in_flight, flight_count;
};

/* Communication thread: ends every rank with `code`. */
_Noreturn void lap_comm_abort_here(lap_comm *comm, int code);
/* Communication thread: where another thread has asked for an abort, does it. */
void lap_comm_check_abort(lap_comm *comm);
/* Communication thread: lets MPI move what is on its way. */
void lap_comm_progress(lap_comm *comm);
/* Communication thread: a new flight, to which the messages that are started next belong; where
 * it turns out to have none, it leaves with the next poll like the others. */
void lap_comm_job_begin(lap_comm *comm, lap_comm_ticket ticket, const char *what);
/* Communication thread: takes down what is complete; `seconds` have passed since the last poll.
 * Returns how many jobs that were. */
int lap_comm_poll(lap_comm *comm, double seconds);
void lap_comm_release_jobs(lap_comm *comm);
/* Communication thread: tells callers. */
void lap_comm_job_done(lap_comm *comm, lap_comm_ticket ticket);
/* Fatal where an MPI call failed: with the transport gone there is nobody to agree with. */
void lap_comm_check(lap_comm *comm, int result, const char *what);

#endif
