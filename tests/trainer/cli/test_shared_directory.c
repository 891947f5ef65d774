/* shared_directory: ranks that do not see the same directory are found. Linked so that a rank soon
 * stops looking (--wrap). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "tests/scratch.h"
#include "trainer/cli/nonce.h"
#include "trainer/cli/shared_directory.h"

/* Of a rank of its own. */
static char *own;

static int start(void **state) {
  own = scratch_create();
  return world_start(state);
}

static int finish(void **state) {
  scratch_remove(own);
  return world_finish(state);
}

static void the_nonce_tells_one_directory_from_another(void **state) {
  (void)state;
  lap_status status = {0};
  char nonce[LAP_NONCE_TEXT], other[LAP_NONCE_TEXT];
  assert_int_equal(lap_nonce_create(nonce, &status), LAP_OK);
  assert_int_equal(lap_nonce_create(other, &status), LAP_OK);
  assert_int_equal(strlen(nonce), LAP_NONCE_TEXT - 1);
  assert_string_not_equal(nonce, other);
  assert_int_equal(lap_nonce_check(own, nonce, 0.1, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "file system that every node shares"));
  assert_int_equal(lap_nonce_write(own, nonce, &status), LAP_OK);
  assert_int_equal(lap_nonce_check(own, nonce, 0, &status), LAP_OK);
  assert_int_equal(lap_nonce_check(own, other, 0, &status), LAP_DATA);
  lap_nonce_remove(own);
  assert_int_equal(lap_nonce_check(own, nonce, 0, &status), LAP_DATA);
}

lap_code __real_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status);
lap_code __wrap_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status);

lap_code __wrap_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status) {
  const double most = patience_seconds < 0.1 ? patience_seconds : 0.1;
  return __real_lap_nonce_check(path, nonce, most, status);
}

static void a_shared_directory_is_found_and_left_empty(void **state) {
  lap_comm *comm = *state;
  char path[1024];
  snprintf(path, sizeof path, "%s", own);
  lap_broadcast(comm, path, sizeof path, 0);
  lap_status status = {0};
  assert_int_equal(lap_shared_directory_check(comm, path, "--out", &status), LAP_OK);
  lap_barrier(comm);
  assert_int_equal(scratch_count(own), 0);
}

static void a_rank_that_does_not_see_it_is_named(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm), blind = ranks - 1;
  char path[1024], expected[256];
  snprintf(path, sizeof path, "%s", own);
  lap_broadcast(comm, path, sizeof path, 0);
  if (lap_comm_rank(comm) == blind) snprintf(path, sizeof path, "%s", own);
  lap_status status = {0};
  const lap_code code = lap_shared_directory_check(comm, path, "--out", &status);
  assert_int_equal(code, ranks > 1 ? LAP_DATA : LAP_OK);
  if (ranks == 1) return;
  snprintf(expected, sizeof expected, "rank %d on %s: --out: ", blind, lap_comm_host(comm, blind));
  assert_non_null(strstr(status.message, expected));
  lap_barrier(comm);
  assert_int_equal(scratch_count(own), 0);
}

static void a_directory_that_cannot_be_written_is_reported(void **state) {
  lap_comm *comm = *state;
  lap_status status = {0};
  const lap_code code = lap_shared_directory_check(comm, "/proc/self/fd", "run_dir", &status);
  assert_int_equal(code, LAP_DATA);
  assert_non_null(strstr(status.message, "run_dir: /proc/self/fd/"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_nonce_tells_one_directory_from_another),
      cmocka_unit_test(a_shared_directory_is_found_and_left_empty),
      cmocka_unit_test(a_rank_that_does_not_see_it_is_named),
      cmocka_unit_test(a_directory_that_cannot_be_written_is_reported),
  };
  return cmocka_run_group_tests(tests, start, finish);
}
