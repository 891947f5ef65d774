/* heartbeat: who listens to whom, and when silence or standstill means an end (private to
 * mpi/transport).
 *
 * The ranks form a tree: rank r has the parent (r - 1)/2 and the children 2r + 1 and 2r + 2. Each
 * sends a beat of LAP_BEAT_BYTES to these three every lap_heartbeat_interval, whatever the number
 * of ranks. A beat to the parent says how long ago a rank of the sender's subtree has last moved,
 * so that rank 0 knows it of all. Formulas without clock and messages: the caller says how time
 * passes (watch.h).
 */
#ifndef LAP_MPI_TRANSPORT_HEARTBEAT_H
#define LAP_MPI_TRANSPORT_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

enum { LAP_HEARTBEAT_PEERS = 3, LAP_ACTIVITY_BYTES = 100 };

typedef struct {
  double standstill; /* seconds since a rank of the sender's subtree moved */
  double interval;   /* until the next beat, at most */
  uint8_t stop;      /* a rank has been asked to stop */
  uint8_t last;      /* the sender has nothing more to say */
  uint8_t waiting;   /* for other ranks */
  uint8_t ending;    /* a rank is ending the job, and has said why */
  char activity[LAP_ACTIVITY_BYTES];
} lap_beat;
enum { LAP_BEAT_BYTES = sizeof(lap_beat) };

typedef struct {
  int rank;
  double silence; /* seconds since its last beat */
  lap_beat beat;  /* its last one */
} lap_heartbeat_peer;

typedef struct {
  int rank, size, count; /* of peers */
  lap_heartbeat_peer peer[LAP_HEARTBEAT_PEERS];
  double standstill; /* seconds since this rank moved */
} lap_heartbeat;

lap_heartbeat lap_heartbeat_begin(int rank, int size);

/* Seconds between beats: a 64th of the watchdog's, at least 0.05, at most 5. */
double lap_heartbeat_interval(double watchdog_seconds);
/* Seconds after which the first of those who may end the job for a reason does: some time before
 * the others, so that one message is printed and names the culprit. */
double lap_heartbeat_first_limit(double watchdog_seconds);

/* Seconds of processor time since a rank last moved that are a movement again, `standstill` seconds
 * later: more than its helpers take, which wake up now and then whatever the rank does. */
double lap_heartbeat_least_movement(double standstill);

void lap_heartbeat_pass(lap_heartbeat *heartbeat, double seconds);
void lap_heartbeat_hear(lap_heartbeat *heartbeat, int peer, const lap_beat *beat);
/* Since any rank of this one's subtree moved: for rank 0, any rank of the job. */
double lap_heartbeat_standstill(const lap_heartbeat *heartbeat);
/* The peer that has been silent for too long, or -1. A rank is missed by its parent at the first
 * limit, by its first child at the watchdog's time, and by its second child two seconds later: so
 * one of them speaks, unless it is gone too. */
int lap_heartbeat_silent(const lap_heartbeat *heartbeat, double watchdog_seconds);
/* Whether every peer has said its last. */
bool lap_heartbeat_all_left(const lap_heartbeat *heartbeat);

#endif
