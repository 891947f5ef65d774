#include "mpi/transport/link_rate.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/exchange.h"

enum { NEIGHBOURS = 4, LARGE = 4 << 20, SMALL = 8, LARGE_TIMES = 64, SMALL_TIMES = 2000 };

/* Ranks `distance` apart exchange, forwards and backwards; both know it by formula. Where this one
 * has no peer at that distance it has no message. */
typedef struct {
  lap_comm *comm;
  bool between;
  unsigned char *out, *in; /* [NEIGHBOURS, LARGE] */
} link_measure;

static bool are_linked(const link_measure *m, int a, int b) {
  return (lap_comm_node(m->comm, a) != lap_comm_node(m->comm, b)) == m->between;
}

/* The distances in rank order that are tried begin where most ranks have a peer: whether nodes are
 * filled one after another or in turn. All ranks find the same. */
static int first_distance(const link_measure *m) {
  const int size = lap_comm_size(m->comm);
  int first = 1, most = 0;
  for (int distance = 1; distance < size && most < size; ++distance) {
    int linked = 0;
    for (int rank = 0; rank < size; ++rank) linked += are_linked(m, rank, (rank + distance) % size);
    if (linked <= most) continue;
    most = linked;
    first = distance;
  }
  return first;
}

static int list_messages(const link_measure *m, int first, size_t bytes, lap_exchange *exchange) {
  const int rank = lap_comm_rank(m->comm), size = lap_comm_size(m->comm);
  int peers = 0;
  for (int i = 0; i < NEIGHBOURS && first + i < size; ++i) {
    const int to = (rank + first + i) % size, from = (rank + size - (first + i)) % size;
    if (are_linked(m, rank, to)) {
      lap_exchange_send(exchange, to, m->out + (size_t)i * LARGE, bytes);
      ++peers;
    }
    if (are_linked(m, rank, from))
      lap_exchange_receive(exchange, from, m->in + (size_t)i * LARGE, bytes);
  }
  return peers;
}

/* The seconds of the shortest of some exchanges. Ranks stop together: one of them, which decides by
 * the clock, tells the others every so often. */
static double shortest_exchange(const link_measure *m, int first, size_t bytes, int most,
                                double seconds, int *peers) {
  double shortest = 0;
  const double start = lap_clock_seconds();
  const int stride = most / 16;
  for (int i = 0; i < most; ++i) {
    lap_exchange exchange = {.tag = LAP_TAG_AGREE, .what = "measure links"};
    *peers = list_messages(m, first, bytes, &exchange);
    const double before = lap_clock_seconds();
    lap_comm_run_exchange(m->comm, &exchange);
    lap_exchange_release(&exchange);
    const double taken = lap_clock_seconds() - before;
    if (i == 0 || taken < shortest) shortest = taken;
    if (i % stride != stride - 1) continue;
    int64_t smallest, largest;
    lap_agree_range(m->comm, lap_clock_seconds() - start > seconds, &smallest, &largest);
    if (largest) break;
  }
  return shortest;
}

void lap_measure_link(lap_comm *comm, bool between, double seconds, lap_link_rate *rate) {
  *rate = (lap_link_rate){0};
  const int ranks = lap_comm_size(comm);
  if (ranks == 1 || (between && lap_comm_nodes(comm) == 1)) return;
  link_measure m = {.comm = comm, .between = between};
  const int first = first_distance(&m);
  m.out = lap_allocate((int64_t)NEIGHBOURS * LARGE, 1);
  m.in = lap_allocate((int64_t)NEIGHBOURS * LARGE, 1);
  const double small = shortest_exchange(&m, first, SMALL, SMALL_TIMES, seconds / 2, &rate->peers);
  const double large = shortest_exchange(&m, first, LARGE, LARGE_TIMES, seconds / 2, &rate->peers);
  if (rate->peers) {
    rate->latency_seconds = small;
    rate->bytes_per_second = (double)rate->peers * LARGE / large;
  }
  free(m.out);
  free(m.in);
}
