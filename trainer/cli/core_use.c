#include "trainer/cli/core_use.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"

typedef struct {
  int cores, bound_cores;
  double load;
} rank_facts;

static rank_facts look(void) {
  cpu_set_t set;
  double load;
  const int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
  return (rank_facts){
      .cores = cores,
      .bound_cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : cores,
      .load = getloadavg(&load, 1) == 1 ? load : 0};
}

/* The numbers of one node. */
static lap_core_use use_of_node(lap_comm *comm, const rank_facts *all, int node) {
  lap_core_use use = {.cores = 0};
  for (int rank = 0; rank < lap_comm_size(comm); ++rank) {
    if (lap_comm_node(comm, rank) != node) continue;
    if (use.node_ranks++ == 0) {
      use.host = lap_comm_host(comm, rank);
      use.cores = all[rank].cores;
      use.bound_cores = all[rank].bound_cores;
    }
    if (all[rank].bound_cores < use.bound_cores) use.bound_cores = all[rank].bound_cores;
    if (all[rank].load > use.load_average) use.load_average = all[rank].load;
  }
  return use;
}

static double ranks_a_core(const lap_core_use *use) {
  return (double)use->node_ranks / (use->cores > 0 ? use->cores : 1);
}

lap_core_use lap_core_use_of(lap_comm *comm, int threads) {
  const int ranks = lap_comm_size(comm), nodes = lap_comm_nodes(comm);
  const rank_facts mine = look();
  rank_facts *all = lap_allocate(ranks, sizeof *all);
  lap_gather_all(comm, &mine, sizeof mine, all);
  lap_core_use worst = use_of_node(comm, all, 0);
  for (int node = 1; node < nodes; ++node) {
    const lap_core_use use = use_of_node(comm, all, node);
    if (ranks_a_core(&use) > ranks_a_core(&worst)) worst = use;
  }
  free(all);
  worst.nodes = nodes;
  worst.ranks = ranks;
  worst.threads = threads;
  return worst;
}

void lap_core_use_print(const lap_core_use *use, char *text, size_t size) {
  char job[96] = "";
  if (use->nodes > 1)
    snprintf(job, sizeof job, " on %d nodes; %d of the ranks", use->nodes, use->node_ranks);
  snprintf(text, size, "%d rank%s x %d thread%s%s %s the %d core%s of %s; load %.1f", use->ranks,
           use->ranks == 1 ? "" : "s", use->threads, use->threads == 1 ? "" : "s", job,
           use->node_ranks * use->threads > 1 ? "share" : "on", use->cores,
           use->cores == 1 ? "" : "s", use->host, use->load_average);
}
