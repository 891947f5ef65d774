#include "mpi/transport/beats.h"

#include <mpi.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/transport/exchange.h"

typedef struct {
  int rank;
  MPI_Request receiving, sending;
  lap_beat in, out;
} line;

struct lap_beats {
  int count;
  line line[LAP_HEARTBEAT_PEERS];
  int64_t sent_bytes;
};

static void listen(line *l) {
  MPI_Irecv(&l->in, LAP_BEAT_BYTES, MPI_BYTE, l->rank, LAP_TAG_BEAT, MPI_COMM_WORLD, &l->receiving);
}

lap_beats *lap_beats_open(const lap_heartbeat *heartbeat) {
  lap_beats *beats = lap_allocate(1, sizeof *beats);
  beats->count = heartbeat->count;
  for (int i = 0; i < beats->count; ++i) {
    line *l = &beats->line[i];
    *l = (line){.rank = heartbeat->peer[i].rank, .sending = MPI_REQUEST_NULL};
    listen(l);
  }
  return beats;
}

bool lap_beats_take(lap_beats *beats, int peer, lap_beat *beat) {
  line *l = &beats->line[peer];
  int complete = 0;
  if (l->receiving == MPI_REQUEST_NULL ||
      MPI_Test(&l->receiving, &complete, MPI_STATUS_IGNORE) != MPI_SUCCESS || !complete)
    return false;
  *beat = l->in;
  beat->activity[sizeof beat->activity - 1] = '\0';
  if (!beat->last) listen(l);
  /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): MPI_Test completes it, some time later */
  return true;
}

static bool is_sent(line *l) {
  int complete = 0;
  return MPI_Test(&l->sending, &complete, MPI_STATUS_IGNORE) == MPI_SUCCESS && complete;
}

bool lap_beats_send(lap_beats *beats, int peer, const lap_beat *beat) {
  line *l = &beats->line[peer];
  if (!is_sent(l)) return false;
  l->out = *beat;
  beats->sent_bytes += LAP_BEAT_BYTES;
  /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): MPI_Test completes it, some time later */
  return MPI_Isend(&l->out, LAP_BEAT_BYTES, MPI_BYTE, l->rank, LAP_TAG_BEAT, MPI_COMM_WORLD,
                   &l->sending) == MPI_SUCCESS;
}

bool lap_beats_are_sent(lap_beats *beats) {
  bool sent = true;
  for (int i = 0; i < beats->count; ++i) sent = is_sent(&beats->line[i]) && sent;
  return sent;
}

int64_t lap_beats_sent_bytes(const lap_beats *beats) { return beats->sent_bytes; }

void lap_beats_close(lap_beats *beats) { free(beats); }
