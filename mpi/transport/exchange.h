/* exchange: one round of messages between ranks, the only job of mpi/ (private to mpi/).
 *
 * Every collective here is one or more rounds in which all ranks know, by formula or from an
 * earlier round, who sends how much to whom. A round lists its messages and runs as one job. Each
 * rank waits directly for every rank it needs, so that the watchdog names the one that is stuck and
 * not a neighbour that waits for it. Several rounds may be on their way at once; those of the same
 * kind between the same ranks match in the order in which they were started.
 */
#ifndef LAP_MPI_TRANSPORT_EXCHANGE_H
#define LAP_MPI_TRANSPORT_EXCHANGE_H

#include "mpi/transport/communicator.h"

typedef struct {
  const void *bytes;
  size_t count;
  int peer;
} lap_outgoing;

typedef struct {
  void *bytes;
  size_t count;
  int peer;
} lap_incoming;

/* Rounds of different kinds differ in tag, so that ranks which do not agree on what they are doing
 * wait for the watchdog instead of reading each other's numbers. */
typedef enum {
  LAP_ROUND_REDUCE = 1,
  LAP_ROUND_GATHER,
  LAP_ROUND_SCALARS,
  LAP_ROUND_AGREE,
  LAP_ROUND_BROADCAST,
  LAP_ROUND_RANGES,
  LAP_ROUND_SHARDS,
} lap_round;

/* Zero-initialised but for the first three; released with lap_exchange_release. */
typedef struct {
  lap_round round; /* also the tag */
  lap_traffic_kind kind;
  const char *what; /* for the watchdog: "reduce gradients" */
  lap_outgoing *outgoing;
  lap_incoming *incoming;
  int outgoing_count, outgoing_capacity, incoming_count, incoming_capacity;
} lap_exchange;

/* Adds a message. Both sides must list the same counts in the same order; 0 bytes are no message.
 */
void lap_exchange_send(lap_exchange *exchange, int to, const void *bytes, size_t count);
void lap_exchange_receive(lap_exchange *exchange, int from, void *bytes, size_t count);
/* Forgets the messages, for another round. */
void lap_exchange_clear(lap_exchange *exchange);
void lap_exchange_release(lap_exchange *exchange);

/* Collective. Starts the round, and returns at once; `exchange` and all bytes must live until the
 * ticket was waited for (lap_comm_wait). 0 where there are no messages: never waited for. */
lap_comm_ticket lap_exchange_start(lap_comm *comm, lap_exchange *exchange);
/* Collective. Starts it, waits, and releases it. */
void lap_exchange_finish(lap_comm *comm, lap_exchange *exchange);

#endif
