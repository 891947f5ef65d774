/* exchange: a list of messages between ranks that move at once. For mpi/, and for
 * trainer/state/checksums.h, whose checksums go from each owner to the ranks with copies.
 *
 * Every collective here is one or more exchanges in which all ranks know, by formula or from an
 * earlier exchange, which rank sends how much to which. Each rank waits directly for every rank it
 * needs, so that a wait names the rank that is stuck, and not a neighbour that waits for it.
 * communicator.h starts exchanges and waits for them.
 */
#ifndef LAP_MPI_TRANSPORT_EXCHANGE_H
#define LAP_MPI_TRANSPORT_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mpi/traffic/traffic.h"

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

/* Exchanges of different tags never match, so that ranks which do not agree on what they are doing
 * wait for the watchdog instead of reading each other's numbers. */
typedef enum {
  LAP_TAG_START,
  LAP_TAG_END,
  LAP_TAG_REDUCE,
  LAP_TAG_GATHER,
  LAP_TAG_SCALARS,
  LAP_TAG_AGREE,
  LAP_TAG_BROADCAST,
  LAP_TAG_RANGES,
  LAP_TAG_SHARDS,
  LAP_TAG_BEAT, /* of beats.h */
  LAP_TAGS      /* how many; as many more are those of exchanges beside (communicator.h) */
} lap_exchange_tag;

/* Zero-initialised but for the first three; released with lap_exchange_release. */
typedef struct {
  lap_exchange_tag tag;
  lap_traffic_kind kind;
  const char *what; /* for the watchdog: "reduce gradients" */
  lap_outgoing *outgoing;
  lap_incoming *incoming;
  int outgoing_count, outgoing_capacity, incoming_count, incoming_capacity;
} lap_exchange;

/* Adds a message to or from another rank. Both sides must list the same counts in the same order; 0
 * bytes are no message. */
void lap_exchange_send(lap_exchange *exchange, int to, const void *bytes, size_t count);
void lap_exchange_receive(lap_exchange *exchange, int from, void *bytes, size_t count);
/* Whether what has arrived has this XXH3, its sender's. */
bool lap_incoming_is_whole(const lap_incoming *message, uint64_t hash);
/* Forgets the messages, for the next ones. */
void lap_exchange_clear(lap_exchange *exchange);
void lap_exchange_release(lap_exchange *exchange);

#endif
