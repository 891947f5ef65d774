/* core_use: what is said of threads, ranks and cores. Linked so that the job is made up (--wrap).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mpi/transport/agree.h"
#include "trainer/cli/core_use.h"

/* --- a job that is made up --- */

enum { MOST_RANKS = 6 };
static struct { int ranks, node[MOST_RANKS], cores[MOST_RANKS]; } job;

int __wrap_lap_comm_size(const lap_comm *comm);
int __wrap_lap_comm_node(const lap_comm *comm, int rank);
const char *__wrap_lap_comm_host(const lap_comm *comm, int rank);
void __wrap_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all);

int __wrap_lap_comm_size(const lap_comm *comm) {
  (void)comm;
  return job.ranks;
}

int __wrap_lap_comm_node(const lap_comm *comm, int rank) {
  (void)comm;
  return job.node[rank];
}

const char *__wrap_lap_comm_host(const lap_comm *comm, int rank) {
  static const char *const hosts[] = {"north", "south", "west"};
  (void)comm;
  return hosts[job.node[rank]];
}

/* All ranks see what this one sees, but for the cores, which come first. */
void __wrap_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all) {
  (void)comm;
  for (int rank = 0; rank < job.ranks; ++rank) {
    memcpy((char *)all + (size_t)rank * count, mine, count);
    memcpy((char *)all + (size_t)rank * count, &job.cores[rank], sizeof job.cores[rank]);
  }
}

/* --- what is said --- */

static void expect(int threads, const char *text) {
  const lap_core_use use = lap_core_use_of(NULL, threads);
  char said[256];
  lap_core_use_print(&use, said, sizeof said);
  if (strncmp(said, text, strlen(text)) != 0) fail_msg("\"%s\" instead of \"%s\"", said, text);
}

static void one_node_is_reported(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  job.ranks = 1;
  job.cores[0] = 1;
  expect(1, "1 rank x 1 thread on the 1 core of north; load ");
  job.cores[0] = job.cores[1] = 16;
  expect(4, "1 rank x 4 threads share the 16 cores of north; load ");
  job.ranks = 2;
  expect(1, "2 ranks x 1 thread share the 16 cores of north; load ");
}

static void the_most_crowded_node_is_reported(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  job.ranks = 6;
  const int node[MOST_RANKS] = {0, 0, 1, 1, 1, 2};
  memcpy(job.node, node, sizeof node);
  for (int rank = 0; rank < MOST_RANKS; ++rank) job.cores[rank] = 8;
  expect(2, "6 ranks x 2 threads on 3 nodes; 3 of the ranks share the 8 cores of south; load ");
  job.cores[5] = 2; /* one rank on two cores is more than three on eight */
  expect(2, "6 ranks x 2 threads on 3 nodes; 1 of the ranks share the 2 cores of west; load ");
}

/* mpirun --map-by node: the last rank is not on the last node. */
static void nodes_that_get_ranks_in_turn_are_all_counted(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  job.ranks = 5;
  const int node[MOST_RANKS] = {0, 1, 0, 1, 0}, cores[MOST_RANKS] = {16, 2, 16, 2, 16};
  memcpy(job.node, node, sizeof node);
  memcpy(job.cores, cores, sizeof cores);
  expect(2, "5 ranks x 2 threads on 2 nodes; 2 of the ranks share the 2 cores of south; load ");
}

static void the_cores_are_those_of_the_system(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  job.ranks = 1;
  job.cores[0] = (int)sysconf(_SC_NPROCESSORS_ONLN);
  const lap_core_use use = lap_core_use_of(NULL, 3);
  assert_in_range(use.bound_cores, 1, sysconf(_SC_NPROCESSORS_ONLN));
  assert_int_equal(use.threads, 3);
  assert_int_equal(use.node_ranks, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_node_is_reported),
      cmocka_unit_test(the_most_crowded_node_is_reported),
      cmocka_unit_test(nodes_that_get_ranks_in_turn_are_all_counted),
      cmocka_unit_test(the_cores_are_those_of_the_system),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
