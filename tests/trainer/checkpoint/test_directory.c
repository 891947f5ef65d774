/* directory: which checkpoints are kept, which leftovers removed, which one opened. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/trainer/checkpoint/world.h"
#include "trainer/checkpoint/manifest.h"

/* The steps that are there, newest first, as text. */
static void expect_steps(world *w, const char *expected) {
  char **names, text[256] = "";
  size_t count;
  lap_status status;
  lap_barrier(w->comm);
  assert_int_equal(lap_checkpoint_list(w->directory, &names, &count, &status), LAP_OK);
  for (size_t i = 0; i < count; ++i)
    sprintf(text + strlen(text), "%s%ld", i ? " " : "", strtol(names[i] + 5, NULL, 10));
  assert_string_equal(text, expected);
  lap_checkpoint_list_destroy(names, count);
  lap_barrier(w->comm);
}

static void prune(world *w, int64_t keep, int64_t keep_every, int64_t best) {
  lap_status status;
  const lap_checkpoint_keep rules = {keep, keep_every, best};
  assert_int_equal(lap_checkpoint_prune(w->directory, &rules, w->comm, &status), LAP_OK);
  assert_string_equal(status.message, "");
}

static void pruning_keeps_the_newest_the_multiples_and_the_best(void **context) {
  world *w = *context;
  for (uint64_t step = 1; step <= 8; ++step) world_write_step(w, step);
  expect_steps(w, "8 7 6 5 4 3 2 1");
  prune(w, 3, 4, 1);
  expect_steps(w, "8 7 6 4 1");
  prune(w, 2, 0, -1);
  expect_steps(w, "8 7");
  prune(w, 0, 0, -1);
  expect_steps(w, "8");
  prune(w, -5, 0, -1);
  expect_steps(w, "8");
  world_expect_newest(w, 8, NULL);
}

static void pruning_never_counts_one_that_is_not_whole(void **context) {
  world *w = *context;
  for (uint64_t step = 1; step <= 5; ++step) world_write_step(w, step);
  world_damage(w, "step-00000005", "rank-00000.bin", world_cut);
  world_damage(w, "step-00000004", LAP_MANIFEST_NAME, unlink);
  world_damage(w, "step-00000002", "rank-00000.bin", world_cut);
  prune(w, 1, 0, -1);
  expect_steps(w, "5 4 3");
  world_expect_newest(w, 3, "step 4 is passed over");
}

/* Calls that fail, as on a network, while their count is above 0. */
static int failing_removes, failing_syncs;

int __real_remove(const char *path);
int __wrap_remove(const char *path);
int __wrap_remove(const char *path) {
  if (failing_removes <= 0) return __real_remove(path);
  --failing_removes;
  errno = EIO;
  return -1;
}

int __real_fsync(int descriptor);
int __wrap_fsync(int descriptor);
int __wrap_fsync(int descriptor) {
  if (failing_syncs <= 0) return __real_fsync(descriptor);
  --failing_syncs;
  errno = EIO;
  return -1;
}

static void assert_left(const world *w, const char *verb, int expected) {
  DIR *open = opendir(w->directory);
  int found = 0;
  for (const struct dirent *entry; (entry = readdir(open));)
    found += strstr(entry->d_name, verb) != NULL;
  closedir(open);
  assert_int_equal(found, expected);
}

static void what_fails_once_is_deleted_all_the_same(void **context) {
  world *w = *context;
  if (lap_comm_size(w->comm) > 1) return;
  for (uint64_t step = 1; step <= 4; ++step) world_write_step(w, step);
  failing_removes = 1;
  prune(w, 3, 0, -1);
  failing_syncs = 1;
  prune(w, 2, 0, -1);
  assert_int_equal(failing_removes + failing_syncs, 0);
  assert_left(w, ".deleted-", 0);
  expect_steps(w, "4 3");
  failing_removes = 2; /* a disk that stays as it is */
  lap_status status;
  lap_checkpoint_prune(w->directory, &(lap_checkpoint_keep){.keep = 1, .best_step = -1}, w->comm,
                       &status);
  assert_non_null(strstr(status.message, "cannot be removed"));
  assert_left(w, ".deleted-", 1);
  prune(w, 1, 0, -1);
  assert_left(w, ".deleted-", 0);
  expect_steps(w, "4");
}

static void leave(world *w, const char *name) {
  char *path = lap_format("%s/%s", w->directory, name);
  if (world_root(w)) assert_int_equal(mkdir(path, 0777), 0);
  free(path);
}

static void expect_entry(world *w, const char *name, bool there) {
  char *path = lap_format("%s/%s", w->directory, name);
  lap_barrier(w->comm);
  if (lap_file_exists(path) != there) fail_msg("%s: %s", name, there ? "gone" : "still there");
  free(path);
}

