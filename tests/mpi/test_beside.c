/* beside: two threads of each rank are at exchanges of their own, which never match those of the
 * other. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "mpi/transport/agree.h"
#include "world.h"

enum { ROUNDS = 200, MOST_RANKS = 16 };

static int mistakes_of_rounds(lap_comm *comm, int begin) {
  const int rank = lap_comm_rank(comm), ranks = lap_comm_size(comm);
  int mistakes = 0;
  for (int i = 0; i < ROUNDS; ++i) {
    const int mine = begin + 1000 * rank + i;
    int all[MOST_RANKS];
    lap_gather_all(comm, &mine, sizeof mine, all);
    for (int r = 0; r < ranks; ++r) mistakes += all[r] != begin + 1000 * r + i;
  }
  return mistakes;
}

typedef struct {
  lap_comm *comm; /* of the other thread */
  atomic_bool may_start, done;
  int mistakes;
} other_thread;

static void *run_rounds(void *context) {
  other_thread *other = context;
  other->mistakes = mistakes_of_rounds(other->comm, 100000);
  return NULL;
}

static void both_threads_get_their_own_values(void **state) {
  lap_comm *comm = *state;
  other_thread other = {.comm = lap_comm_beside(comm)};
  assert_int_equal(lap_comm_rank(other.comm), lap_comm_rank(comm));
  assert_int_equal(lap_comm_size(other.comm), lap_comm_size(comm));
  assert_string_equal(lap_comm_host(other.comm, 0), lap_comm_host(comm, 0));
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run_rounds, &other), 0);
  const int mistakes = mistakes_of_rounds(comm, 500000);
  pthread_join(thread, NULL);
  assert_everywhere(comm, mistakes + other.mistakes);
}

static void *pass_a_barrier(void *context) {
  other_thread *other = context;
  while (!atomic_load(&other->may_start)) usleep(1000);
  lap_barrier(other->comm);
  atomic_store(&other->done, true);
  return NULL;
}

/* The last rank's other thread does not come, and no main thread has to wait for it. */
static void a_wait_of_one_thread_is_not_the_others(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm);
  const bool late = lap_comm_rank(comm) == ranks - 1;
  other_thread other = {.comm = lap_comm_beside(comm), .may_start = !late};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, pass_a_barrier, &other), 0);
  int mistakes = mistakes_of_rounds(comm, 0);
  mistakes += ranks > 1 && atomic_load(&other.done);
  lap_barrier(comm);
  atomic_store(&other.may_start, true);
  pthread_join(thread, NULL);
  assert_everywhere(comm, mistakes + !atomic_load(&other.done));
}

static void what_is_beside_is_counted_nowhere(void **state) {
  lap_comm *comm = *state;
  lap_comm_exposed_seconds(comm, true);
  const uint64_t sent = lap_traffic_total(lap_comm_traffic(comm));
  const uint64_t checks = lap_comm_check_bytes(comm);
  lap_gather_all_checks(lap_comm_beside(comm), &(int){7}, sizeof(int), (int[MOST_RANKS]){0});
  int mistakes = mistakes_of_rounds(lap_comm_beside(comm), 0);
  mistakes += lap_traffic_total(lap_comm_traffic(comm)) != sent;
  mistakes += lap_comm_check_bytes(comm) != checks;
  mistakes += lap_comm_exposed_seconds(comm, true) > 0;
  assert_everywhere(comm, mistakes);
}

/* Of settings that change between the exchanges of the main threads the others know nothing. */
static void hashes_of_the_one_are_not_those_of_the_other(void **state) {
  lap_comm *comm = *state;
  lap_comm_set_hashes(comm, lap_comm_rank(comm) % 2 == 0);
  const int mistakes = mistakes_of_rounds(lap_comm_beside(comm), 0);
  lap_comm_set_hashes(comm, true);
  assert_everywhere(comm, mistakes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_threads_get_their_own_values),
      cmocka_unit_test(a_wait_of_one_thread_is_not_the_others),
      cmocka_unit_test(what_is_beside_is_counted_nowhere),
      cmocka_unit_test(hashes_of_the_one_are_not_those_of_the_other),
  };
  return cmocka_run_group_tests_name("beside", tests, world_start, world_finish);
}
