/* mpi_ending SCENARIO: a job that ends in one of the ways in which jobs end; the test looks at what
 * mpirun returns and prints. In all of them rank 1 is the one that differs. */
#include <assert.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
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

/* Rank 1 waits for something else than the others do. */
static void wait_for_each_other(lap_comm *comm) {
  const lap_group group = lap_group_of_all(comm);
  static char bytes[8];
  lap_exchange exchange = {.tag = group.index == 1 ? LAP_TAG_SHARDS : LAP_TAG_GATHER,
                           .what = group.index == 1 ? "another exchange" : "the first exchange"};
  list_bytes(&group, bytes, &exchange);
  lap_comm_run_exchange(comm, &exchange);
  lap_exchange_release(&exchange);
}

static void sleep_seconds(double seconds) { usleep((useconds_t)(seconds * 1e6)); }

/* A child of rank 1 stops ranks from `first` on for so long, lets them run for so long, and so on.
 */
static void stop_again_and_again(lap_comm *comm, int first, double stopped, double running,
                                 int times) {
  const pid_t mine = getpid();
  pid_t pids[8];
  const int ranks = lap_comm_size(comm);
  lap_gather_all(comm, &mine, sizeof mine, pids);
  const pid_t child = lap_comm_rank(comm) == 1 ? fork() : -1;
  if (child == 0) {
    for (int i = 0; i < times; ++i) {
      sleep_seconds(running);
      for (int rank = first; rank < ranks; ++rank) kill(pids[rank], SIGSTOP);
      sleep_seconds(stopped);
      for (int rank = first; rank < ranks; ++rank) kill(pids[rank], SIGCONT);
    }
    _exit(0);
  }
  if (child > 0) waitpid(child, NULL, 0);
  lap_barrier(comm);
  if (lap_comm_rank(comm) == 0) fprintf(stderr, "stopped %d times and resumed\n", times);
}

/* Rank 1 computes for longer than the watchdog waits, while the others wait for it. */
static void compute(lap_comm *comm) {
  volatile double sum = 0;
  const double end = lap_clock_seconds() + 5;
  while (lap_comm_rank(comm) == 1 && lap_clock_seconds() < end) sum += 1;
  assert(sum >= 0); /* read, for compilers that count reads */
  lap_barrier(comm);
  if (lap_comm_rank(comm) == 0) fprintf(stderr, "waited for a slow rank\n");
}

/* What ranks send that have nothing to say to each other. */
static void be_idle(lap_comm *comm) {
  const lap_traffic before = *lap_comm_traffic(comm);
  const int64_t beats = lap_comm_heartbeat_bytes(comm);
  const double start = lap_clock_seconds();
  lap_comm_set_watchdog(comm, 20);
  sleep(3);
  const int64_t bytes = lap_comm_heartbeat_bytes(comm) - beats;
  const bool apart = memcmp(lap_comm_traffic(comm), &before, sizeof before) == 0;
  fprintf(stderr, "rank %d of %d sent %.0f bytes of heartbeats a second, counted %s\n",
          lap_comm_rank(comm), lap_comm_size(comm), (double)bytes / (lap_clock_seconds() - start),
          apart ? "apart" : "as traffic");
}

/* Rank 1 reads what nobody writes. */
static void read_for_ever(void) {
  int ends[2];
  char byte;
  if (pipe(ends) == 0 && read(ends[0], &byte, 1) == 1) fprintf(stderr, "read something\n");
}

/* Rank 1 is in state D, as with a disk that does not answer: until its child ends, in Linux. */
static void wait_for_a_disk(lap_comm *comm) {
  if (lap_comm_rank(comm) == 1) {
    // cppcheck-suppress vforkCalled ; how it waits is the point
    const pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (child == 0) {
      sleep(5); /* NOLINT(clang-analyzer-unix.Vfork) */
      _exit(0);
    }
  }
  lap_barrier(comm);
  if (lap_comm_rank(comm) == 0) fprintf(stderr, "the disk has answered\n");
}

static void *wait_beside(void *comm) {
  wait_for_a_disk(lap_comm_beside(comm));
  return NULL;
}

/* The same of another thread, for which the main threads of all ranks wait. */
static void wait_for_who_waits_for_a_disk(lap_comm *comm) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, wait_beside, comm) != 0) return;
  lap_comm_set_waits_beside(comm, true);
  pthread_join(thread, NULL);
  lap_comm_set_waits_beside(comm, false);
}

static void *meet_beside(void *comm) {
  for (int i = 0; i < 10; ++i) {
    sleep_seconds(0.7);
    lap_barrier(lap_comm_beside(comm));
  }
  return NULL;
}

/* Rank 1 reads what nobody writes, while its other thread gets on. */
static void read_while_others_meet(lap_comm *comm) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, meet_beside, comm) != 0) return;
  if (lap_comm_rank(comm) == 1) read_for_ever();
  lap_barrier(comm);
  pthread_join(thread, NULL);
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
  sleep_seconds(0.4); /* until all have heard of that */
  lap_barrier(comm);
  if (odd && strcmp(scenario, "abort") == 0) lap_comm_abort(comm, LAP_DATA, "gives up");
  if (odd && strcmp(scenario, "exit") == 0) _exit(5);
  if (odd && strcmp(scenario, "kill") == 0) raise(SIGKILL);
  if (odd && strcmp(scenario, "stop") == 0) raise(SIGSTOP);
  if (strcmp(scenario, "mismatch") == 0) different_counts(comm);
  if (strcmp(scenario, "deadlock") == 0) wait_for_each_other(comm);
  if (strcmp(scenario, "suspend") == 0) stop_again_and_again(comm, 0, 4, 0.5, 1);
  if (strcmp(scenario, "pulses") == 0) stop_again_and_again(comm, 1, 0.9, 0.1, 6);
  if (strcmp(scenario, "compute") == 0) compute(comm);
  if (odd && strcmp(scenario, "read") == 0) read_for_ever();
  if (strcmp(scenario, "idle") == 0) be_idle(comm);
  if (strcmp(scenario, "disk") == 0) wait_for_a_disk(comm);
  if (strcmp(scenario, "read_beside") == 0) read_while_others_meet(comm);
  if (strcmp(scenario, "disk_beside") == 0) wait_for_who_waits_for_a_disk(comm);
  if (strcmp(scenario, "damage") == 0) damage(comm, true);
  if (strcmp(scenario, "damage_unseen") == 0) damage(comm, false);
  lap_barrier(comm);
  if (odd && strcmp(scenario, "stop_at_end") == 0) raise(SIGSTOP);
  lap_comm_finish(comm);
  return strcmp(scenario, "stopped_early") == 0 ? LAP_STOPPED : 0;
}
