/* behind: a checkpoint that is written while its state goes on changing holds what the state was,
 * and counts only once another rank has read it back and nobody has taken over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/world.h"
#include "trainer/checkpoint/payload.h"
#include "trainer/state/hash.h"

static const lap_checkpoint_keep keep_two = {.keep = 2, .best_step = -1};

/* --- faults, by the wrapped lap_payload_write --- */

/* In the copy of the last rank, of all kinds the last one, before it is written or after that; or
 * in the file of rank 0. */
static enum { NEVER, BEFORE, AFTER, IN_FILE } flips;
/* Threads write nothing until they are let go. */
static atomic_bool held;

static void hold(void) { atomic_store(&held, true); }
static void let_go(void) { atomic_store(&held, false); }

/* On a thread that cmocka knows nothing of. */
static void flip_in(const char *path) {
  const int descriptor = open(path, O_RDWR);
  char byte;
  if (pread(descriptor, &byte, 1, 5000) != 1) abort();
  byte ^= 4;
  if (pwrite(descriptor, &byte, 1, 5000) != 1) abort();
  close(descriptor);
}

lap_code __real_lap_payload_write(const lap_state *state, lap_checkpoint_pieces *list,
                                  int descriptor, const char *path, lap_status *status);
lap_code __wrap_lap_payload_write(const lap_state *state, lap_checkpoint_pieces *list,
                                  int descriptor, const char *path, lap_status *status);
lap_code __wrap_lap_payload_write(const lap_state *state, lap_checkpoint_pieces *list,
                                  int descriptor, const char *path, lap_status *status) {
  const lap_comm *comm = state->placement.comm;
  float *value = state->values[LAP_EXP_AVG_SQ] + 3;
  const int rank = lap_comm_rank(comm), last = lap_comm_size(comm) - 1;
  while (atomic_load(&held)) usleep(1000);
  if (rank == last && flips == BEFORE) *value += 1;
  const lap_code code = __real_lap_payload_write(state, list, descriptor, path, status);
  if (rank == last && flips == AFTER) *value += 1;
  if (rank == 0 && flips == IN_FILE) flip_in(path);
  return code;
}

static bool no_threads; /* are to be had */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument) {
  return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

/* --- */

/* Of a test before it, which may have failed halfway, nothing is left. */
static lap_checkpoint_writer *writer_of(world *w, const lap_directory_lock *lock) {
  let_go();
  flips = NEVER;
  no_threads = false;
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n",
                                        .numbers = w->numbers,
                                        .inputs_text = "{\"data.train\": []}\n",
                                        .lock = lock};
  return lap_checkpoint_writer_create(w->directory, w->comm, &extras);
}

static void begin(lap_checkpoint_writer *writer, const lap_state *state) {
  lap_status status;
  if (lap_checkpoint_begin(writer, state, &keep_two, true, &status) != LAP_OK)
    fail_msg("%s", status.message);
  assert_true(lap_checkpoint_in_flight(writer));
}

static void wait_until_idle(const lap_checkpoint_writer *writer) {
  while (lap_checkpoint_is_busy(writer)) usleep(1000);
}

/* The directory that is being written; malloc'ed, NULL: none. */
static char *temporary_of(const world *w) {
  DIR *open = opendir(w->directory);
  char *found = NULL;
  for (const struct dirent *entry; open && (entry = readdir(open));)
    if (strstr(entry->d_name, ".writing-"))
      found = lap_format("%s/%s", w->directory, entry->d_name);
  if (open) closedir(open);
  return found;
}

static bool has_name(const world *w, const char *name) {
  char *path = lap_format("%s/%s", w->directory, name);
  const bool found = lap_file_exists(path);
  free(path);
  return found;
}

static void the_state_may_change_meanwhile(void **context) {
  world *w = *context;
  const fixture_layout layouts[] = {fixture_replicated, fixture_sharded, fixture_full};
  for (uint64_t i = 0; i < 3; ++i) {
    lap_checkpoint_writer *writer = writer_of(w, NULL);
    lap_state *state = fixture_state("small", w->comm, layouts[i], 100 + i);
    char expected[LAP_SHA256_HEX], name[32];
    lap_state_sha256(state, expected);
    hold();
    begin(writer, state);
    fixture_fill(state, 9000);
    lap_status status;
    snprintf(name, sizeof name, "step-%08d", (int)(100 + i));
    lap_barrier(w->comm);
    assert_false(has_name(w, name));
    assert_true(lap_checkpoint_is_busy(writer));
    let_go();
    wait_until_idle(writer);
    assert_true(has_name(w, name)); /* which it has while the others are at their steps */
    assert_true(lap_checkpoint_in_flight(writer));
    if (lap_checkpoint_finish(writer, &status) != LAP_OK) fail_msg("%s", status.message);
    assert_false(lap_checkpoint_in_flight(writer));
    assert_string_equal(lap_checkpoint_last(writer)->state_sha256, expected);
    assert_int_equal(lap_checkpoint_last(writer)->step, 100 + i);
    world_expect_newest(w, 100 + i, NULL);
    lap_state_destroy(state);
    lap_checkpoint_writer_destroy(writer);
  }
}

