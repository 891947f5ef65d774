/* link_rate: latency and bandwidth between ranks, through the same exchanges as training.
 */
#ifndef LAP_MPI_TRANSPORT_LINK_RATE_H
#define LAP_MPI_TRANSPORT_LINK_RATE_H

#include <stdbool.h>

#include "mpi/transport/communicator.h"

typedef struct {
  int peers;               /* that this rank exchanged with; 0: there are none */
  double latency_seconds;  /* of an exchange of 8-byte messages, the smallest seen */
  double bytes_per_second; /* that this rank sends while all send and receive, the best exchange */
} lap_link_rate;

/* Collective. All ranks at once exchange messages with a few neighbours in rank order, from the
 * distance on at which most ranks have one, on their own node, or, `between`, on other nodes, for
 * about `seconds` (the same on all ranks). */
void lap_measure_link(lap_comm *comm, bool between, double seconds, lap_link_rate *rate);

#endif
