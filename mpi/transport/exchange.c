#include "mpi/transport/exchange.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"

void lap_exchange_send(lap_exchange *exchange, int to, const void *bytes, size_t count) {
  if (count == 0) return;
  if (exchange->outgoing_count == exchange->outgoing_capacity) {
    exchange->outgoing_capacity = 2 * exchange->outgoing_capacity + 16;
    exchange->outgoing =
        lap_reallocate(exchange->outgoing, exchange->outgoing_capacity, sizeof *exchange->outgoing);
  }
  exchange->outgoing[exchange->outgoing_count++] = (lap_outgoing){bytes, count, to};
}

void lap_exchange_receive(lap_exchange *exchange, int from, void *bytes, size_t count) {
  if (count == 0) return;
  if (exchange->incoming_count == exchange->incoming_capacity) {
    exchange->incoming_capacity = 2 * exchange->incoming_capacity + 16;
    exchange->incoming =
        lap_reallocate(exchange->incoming, exchange->incoming_capacity, sizeof *exchange->incoming);
  }
  exchange->incoming[exchange->incoming_count++] = (lap_incoming){bytes, count, from};
}

bool lap_incoming_is_whole(const lap_incoming *message, uint64_t hash) {
  return lap_xxh3(message->bytes, message->count) == hash;
}

void lap_exchange_clear(lap_exchange *exchange) {
  exchange->outgoing_count = exchange->incoming_count = 0;
}

void lap_exchange_release(lap_exchange *exchange) {
  free(exchange->outgoing);
  free(exchange->incoming);
  exchange->outgoing = NULL;
  exchange->incoming = NULL;
  exchange->outgoing_count = exchange->outgoing_capacity = 0;
  exchange->incoming_count = exchange->incoming_capacity = 0;
}
