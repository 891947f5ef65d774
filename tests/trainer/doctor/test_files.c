/* files: what doctor finds in a directory that works, and on file systems where a call does not do
 * what it should. Linked so that these calls come through here (--wrap): each can be spoilt on the
 * last rank, or on all. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "tests/scratch.h"
#include "tests/trainer/doctor/printed.h"
#include "trainer/cli/nonce.h"

/* --- calls that can be spoilt --- */

static struct {
  bool fsync, slow_fsync, rename, fallocate, flock, fcntl, exclusive;
  bool syncs;        /* fsync is done; else only said to be, which is faster */
  int fast_fsync;    /* which of those that are slow is not; from 1, 0: none */
  int slow_fsyncs;   /* up to now */
  uint64_t free_mib; /* of the file system; 0: what there is */
} spoilt;

/* By how many seconds the clock is fast when this thread looks at it next. */
static _Thread_local double late;

int __real_fsync(int descriptor);
int __wrap_fsync(int descriptor);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_fallocate(int descriptor, int mode, off_t offset, off_t bytes);
int __wrap_fallocate(int descriptor, int mode, off_t offset, off_t bytes);
int __real_flock(int descriptor, int operation);
int __wrap_flock(int descriptor, int operation);
int __real_fcntl(int descriptor, int command, void *argument);
int __wrap_fcntl(int descriptor, int command, void *argument);
int __real_statvfs(const char *path, struct statvfs *facts);
int __wrap_statvfs(const char *path, struct statvfs *facts);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
lap_code __real_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status);
lap_code __wrap_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status);

static int fails_with(int number) {
  errno = number;
  return -1;
}

int __wrap_fsync(int descriptor) {
  struct stat facts;
  const bool measured = fstat(descriptor, &facts) == 0 && facts.st_size == 64 << 10;
  if (spoilt.slow_fsync && measured && ++spoilt.slow_fsyncs != spoilt.fast_fsync) late = 0.6;
  if (spoilt.fsync) return fails_with(EIO);
  return spoilt.syncs ? __real_fsync(descriptor) : 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time) {
  const int result = __real_clock_gettime(clock, time);
  time->tv_nsec += (long)(late * 1e9);
  time->tv_sec += time->tv_nsec / 1000000000;
  time->tv_nsec %= 1000000000;
  late = 0;
  return result;
}

/* Only of directories: small files are renamed too, when they are whole. */
int __wrap_rename(const char *from, const char *to) {
  struct stat facts;
  if (spoilt.rename && stat(from, &facts) == 0 && S_ISDIR(facts.st_mode)) return fails_with(EPERM);
  return __real_rename(from, to);
}

int __wrap_fallocate(int descriptor, int mode, off_t offset, off_t bytes) {
  return spoilt.fallocate ? fails_with(EOPNOTSUPP)
                          : __real_fallocate(descriptor, mode, offset, bytes);
}

/* As on a file system whose locks hold within one node only: it succeeds, and excludes nobody. */
int __wrap_flock(int descriptor, int operation) {
  return spoilt.flock ? 0 : __real_flock(descriptor, operation);
}

int __wrap_fcntl(int descriptor, int command, void *argument) {
  return spoilt.fcntl ? fails_with(ENOLCK) : __real_fcntl(descriptor, command, argument);
}

int __wrap_statvfs(const char *path, struct statvfs *facts) {
  const int result = __real_statvfs(path, facts);
  if (!spoilt.free_mib) return result;
  facts->f_frsize = 4096;
  facts->f_bavail = spoilt.free_mib << 20 >> 12;
  facts->f_bfree = 2 * facts->f_bavail; /* root's share included */
  return result;
}

int __wrap_open(const char *path, int flags, ...) {
  return __real_open(path, spoilt.exclusive ? flags & ~O_EXCL : flags, 0666);
}

lap_code __wrap_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status) {
  assert_true(patience_seconds >= 1);
  return __real_lap_nonce_check(path, nonce, 0.1, status);
}

/* --- a look at a directory --- */

typedef struct {
  lap_comm *comm;
  int ranks;
  bool last;
  char directory[1024];
} world;

