/* mpi_ending SCENARIO: a job that ends in one of the ways in which jobs end; the test looks at what
 * mpirun returns and prints. In all of them rank 1 is the odd one. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mpi/agree.h"
#include "mpi/exchange.h"

static void different_counts(lap_comm *comm) {
  int64_t out = 0, in;
  const int rank = lap_comm_rank(comm);
  lap_exchange exchange = {.round = LAP_ROUND_AGREE, .what = "a test"};
  lap_exchange_send(&exchange, 1 - rank, &out, rank == 1 ? 4 : 8);
  lap_exchange_receive(&exchange, 1 - rank, &in, 8);
  lap_exchange_finish(comm, &exchange);
}

int main(int argc, char **argv) {
  lap_comm *comm;
  lap_status status;
  if (argc != 2 || lap_comm_start(&comm, &status) != LAP_OK) return 1;
  const char *scenario = argv[1];
  const bool odd = lap_comm_rank(comm) == 1;
  lap_comm_set_watchdog(comm, 2);
  lap_comm_set_activity(comm, "step 12, agree");
  lap_barrier(comm);
  if (odd && strcmp(scenario, "abort") == 0) lap_comm_abort(comm, LAP_DATA, "gives up");
  if (odd && strcmp(scenario, "exit") == 0) _exit(5);
  if (odd && strcmp(scenario, "kill") == 0) raise(SIGKILL);
  if (odd && strcmp(scenario, "stop") == 0) raise(SIGSTOP);
  if (strcmp(scenario, "mismatch") == 0) different_counts(comm);
  lap_barrier(comm);
  if (odd && strcmp(scenario, "stop_at_end") == 0) raise(SIGSTOP);
  lap_comm_finish(comm);
  return strcmp(scenario, "stopped_early") == 0 ? LAP_STOPPED : 0;
}
