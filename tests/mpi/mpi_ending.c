/* mpi_ending SCENARIO: a job that ends in one of the ways in which jobs end; the test looks at what
 * mpirun returns and prints. In all of them rank 1 is the one that differs. */
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/launcher.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/exchange.h"

static void different_counts(lap_comm *comm) {
  int64_t out = 0, in;
  const int rank = lap_comm_rank(comm);
  lap_exchange exchange = {.tag = LAP_TAG_AGREE, .what = "a test"};
  lap_exchange_send(&exchange, 1 - rank, &out, rank == 1 ? 4 : 8);
  lap_exchange_receive(&exchange, 1 - rank, &in, 8);
  lap_comm_run_exchange(comm, &exchange);
  lap_exchange_release(&exchange);
}

/* Links with --wrap=MPI_Isend. While `damaging`, what leaves of messages of this many bytes is a
 * copy with one bit changed, as by a bad network. */
enum { DAMAGED_BYTES = 100 * 1000 };
static bool damaging;
int __real_MPI_Isend(const void *bytes, int count, MPI_Datatype type, int to, int tag,
                     MPI_Comm comm, MPI_Request *request);
int __wrap_MPI_Isend(const void *bytes, int count, MPI_Datatype type, int to, int tag,
                     MPI_Comm comm, MPI_Request *request);
int __wrap_MPI_Isend(const void *bytes, int count, MPI_Datatype type, int to, int tag,
                     MPI_Comm comm, MPI_Request *request) {
  static char copy[DAMAGED_BYTES];
  if (damaging && count == DAMAGED_BYTES) {
    memcpy(copy, bytes, sizeof copy);
    copy[DAMAGED_BYTES / 3] ^= 1;
    bytes = copy;
  }
  return __real_MPI_Isend(bytes, count, type, to, tag, comm, request);
}

/* Rank 1 sends damaged bytes; without hashes nobody would see. */
static void damage(lap_comm *comm, bool hashes) {
  static char mine[DAMAGED_BYTES], all[4 * DAMAGED_BYTES];
  lap_comm_set_hashes(comm, hashes);
  lap_barrier(comm);
  damaging = lap_comm_rank(comm) == 1;
  lap_gather_all(comm, mine, sizeof mine, all);
  damaging = false;
  int wrong = 0;
  for (size_t i = 0; i < sizeof all; ++i) wrong += all[i] != 0;
  if (lap_comm_rank(comm) == 0) fprintf(stderr, "%d bytes are wrong\n", wrong);
}

static void list_bytes(const lap_group *group, char *bytes, lap_exchange *exchange) {
  for (int step = 1; step < group->size; ++step) {
    const int from = lap_group_from(group, step);
    lap_exchange_send(exchange, lap_group_to(group, step), bytes + group->index, 1);
    lap_exchange_receive(exchange, from, bytes + from, 1);
  }
}

/* Of two exchanges in flight, rank 1 takes part in the second, which ends, and stops before the
 * first. */
static void stop_between_exchanges(lap_comm *comm) {
  const lap_group group = lap_group_of_all(comm);
  static char bytes[2][8];
  static lap_exchange first = {.tag = LAP_TAG_GATHER, .what = "the first exchange"};
  static lap_exchange second = {.tag = LAP_TAG_SHARDS, .what = "the second exchange"};
  list_bytes(&group, bytes[0], &first);
  list_bytes(&group, bytes[1], &second);
  lap_comm_ticket waiting = 0;
  if (group.index != 1) waiting = lap_comm_start_exchange(comm, &first);
  lap_comm_run_exchange(comm, &second);
  lap_exchange_release(&second);
  if (group.index == 1) raise(SIGSTOP);
  lap_comm_wait(comm, waiting);
}

/* Rank 1 suspends rank 0, which waits for it, for longer than the watchdog waits. */
static void suspend(lap_comm *comm) {
  const pid_t mine = getpid();
  pid_t pids[2];
  lap_gather_all(comm, &mine, sizeof mine, pids);
  lap_comm_set_watchdog(comm, 3);
  if (lap_comm_rank(comm) == 1) {
    usleep(500 * 1000); /* until rank 0 waits */
    kill(pids[0], SIGSTOP);
    sleep(5);
    kill(pids[0], SIGCONT);
    usleep(500 * 1000); /* until rank 0 has looked at its clock */
  }
  lap_barrier(comm);
  if (lap_comm_rank(comm) == 0) fprintf(stderr, "suspended and resumed\n");
}

/* Rank 1 starts MPI, by itself, and then does nothing, as one whose messages get lost. */
static void say_nothing(void) {
  MPI_Init(NULL, NULL);
  sleep(60);
}

int main(int argc, char **argv) {
  lap_comm *comm;
  lap_status status;
  if (argc != 2) return 1;
  const char *scenario = argv[1];
  if (lap_launcher_rank() == 1 && strcmp(scenario, "stop_before_start") == 0) raise(SIGSTOP);
  if (lap_launcher_rank() == 1 && strcmp(scenario, "silent") == 0) say_nothing();
  if (lap_comm_start(&comm, 2, &status) != LAP_OK) {
    fprintf(stderr, "%s\n", status.message);
    return (int)status.code;
  }
  const bool odd = lap_comm_rank(comm) == 1;
  lap_comm_set_activity(comm, "step 12, agree");
  lap_barrier(comm);
  if (odd && strcmp(scenario, "abort") == 0) lap_comm_abort(comm, LAP_DATA, "gives up");
  if (odd && strcmp(scenario, "exit") == 0) _exit(5);
  if (odd && strcmp(scenario, "kill") == 0) raise(SIGKILL);
  if (odd && strcmp(scenario, "stop") == 0) raise(SIGSTOP);
  if (strcmp(scenario, "mismatch") == 0) different_counts(comm);
  if (strcmp(scenario, "stop_between_exchanges") == 0) stop_between_exchanges(comm);
  if (strcmp(scenario, "suspend") == 0) suspend(comm);
  if (strcmp(scenario, "damage") == 0) damage(comm, true);
  if (strcmp(scenario, "damage_unseen") == 0) damage(comm, false);
  lap_barrier(comm);
  if (odd && strcmp(scenario, "stop_at_end") == 0) raise(SIGSTOP);
  lap_comm_finish(comm);
  return strcmp(scenario, "stopped_early") == 0 ? LAP_STOPPED : 0;
}