static int start(void **state) {
  static world w;
  void *comm;
  if (world_start(&comm) != 0) return -1;
  w.comm = comm;
  w.ranks = lap_comm_size(w.comm);
  w.last = lap_comm_rank(w.comm) == w.ranks - 1;
  *state = &w;
  return 0;
}

static int finish(void **state) {
  world *w = *state;
  void *comm = w->comm;
  return world_finish(&comm);
}

static int make_directory(void **state) {
  world *w = *state;
  if (lap_comm_rank(w->comm) == 0) {
    char *made = scratch_create();
    snprintf(w->directory, sizeof w->directory, "%s", made);
    free(made);
  }
  lap_broadcast(w->comm, w->directory, sizeof w->directory, 0);
  memset(&spoilt, 0, sizeof spoilt);
  return 0;
}

static int remove_directory(void **state) {
  world *w = *state;
  lap_status status;
  memset(&spoilt, 0, sizeof spoilt);
  lap_barrier(w->comm);
  return lap_comm_rank(w->comm) == 0 && lap_file_remove_tree(w->directory, &status) != LAP_OK ? -1
                                                                                              : 0;
}

/* The findings are the same on every rank, and nothing is left behind. */
static lap_diagnosis *look(const world *w, const char *directory) {
  lap_diagnosis *findings = lap_diagnosis_create();
  lap_file_system_check(w->comm, directory, findings);
  char *report = printed(findings);
  lap_status status = {0};
  if (lap_agree_same(w->comm, "findings", report, "", &status) != LAP_OK)
    fail_msg("%s", status.message);
  free(report);
  lap_barrier(w->comm);
  return findings;
}

static lap_diagnosis *look_here(const world *w) {
  lap_diagnosis *findings = look(w, w->directory);
  memset(&spoilt, 0, sizeof spoilt);
  const int left = scratch_count(w->directory);
  lap_barrier(w->comm); /* before the next look leaves something there */
  assert_int_equal(left, 0);
  return findings;
}

static const char *const subjects[] = {"fsync",     "sharing", "rename",
                                       "fallocate", "flock",   "fcntl locks"};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

/* All findings are good but that on `subject`, which has this verdict and says `text`. */
static void expect_only(const world *w, lap_diagnosis *findings, const char *verdict,
                        const char *subject, const char *text) {
  for (int i = 0; i < SUBJECTS; ++i)
    if (strcmp(subjects[i], subject) != 0 && (w->ranks > 1 || strcmp(subjects[i], "sharing") != 0))
      expect_line(findings, "ok", subjects[i], "");
  expect_line(findings, verdict, subject, text);
  assert_int_equal(lap_diagnosis_stop(findings) != NULL, strcmp(verdict, "STOP") == 0);
  lap_diagnosis_destroy(findings);
}

/* "2 of 3 ranks" */
static const char *failing(const world *w, int count) {
  static char text[64];
  snprintf(text, sizeof text, "%d of %d ranks", count, w->ranks);
  return text;
}

/* --- tests --- */

static void a_directory_that_works_is_called_well(void **state) {
  const world *w = *state;
  for (int times = 0; times < 2; ++times) {
    spoilt.syncs = true;
    lap_diagnosis *findings = look_here(w);
    assert_int_equal(printed_subject(findings, "sharing"), w->ranks > 1);
    assert_false(printed_subject(findings, "locks"));
    assert_false(printed_subject(findings, "files"));
    expect_only(w, findings, "ok", "fsync", "64 KiB in ");
  }
}

