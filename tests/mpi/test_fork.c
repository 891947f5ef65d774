/* fork: a child uses the communicator of a process whose communication thread is at work. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "mpi/transport/agree.h"
#include "world.h"

enum { CHILDREN = 200, PATIENCE_SECONDS = 20 };

typedef struct {
  lap_comm *comm;
  atomic_bool stop;
} user;

/* Has the communicator locked for much of the time, as its thread has now and then. */
static void *use(void *context) {
  user *u = context;
  while (!atomic_load(&u->stop)) lap_comm_set_activity(u->comm, "being used");
  return NULL;
}

/* The exit code of a child, -1 where it does not end. */
static int code_of(pid_t child) {
  const struct timespec pause = {.tv_nsec = 1000000};
  for (int i = 0; i < 1000 * PATIENCE_SECONDS; ++i) {
    int how;
    if (waitpid(child, &how, WNOHANG) == child) return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    nanosleep(&pause, NULL);
  }
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return -1;
}

static void a_child_uses_the_communicator(void **state) {
  user u = {.comm = *state};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, use, &u), 0);
  int ended = 0;
  for (int i = 0; i < CHILDREN && ended == i; ++i) {
    const pid_t child = lap_comm_fork(u.comm);
    if (child == 0) {
      lap_status status = {.code = LAP_DATA};
      lap_comm_set_activity(u.comm, "a child");
      _exit(lap_agree(u.comm, &status) == LAP_DATA ? 7 : 1);
    }
    ended += code_of(child) == 7;
  }
  atomic_store(&u.stop, true);
  pthread_join(thread, NULL);
  assert_int_equal(ended, CHILDREN);
  lap_status status = {.code = LAP_OK};
  assert_int_equal(lap_agree(u.comm, &status), LAP_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_child_uses_the_communicator)};
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
