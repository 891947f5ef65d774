/* core_use: how many threads of how many ranks share how many cores. */
#ifndef LAP_TRAINER_CLI_CORE_USE_H
#define LAP_TRAINER_CLI_CORE_USE_H

#include <stddef.h>

#include "mpi/transport/communicator.h"

/* The numbers of the node where most threads come to a core. */
typedef struct {
  int nodes, ranks;    /* of the job */
  int threads;         /* of a rank */
  const char *host;    /* of the node */
  int node_ranks;      /* on the node */
  int cores;           /* of the node */
  int bound_cores;     /* the fewest that one of its ranks may run on */
  double load_average; /* processes that wanted a core of it in the last minute, ours or not */
} lap_core_use;

/* Collective. `threads` is the same on all ranks. */
lap_core_use lap_core_use_of(lap_comm *comm, int threads);

/* "2 ranks x 4 threads share the 16 cores of a; load 0.3", or, of several nodes, "8 ranks x 4
 * threads on 4 nodes; 2 of the ranks share the 16 cores of a; load 0.3". */
void lap_core_use_print(const lap_core_use *use, char *text, size_t size);

#endif