static void each_call_that_does_not_work_is_named(void **state) {
  const world *w = *state;
  static const struct {
    bool *spoil;
    const char *verdict, *subject;
  } cases[] = {{&spoilt.rename, "STOP", "rename"},
               {&spoilt.fallocate, "note", "fallocate"},
               {&spoilt.fcntl, "note", "fcntl locks"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    *cases[i].spoil = w->last;
    expect_only(w, look_here(w), cases[i].verdict, cases[i].subject, failing(w, 1));
    *cases[i].spoil = true;
    expect_only(w, look_here(w), cases[i].verdict, cases[i].subject, failing(w, w->ranks));
  }
}

static void locks_that_exclude_nobody_are_noted(void **state) {
  const world *w = *state;
  spoilt.flock = w->last;
  lap_diagnosis *findings = look_here(w);
  assert_int_equal(printed_line(findings, "note", "locks", "1 other rank"), w->ranks > 1);
  expect_only(w, findings, "note", "flock", failing(w, 1));
  spoilt.flock = true;
  findings = look_here(w);
  char others[64];
  snprintf(others, sizeof others, "%d other rank", w->ranks - 1);
  assert_int_equal(printed_line(findings, "note", "locks", others), w->ranks > 1);
  expect_only(w, findings, "note", "flock", failing(w, w->ranks));
}

static void a_slow_disk_is_called_slow(void **state) {
  const world *w = *state;
  spoilt.slow_fsync = w->last; /* the slowest of them counts */
  expect_only(w, look_here(w), "slow", "fsync", "64 KiB in 6");
  /* One of several that is fast shows that the others were disturbed. */
  spoilt.slow_fsync = true;
  spoilt.fast_fsync = 3;
  expect_only(w, look_here(w), "ok", "fsync", "");
}

static void the_least_free_space_is_reported(void **state) {
  const world *w = *state;
  spoilt.free_mib = w->last ? 5 << 10 : 7 << 10;
  expect_only(w, look_here(w), "ok", "fsync", "; 5.00 GiB free in ");
}

static void where_files_cannot_be_written_nothing_else_is_reported(void **state) {
  const world *w = *state;
  spoilt.fsync = w->last;
  lap_diagnosis *findings = look_here(w);
  expect_line(findings, "STOP", "files", failing(w, 1));
  for (int i = 0; i < SUBJECTS; ++i) assert_false(printed_subject(findings, subjects[i]));
  assert_non_null(lap_diagnosis_stop(findings));
  assert_non_null(strstr(lap_diagnosis_stop(findings), "--dir"));
  lap_diagnosis_destroy(findings);
  char *missing = lap_format("%s/missing", w->directory); /* and is not made */
  findings = look(w, missing);
  expect_line(findings, "STOP", "files", failing(w, w->ranks));
  expect_line(findings, "STOP", "files", missing);
  expect_line(findings, "STOP", "files", "No such file or directory");
  lap_diagnosis_destroy(findings);
  free(missing);
}

static void several_makers_of_one_file_are_noticed(void **state) {
  const world *w = *state;
  if (w->ranks == 1) return;
  spoilt.exclusive = true;
  char makers[64];
  snprintf(makers, sizeof makers, "%d ranks made the same file", w->ranks);
  expect_only(w, look_here(w), "slow", "sharing", makers);
}

/* Ranks in directories of their own mean different ones by the same name. */
static void ranks_that_see_another_directory_stop_a_run(void **state) {
  const world *w = *state;
  if (w->ranks == 1) return;
  char before[4096];
  assert_non_null(getcwd(before, sizeof before));
  char *own = lap_format("%s/%s", w->directory, w->last ? "b" : "a");
  char *run = lap_format("%s/run", own);
  lap_status status = {0};
  assert_int_equal(lap_file_make_directories(run, &status), LAP_OK);
  assert_int_equal(chdir(own), 0);
  lap_diagnosis *findings = look(w, "run");
  char blind[64];
  snprintf(blind, sizeof blind, "rank %d on ", w->ranks - 1);
  expect_line(findings, "STOP", "sharing", blind);
  assert_non_null(lap_diagnosis_stop(findings));
  assert_int_equal(scratch_count("run"), 0);
  lap_diagnosis_destroy(findings);
  assert_int_equal(chdir(before), 0);
  free(run);
  free(own);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(a_directory_that_works_is_called_well),
      IN_DIRECTORY(each_call_that_does_not_work_is_named),
      IN_DIRECTORY(locks_that_exclude_nobody_are_noted),
      IN_DIRECTORY(a_slow_disk_is_called_slow),
      IN_DIRECTORY(the_least_free_space_is_reported),
      IN_DIRECTORY(where_files_cannot_be_written_nothing_else_is_reported),
      IN_DIRECTORY(several_makers_of_one_file_are_noticed),
      IN_DIRECTORY(ranks_that_see_another_directory_stop_a_run),
  };
  return cmocka_run_group_tests_name("files", tests, start, finish);
}
