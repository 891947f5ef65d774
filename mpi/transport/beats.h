/* beats: the messages of heartbeats (private to mpi/transport).
 *
 * Small messages of one size to and from a few peers, beside the exchanges and counted apart from
 * them. All calls by the communication thread.
 */
#ifndef LAP_MPI_TRANSPORT_BEATS_H
#define LAP_MPI_TRANSPORT_BEATS_H

#include <stdbool.h>
#include <stdint.h>

#include "mpi/transport/heartbeat.h"

typedef struct lap_beats lap_beats;

/* Listens to the peers. With no peers, MPI need not be there. */
lap_beats *lap_beats_open(const lap_heartbeat *heartbeat);
/* What a peer has sent, the oldest first; false where nothing more has come. What MPI says is wrong
 * with a peer shows as its silence. */
bool lap_beats_take(lap_beats *beats, int peer, lap_beat *beat);
/* False where the one before it has not gone yet. After a `last` beat nothing follows. */
bool lap_beats_send(lap_beats *beats, int peer, const lap_beat *beat);
/* Whether all that was sent has gone. */
bool lap_beats_are_sent(lap_beats *beats);
int64_t lap_beats_sent_bytes(const lap_beats *beats);
/* After the last beat from every peer, or where MPI is given up. */
void lap_beats_close(lap_beats *beats);

#endif
