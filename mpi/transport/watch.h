/* watch: whether all ranks live and move (private to mpi/transport).
 *
 * The communication thread looks again and again: it sends heartbeats, hears those of its peers
 * (heartbeat.h), and asks Linux what the other threads of its own process do. A rank moves while
 * its threads use processor time, more than helpers that wake up now and then, or while exchanges
 * of the main thread begin and end. The job has to end where
 *
 *   a peer is silent          its process is stopped, dead or cut off: it cannot speak for itself
 *   this rank stands still    in a system call, and does not wait for other ranks
 *   all ranks stand still     as rank 0 knows: they wait for each other, or messages are lost
 *
 * A slow rank is none of these, and ends nothing, however long others wait for it. Nor does one in
 * uninterruptible I/O (state D), or with output that nobody reads; it is named in a warning. Time
 * in which this process was itself suspended does not count, nor does a wait that the rank has
 * announced (lap_comm_set_patience). An endless loop is not found.
 *
 * Who ends the job says why, and tells the others to say nothing.
 *
 * A request to stop (core/stop.h) that reaches one rank is heard by all with the next heartbeat,
 * which is sent at once.
 */
#ifndef LAP_MPI_TRANSPORT_WATCH_H
#define LAP_MPI_TRANSPORT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "mpi/transport/message.h"

typedef struct lap_watch lap_watch;

/* What the communicator knows, at each look. */
typedef struct {
  double watchdog_seconds;
  double patience_seconds; /* that this rank may stand still on purpose; 0: none */
  uint64_t exchanges;      /* begun and completed by the main thread: a new number is a movement */
  bool waiting;            /* the main thread waits for an exchange, or for a thread that does */
  bool leaving;            /* this rank has nothing more to do but to end */
  const char *activity;    /* what the main thread is doing */
} lap_watch_facts;

/* All by the communication thread, `messages` outliving the watch. */
lap_watch *lap_watch_begin(lap_messages *messages);
/* NULL, or why the job has to end with LAP_WATCHDOG, to be freed. Cheap where it was called a
 * moment ago. */
char *lap_watch_look(lap_watch *watch, const lap_watch_facts *facts);
/* Once leaving: whether all peers have left too, so that MPI may end. */
bool lap_watch_has_left(lap_watch *watch);
/* Bytes of heartbeats that this rank has sent. */
int64_t lap_watch_sent_bytes(const lap_watch *watch);
void lap_watch_end(lap_watch *watch);

#endif