static void leftovers_of_the_dead_are_removed_and_only_those(void **context) {
  world *w = *context;
  char host[200] = "", name[5][300];
  gethostname(host, sizeof host - 1);
  snprintf(name[0], sizeof name[0], "step-00000009.writing-%s-2147483646-0", host);
  snprintf(name[1], sizeof name[1], "step-00000009.writing-%s-1-0", host); /* runs */
  snprintf(name[2], sizeof name[2], "step-00000009.writing-other-host.net-17-3");
  snprintf(name[3], sizeof name[3], "step-00000009.writing-other-host.net-17-4");
  snprintf(name[4], sizeof name[4], "step-00000001.deleted-other-host.net-17-3");
  const char *foreign[] = {"notes",
                           "step-9.writing-a-1-0",
                           "x.writing-a-2147483646-0",
                           "step-00000009.writing-a-b-c",
                           "step-00000009.writing-a-1-2.old",
                           "step-00000001.deleted--17-3"};
  enum { FOREIGN = sizeof foreign / sizeof *foreign };
  world_write_step(w, 1);
  for (int i = 0; i < 5; ++i) leave(w, name[i]);
  for (int i = 0; i < FOREIGN; ++i) leave(w, foreign[i]);
  char *old = lap_format("%s/%s", w->directory, name[3]);
  const struct timespec long_ago[2] = {{1000000000, 0}, {1000000000, 0}};
  if (world_root(w)) assert_int_equal(utimensat(AT_FDCWD, old, long_ago, 0), 0);
  free(old);
  prune(w, 3, 0, -1);
  for (int i = 0; i < 5; ++i) expect_entry(w, name[i], i == 1 || i == 2);
  for (int i = 0; i < FOREIGN; ++i) expect_entry(w, foreign[i], true);
  world_expect_newest(w, 1, NULL);
}

static void a_process_that_nobody_waited_for_is_dead(void **context) {
  world *w = *context;
  char host[200] = "", name[300];
  gethostname(host, sizeof host - 1);
  const pid_t process = fork();
  if (process == 0) _exit(0);
  siginfo_t ending;
  assert_int_equal(waitid(P_PID, (id_t)process, &ending, WEXITED | WNOWAIT), 0);
  assert_int_equal(kill(process, 0), 0);
  snprintf(name, sizeof name, "step-00000009.writing-%s-%d-0", host, (int)process);
  world_write_step(w, 1);
  leave(w, name);
  prune(w, 3, 0, -1);
  expect_entry(w, name, false);
  assert_int_equal(waitpid(process, NULL, 0), process);
}

static void a_kill_between_two_renames_loses_nothing(void **context) {
  world *w = *context;
  world_write_step(w, 5);
  lap_barrier(w->comm);
  char *path = lap_format("%s/step-00000005", w->directory);
  char *aside = lap_format("%s.replaced-other-host-17-0", path);
  if (world_root(w)) assert_int_equal(rename(path, aside), 0);
  lap_barrier(w->comm);
  world_expect_newest(w, 5, NULL);
  expect_entry(w, "step-00000005.replaced-other-host-17-0", false);
  free(path);
  free(aside);
}

static void a_run_directory_opens_as_its_newest_whole_checkpoint(void **context) {
  world *w = *context;
  char *run = lap_copy_string(w->directory);
  strcat(w->directory, "/checkpoints");
  world_write_step(w, 1);
  world_write_step(w, 2);
  world_damage(w, "step-00000002", LAP_MANIFEST_NAME, unlink);
  const char *paths[] = {run, w->directory};
  for (int i = 0; i < 2; ++i) {
    lap_checkpoint *read;
    lap_status status;
    assert_int_equal(lap_checkpoint_open(paths[i], &read, &status), LAP_OK);
    assert_int_equal(read->step, 1);
    assert_int_equal(read->writing_ranks, lap_comm_size(w->comm));
    lap_checkpoint_close(read);
  }
  strcpy(w->directory, run);
  lap_checkpoint *read;
  lap_status status;
  assert_int_equal(lap_checkpoint_open("/nowhere", &read, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "/nowhere"));
  free(run);
}

/* The linker puts this in the place of readdir. */
struct dirent *__real_readdir(DIR *directory);
struct dirent *__wrap_readdir(DIR *directory);

static int entries_left = -1; /* before readdir fails; -1: it does not */

struct dirent *__wrap_readdir(DIR *directory) {
  if (entries_left > 0) --entries_left;
  if (entries_left != 0) return __real_readdir(directory);
  errno = EIO;
  return NULL;
}

/* A shorter list would let a run go on from an older checkpoint, or begin anew. */
static void a_directory_that_cannot_be_listed_to_its_end_is_refused(void **context) {
  world *w = *context;
  world_write_step(w, 1);
  world_write_step(w, 2);
  lap_barrier(w->comm);
  for (int entries = 0; entries < 4; ++entries) {
    char **names;
    size_t count;
    lap_status status = {0};
    entries_left = entries + 1;
    assert_int_equal(lap_checkpoint_list(w->directory, &names, &count, &status), LAP_DATA);
    assert_null(names);
    assert_int_equal(count, 0);
    assert_non_null(strstr(status.message, w->directory));
    assert_non_null(strstr(status.message, "cannot be listed: Input/output error"));
    entries_left = entries + 1;
    lap_checkpoint *read;
    assert_int_equal(lap_checkpoint_open(w->directory, &read, &status), LAP_DATA);
    entries_left = -1;
  }
  expect_steps(w, "2 1");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(pruning_keeps_the_newest_the_multiples_and_the_best),
      IN_DIRECTORY(pruning_never_counts_one_that_is_not_whole),
      IN_DIRECTORY(what_fails_once_is_deleted_all_the_same),
      IN_DIRECTORY(leftovers_of_the_dead_are_removed_and_only_those),
      IN_DIRECTORY(a_process_that_nobody_waited_for_is_dead),
      IN_DIRECTORY(a_kill_between_two_renames_loses_nothing),
      IN_DIRECTORY(a_run_directory_opens_as_its_newest_whole_checkpoint),
      IN_DIRECTORY(a_directory_that_cannot_be_listed_to_its_end_is_refused),
  };
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