/* One after another by one writer, whose copy is used again; old ones go. */
static void one_writer_writes_many(void **context) {
  world *w = *context;
  lap_checkpoint_writer *writer = writer_of(w, NULL);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 1);
  lap_status status;
  for (uint64_t step = 1; step <= 4; ++step) {
    fixture_fill(state, step);
    begin(writer, state);
    fixture_fill(state, 8000);
    if (lap_checkpoint_finish(writer, &status) != LAP_OK) fail_msg("%s", status.message);
    world_expect_newest(w, step, NULL);
  }
  assert_false(has_name(w, "step-00000002"));
  assert_true(has_name(w, "step-00000003"));
  assert_true(has_name(w, "step-00000004/inputs.json"));
  /* One that is there already is found, and not written again. */
  fixture_fill(state, 4);
  char *path = lap_format("%s/step-00000004", w->directory);
  char *before = world_listing(path);
  lap_barrier(w->comm);
  assert_int_equal(lap_checkpoint_begin(writer, state, &keep_two, true, &status), LAP_OK);
  assert_false(lap_checkpoint_in_flight(writer));
  lap_barrier(w->comm);
  char *after = world_listing(path);
  assert_non_null(strstr(after, "./manifest.json"));
  assert_string_equal(after, before);
  free(before);
  free(after);
  free(path);
  /* Older ones go all the same: a job may have been killed before it deleted them. */
  const lap_checkpoint_keep keep_one = {.keep = 1, .best_step = -1};
  assert_true(has_name(w, "step-00000003"));
  lap_barrier(w->comm);
  assert_int_equal(lap_checkpoint_begin(writer, state, &keep_one, true, &status), LAP_OK);
  lap_barrier(w->comm);
  assert_false(has_name(w, "step-00000003"));
  lap_state_destroy(state);
  lap_checkpoint_writer_destroy(writer);
}

/* It meets the other ranks' threads itself, at once. */
static void a_rank_that_gets_no_thread_does_the_work_itself(void **context) {
  world *w = *context;
  lap_checkpoint_writer *writer = writer_of(w, NULL);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 130);
  no_threads = lap_comm_rank(w->comm) == lap_comm_size(w->comm) - 1;
  begin(writer, state);
  if (no_threads) assert_false(lap_checkpoint_is_busy(writer));
  fixture_fill(state, 9000);
  lap_status status;
  assert_int_equal(lap_checkpoint_finish(writer, &status), LAP_OK);
  world_expect_newest(w, 130, NULL);
  lap_state_destroy(state);
  lap_checkpoint_writer_destroy(writer);
}

static void a_copy_that_changes_in_memory_is_no_checkpoint(void **context) {
  world *w = *context;
  world_write_step(w, 110);
  lap_checkpoint_writer *writer = writer_of(w, NULL);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 120);
  char who[64];
  snprintf(who, sizeof who, "wrong arithmetic at rank %d on ", lap_comm_size(w->comm) - 1);
  for (int when = BEFORE; when <= AFTER; ++when) {
    lap_status status = {0};
    flips = when;
    begin(writer, state);
    assert_int_equal(lap_checkpoint_finish(writer, &status), LAP_NONFINITE);
    flips = NEVER;
    if (!strstr(status.message, who) || !strstr(status.message, "step 120: exp_avg_sq of "))
      fail_msg("%s", status.message);
    assert_false(has_name(w, "step-00000120"));
    world_expect_newest(w, 110, NULL);
  }
  begin(writer, state);
  lap_status status;
  assert_int_equal(lap_checkpoint_finish(writer, &status), LAP_OK);
  world_expect_newest(w, 120, NULL);
  lap_state_destroy(state);
  lap_checkpoint_writer_destroy(writer);
}

