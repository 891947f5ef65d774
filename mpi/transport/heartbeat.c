#include "mpi/transport/heartbeat.h"

#include <math.h>

static bool is_child(const lap_heartbeat *heartbeat, const lap_heartbeat_peer *peer) {
  return peer->rank > heartbeat->rank;
}

lap_heartbeat lap_heartbeat_begin(int rank, int size) {
  lap_heartbeat h = {.rank = rank, .size = size};
  if (rank > 0) h.peer[h.count++].rank = (rank - 1) / 2;
  for (int child = 1; child <= 2; ++child)
    if (2 * rank + child < size) h.peer[h.count++].rank = 2 * rank + child;
  return h;
}

double lap_heartbeat_interval(double watchdog_seconds) {
  static const double shortest = 0.05, longest = 5, share = 64;
  return fmin(fmax(watchdog_seconds / share, shortest), longest);
}

double lap_heartbeat_first_limit(double watchdog_seconds) { return 3.0 / 4 * watchdog_seconds; }

/* Waking up once takes less than the first; the second is several times what the heartbeat of a
 * directory's lock takes, which has used a millisecond after one or two minutes. */
double lap_heartbeat_least_movement(double standstill) {
  static const double once = 1e-3, each_second = 1e-4;
  return once + each_second * standstill;
}

void lap_heartbeat_pass(lap_heartbeat *h, double seconds) {
  h->standstill += seconds;
  for (int i = 0; i < h->count; ++i) {
    h->peer[i].silence += seconds;
    h->peer[i].beat.standstill += seconds;
  }
}

void lap_heartbeat_hear(lap_heartbeat *h, int peer, const lap_beat *beat) {
  h->peer[peer].silence = 0;
  h->peer[peer].beat = *beat;
}

double lap_heartbeat_standstill(const lap_heartbeat *h) {
  double shortest = h->standstill;
  for (int i = 0; i < h->count; ++i)
    if (is_child(h, &h->peer[i])) shortest = fmin(shortest, h->peer[i].beat.standstill);
  return shortest;
}

static double patience_with(const lap_heartbeat *h, const lap_heartbeat_peer *peer,
                            double watchdog_seconds) {
  static const double second_child_seconds = 2;
  if (is_child(h, peer)) return lap_heartbeat_first_limit(watchdog_seconds);
  return watchdog_seconds + (h->rank % 2 ? 0 : second_child_seconds);
}

int lap_heartbeat_silent(const lap_heartbeat *h, double watchdog_seconds) {
  for (int i = 0; i < h->count; ++i) {
    const lap_heartbeat_peer *peer = &h->peer[i];
    const double patience = patience_with(h, peer, watchdog_seconds);
    /* Its watchdog may be another for a moment. */
    if (!peer->beat.last && peer->silence > fmax(patience, 3 * peer->beat.interval)) return i;
  }
  return -1;
}

bool lap_heartbeat_all_left(const lap_heartbeat *h) {
  for (int i = 0; i < h->count; ++i)
    if (!h->peer[i].beat.last) return false;
  return true;
}