/* The disk gives back other bytes than it was given. */
static void what_is_read_back_otherwise_does_not_count(void **context) {
  world *w = *context;
  world_write_step(w, 110);
  lap_checkpoint_writer *writer = writer_of(w, NULL);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 120);
  lap_status status;
  flips = IN_FILE;
  begin(writer, state);
  assert_int_equal(lap_checkpoint_finish(writer, &status), LAP_DATA);
  flips = NEVER;
  assert_false(lap_checkpoint_in_flight(writer));
  if (!strstr(status.message, "rank-00000.bin: tensor ") ||
      !strstr(status.message, "read back with checksum"))
    fail_msg("%s", status.message);
  char *left = temporary_of(w);
  assert_null(left);
  assert_false(has_name(w, "step-00000120"));
  world_expect_newest(w, 110, NULL);
  /* The next one may be fine again. */
  begin(writer, state);
  assert_int_equal(lap_checkpoint_finish(writer, &status), LAP_OK);
  world_expect_newest(w, 120, NULL);
  lap_state_destroy(state);
  lap_checkpoint_writer_destroy(writer);
}

/* Another job, on another host, has taken over while this one was asleep. */
static void a_job_that_was_taken_over_publishes_nothing(void **context) {
  world *w = *context;
  lap_directory_lock *lock = NULL;
  lap_status status = {0};
  for (uint64_t step = 100; step <= 110; step += 5) world_write_step(w, step);
  if (world_root(w)) {
    assert_int_equal(lap_directory_lock_take(w->directory, &lock, &status), LAP_OK);
    assert_int_equal(lap_directory_lock_fence(lock, &status), LAP_OK);
  }
  lap_checkpoint_writer *writer = writer_of(w, lock);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 120);
  hold();
  begin(writer, state);
  char *epoch = lap_format("%s/.epoch", w->directory);
  static const char theirs[] = "epoch 2\nprocess 5 on another\nstarted 1\n";
  if (world_root(w))
    assert_int_equal(lap_file_write(epoch, theirs, strlen(theirs), &status), LAP_OK);
  lap_barrier(w->comm);
  let_go();
  assert_int_equal(lap_checkpoint_finish(writer, &status), LAP_USAGE);
  if (!strstr(status.message, "another job has taken over (process 5 on another, epoch 2"))
    fail_msg("%s", status.message);
  assert_false(has_name(w, "step-00000120"));
  lap_barrier(w->comm);
  /* Nor does it begin another one. */
  assert_int_equal(lap_checkpoint_begin(writer, state, &keep_two, true, &status), LAP_USAGE);
  assert_false(lap_checkpoint_in_flight(writer));
  char *left = temporary_of(w);
  assert_null(left);
  /* Nor does it delete old ones where the other job has written this one by now. */
  fixture_fill(state, 110);
  assert_int_equal(lap_checkpoint_begin(writer, state, &keep_two, true, &status), LAP_USAGE);
  assert_false(lap_checkpoint_in_flight(writer));
  assert_true(has_name(w, "step-00000100"));
  world_expect_newest(w, 110, NULL);
  lap_checkpoint_writer_destroy(writer);
  lap_state_destroy(state);
  lap_directory_lock_release(lock);
  free(epoch);
}

/* After a resume from an older one, newer ones with damaged payload do not push out what was read
 * back last. */
static void what_was_read_back_last_stays(void **context) {
  world *w = *context;
  for (uint64_t step = 200; step <= 202; ++step) world_write_step(w, step);
  lap_checkpoint_writer *writer = writer_of(w, NULL);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 150);
  lap_status status;
  begin(writer, state);
  assert_int_equal(lap_checkpoint_finish(writer, &status), LAP_OK);
  assert_true(has_name(w, "step-00000150"));
  assert_true(has_name(w, "step-00000201"));
  assert_false(has_name(w, "step-00000200"));
  lap_barrier(w->comm);
  lap_state_destroy(state);
  lap_checkpoint_writer_destroy(writer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(the_state_may_change_meanwhile),
      IN_DIRECTORY(one_writer_writes_many),
      IN_DIRECTORY(a_rank_that_gets_no_thread_does_the_work_itself),
      IN_DIRECTORY(a_copy_that_changes_in_memory_is_no_checkpoint),
      IN_DIRECTORY(what_is_read_back_otherwise_does_not_count),
      IN_DIRECTORY(a_job_that_was_taken_over_publishes_nothing),
      IN_DIRECTORY(what_was_read_back_last_stays),
  };
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
