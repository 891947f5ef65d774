/* directory_lock: one job at a time has the lock, however a job ends. Linked so that flock comes
 * through here (--wrap): a test can do what another job does between opening the file and locking
 * it. nanosleep likewise: no test waits for a heartbeat. */
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
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "tests/scratch.h"

static char *directory;

/* A test takes a second. SIGALRM ends one that would never end, in this process and in its jobs. */
enum { LIMIT_SECONDS = 60 };

static int make_directory(void **state) {
  (void)state;
  directory = scratch_create();
  alarm(LIMIT_SECONDS);
  return 0;
}

static int remove_directory(void **state) {
  (void)state;
  alarm(0);
  scratch_remove(directory);
  return 0;
}

/* --- flock --- */

static void (*before_flock)(void); /* done once, before the next flock */
static int flock_fails_with;       /* 0: it works */

int __real_flock(int descriptor, int operation);
int __wrap_flock(int descriptor, int operation);

int __wrap_flock(int descriptor, int operation) {
  void (*const act)(void) = before_flock;
  before_flock = NULL;
  if (act) act();
  if (!flock_fails_with) return __real_flock(descriptor, operation);
  errno = flock_fails_with;
  return -1;
}

/* --- nanosleep --- */

static void (*while_asleep)(void); /* done in each nanosleep, instead of sleeping */
static int naps;

int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);

int __wrap_nanosleep(const struct timespec *pause, struct timespec *left) {
  (void)pause, (void)left;
  ++naps;
  if (while_asleep) while_asleep();
  return 0;
}

/* --- other jobs --- */

typedef struct {
  pid_t process;
  int hears, tells; /* ends of pipes: bytes to it and from it */
} job;

static char next_byte(int descriptor) {
  char byte = 0;
  if (read(descriptor, &byte, 1) != 1) byte = '\0';
  return byte;
}

static void tell(int descriptor, char byte) {
  if (write(descriptor, &byte, 1) != 1) _exit(1);
}

/* Starts a process that takes the lock, says '+' or '-', and releases it when it hears a byte, or
 * when a failed test has ended without sending one. `starts`: with the lock it starts a program,
 * whose number it sends as text first. */
static job start_job(bool starts) {
  int to[2], from[2];
  assert_int_equal(pipe2(to, O_CLOEXEC), 0);
  assert_int_equal(pipe2(from, O_CLOEXEC), 0);
  const pid_t process = fork();
  if (process == 0) {
    alarm(LIMIT_SECONDS);
    close(to[1]);
    close(from[0]);
    lap_directory_lock *lock;
    lap_status status;
    const bool has_it = lap_directory_lock_take(directory, &lock, &status) == LAP_OK;
    if (starts) {
      const pid_t program = fork();
      if (program == 0) {
        execlp("sleep", "sleep", "60", (char *)NULL);
        _exit(127);
      }
      dprintf(from[1], "%ld\n", (long)program);
    }
    tell(from[1], has_it ? '+' : '-');
    next_byte(to[0]);
    lap_directory_lock_release(lock);
    _exit(0);
  }
  close(to[0]);
  close(from[1]);
  return (job){process, to[1], from[0]};
}

static void wait_for(job *other) {
  assert_int_equal(waitpid(other->process, NULL, 0), other->process);
  close(other->hears);
  close(other->tells);
}

static void end_job(job *other) {
  tell(other->hears, '.');
  wait_for(other);
}

static void kill_job(job *other) {
  assert_int_equal(kill(other->process, SIGKILL), 0);
  wait_for(other);
}

/* --- what it says --- */

static lap_directory_lock *take(void) {
  lap_directory_lock *lock;
  lap_status status = {0};
  if (lap_directory_lock_take(directory, &lock, &status) != LAP_OK) fail_msg("%s", status.message);
  assert_non_null(lock);
  return lock;
}

/* "process N on HOST", with which a job signs its lock. */
static void owner_text(pid_t process, char text[256]) {
  char host[128] = "";
  assert_int_equal(gethostname(host, sizeof host - 1), 0);
  snprintf(text, 256, "process %ld on %s", (long)process, host);
}

static void assert_refused(pid_t owner) {
  lap_directory_lock *lock = (lap_directory_lock *)"untouched";
  lap_status status = {0};
  char name[256];
  owner_text(owner, name);
  if (lap_directory_lock_take(directory, &lock, &status) == LAP_OK)
    fail_msg("expected to be refused, because %s has the lock; it was given a second time", name);
  assert_int_equal(status.code, LAP_USAGE);
  assert_null(lock);
  assert_ptr_equal(strstr(status.message, directory), status.message);
  if (!strstr(status.message, name)) fail_msg("'%s' is not in: %s", name, status.message);
  assert_non_null(strstr(status.message, "choose another directory"));
}

static void assert_file_says(pid_t owner) {
  char name[256];
  size_t bytes;
  owner_text(owner, name);
  char *text = scratch_read(scratch_path(directory, ".lock"), &bytes);
  char *second = strchr(text, '\n');
  assert_non_null(second);
  assert_int_equal(strncmp(second, "\nstarted ", 9), 0);
  assert_true(strtoull(second + 9, NULL, 10) > 0);
  *second = '\0';
  assert_string_equal(text, name);
  free(text);
}

/* --- tests --- */

static void a_lock_is_signed_and_leaves_nothing_behind(void **state) {
  (void)state;
  for (int times = 0; times < 3; ++times) {
    lap_directory_lock *lock = take();
    assert_file_says(getpid());
    assert_int_equal(scratch_count(directory), 1);
    assert_refused(getpid()); /* nor does this process get a second one */
    lap_directory_lock_release(lock);
    assert_int_equal(scratch_count(directory), 0);
  }
  lap_directory_lock_release(NULL);
}

static void a_second_job_is_refused_by_the_name_of_the_first(void **state) {
  (void)state;
  job other = start_job(false);
  assert_int_equal(next_byte(other.tells), '+');
  assert_refused(other.process);
  assert_refused(other.process); /* being refused has changed nothing */
  assert_file_says(other.process);
  job third = start_job(false);
  assert_int_equal(next_byte(third.tells), '-');
  end_job(&third);
  end_job(&other);
  assert_int_equal(scratch_count(directory), 0);
  lap_directory_lock_release(take());
}

static void a_killed_job_has_lost_the_lock(void **state) {
  (void)state;
  job other = start_job(false);
  assert_int_equal(next_byte(other.tells), '+');
  assert_refused(other.process);
  kill_job(&other);
  assert_file_says(other.process); /* left over, and means nothing */
  lap_directory_lock *lock = take();
  assert_file_says(getpid());
  lap_directory_lock_release(lock);
  /* The text left over may be longer than the new one. */
  char longer[200];
  memset(longer, 'x', sizeof longer);
  scratch_write(directory, ".lock", longer, sizeof longer);
  lock = take();
  assert_file_says(getpid());
  lap_directory_lock_release(lock);
}

/* A program that the job has started does not keep the directory locked when the job is killed. */
static void programs_that_a_job_started_do_not_have_the_lock(void **state) {
  (void)state;
  job other = start_job(true);
  char number[32] = "";
  for (size_t i = 0; i + 1 < sizeof number; ++i)
    if ((number[i] = next_byte(other.tells)) == '\n') break;
  const pid_t program = (pid_t)strtol(number, NULL, 10);
  assert_true(program > 0);
  assert_int_equal(next_byte(other.tells), '+');
  /* Wait until it is sleep, and no longer a copy of the job. */
  char path[64], name[16] = "";
  snprintf(path, sizeof path, "/proc/%ld/comm", (long)program);
  for (int times = 0; times < 5000 && strncmp(name, "sleep", 5) != 0; ++times) {
    FILE *file = fopen(path, "r");
    if (!file || !fgets(name, sizeof name, file)) name[0] = '\0';
    if (file) fclose(file);
    usleep(1000);
  }
  assert_int_equal(strncmp(name, "sleep", 5), 0);
  kill_job(&other);
  lap_directory_lock *lock;
  lap_status status = {0};
  const lap_code code = lap_directory_lock_take(directory, &lock, &status);
  kill(program, SIGKILL);
  assert_int_equal(code, LAP_OK);
  lap_directory_lock_release(lock);
}

/* The owner releases its lock just when another job has opened the file and not yet locked it. */
static lap_directory_lock *released_before_flock;
static void release_it(void) { lap_directory_lock_release(released_before_flock); }

static lap_directory_lock *taken_before_flock;
static void release_and_take_it(void) {
  release_it();
  taken_before_flock = take();
}

static void a_file_that_was_removed_is_not_locked(void **state) {
  (void)state;
  released_before_flock = take();
  before_flock = release_it;
  lap_directory_lock *lock = take();
  /* The file that has the name is the one that is locked: the next job meets it. */
  assert_int_equal(scratch_count(directory), 1);
  assert_refused(getpid());
  lap_directory_lock_release(lock);
  assert_int_equal(scratch_count(directory), 0);
}

static void a_job_that_comes_between_keeps_the_lock(void **state) {
  (void)state;
  released_before_flock = take();
  before_flock = release_and_take_it;
  assert_refused(getpid());
  lap_directory_lock_release(taken_before_flock);
  assert_int_equal(scratch_count(directory), 0);
}

/* The file is removed by hand while a job has the lock, and another job comes. */
static void a_lock_is_released_without_touching_that_of_another_job(void **state) {
  (void)state;
  lap_directory_lock *first = take();
  assert_int_equal(unlink(scratch_path(directory, ".lock")), 0);
  job other = start_job(false);
  assert_int_equal(next_byte(other.tells), '+');
  lap_directory_lock_release(first);
  assert_refused(other.process);
  end_job(&other);
  assert_int_equal(scratch_count(directory), 0);
}

static void an_owner_that_wrote_nothing_is_unknown(void **state) {
  (void)state;
  const char *file = scratch_write(directory, ".lock", "", 0);
  const int descriptor = open(file, O_RDWR | O_CLOEXEC);
  assert_int_equal(flock(descriptor, LOCK_EX | LOCK_NB), 0);
  lap_directory_lock *lock;
  lap_status status = {0};
  assert_int_equal(lap_directory_lock_take(directory, &lock, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "(unknown)"));
  /* A text longer than any job writes is cut. */
  char longer[2000];
  memset(longer, 'x', sizeof longer);
  scratch_write(directory, ".lock", longer, sizeof longer);
  assert_int_equal(lap_directory_lock_take(directory, &lock, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "xxx)"));
  assert_true(strlen(status.message) < 256 + strlen(directory) + 200);
  close(descriptor);
}

/* --- without locks: what the file says of its owner --- */

static const int no_locks[] = {ENOLCK, ENOSYS, EOPNOTSUPP};

static void without_locks_a_living_job_keeps_others_out(void **state) {
  (void)state;
  for (int i = 0; i < 3; ++i) {
    flock_fails_with = no_locks[i];
    job other = start_job(false);
    assert_int_equal(next_byte(other.tells), '+');
    assert_refused(other.process);
    kill_job(&other);
    lap_directory_lock *lock = take(); /* the dead one's */
    assert_file_says(getpid());
    job third = start_job(false);
    assert_int_equal(next_byte(third.tells), '-');
    end_job(&third);
    lap_directory_lock_release(lock);
    assert_int_equal(scratch_count(directory), 0);
    flock_fails_with = 0;
  }
  assert_int_equal(naps, 0); /* a process of this host is looked for, not waited for */
}

/* Its number is another process's by now. */
static void a_process_is_known_by_its_start_too(void **state) {
  (void)state;
  char text[512], name[256];
  owner_text(getppid(), name);
  flock_fails_with = ENOLCK;
  snprintf(text, sizeof text, "%s\nstarted 1\n", name);
  scratch_write(directory, ".lock", text, strlen(text));
  lap_directory_lock_release(take());
  /* Who does not say when it began, as other writers of the same lock, is taken at its word. */
  strncat(name, "\n", sizeof name - strlen(name) - 1);
  scratch_write(directory, ".lock", name, strlen(name));
  assert_refused(getppid());
  flock_fails_with = 0;
}

/* --- other hosts: their heartbeat --- */

static const char foreign[] = "process 1 on another.host, rank 0\nstarted 77\n";

static void touch_it(void) {
  static time_t before = 1000;
  const struct timespec then = {time(NULL) - ++before, 0}, times[2] = {then, then};
  assert_int_equal(utimensat(AT_FDCWD, scratch_path(directory, ".lock"), times, 0), 0);
}

static void assert_foreign_is_refused(void) {
  lap_directory_lock *lock;
  lap_status status = {0};
  assert_int_equal(lap_directory_lock_take(directory, &lock, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "(process 1 on another.host, rank 0);"));
}

/* Whether the file system has no locks, or grants those that only this host knows of. */
static void a_job_of_another_host_is_alive_while_its_heart_beats(void **state) {
  (void)state;
  for (int locks = 0; locks < 2; ++locks) {
    flock_fails_with = locks ? 0 : ENOLCK;
    scratch_write(directory, ".lock", foreign, strlen(foreign));
    while_asleep = touch_it;
    assert_foreign_is_refused();
    while_asleep = NULL;
    naps = 0;
    lap_directory_lock *lock = take();
    assert_int_equal(naps, 3 * LAP_LOCK_BEAT_SECONDS);
    assert_file_says(getpid());
    lap_directory_lock_release(lock);
  }
  flock_fails_with = 0;
}

static void release_by_hand(void) { (void)unlink(scratch_path(directory, ".lock")); }
static void what_is_old_or_released_is_not_waited_for(void **state) {
  (void)state;
  const char *file = scratch_write(directory, ".lock", foreign, strlen(foreign));
  const struct timespec old[2] = {{time(NULL) - 4000, 0}, {time(NULL) - 4000, 0}};
  assert_int_equal(utimensat(AT_FDCWD, file, old, 0), 0);
  naps = 0;
  lap_directory_lock_release(take());
  scratch_write(directory, ".lock", foreign, strlen(foreign));
  while_asleep = release_by_hand;
  lap_directory_lock_release(take());
  while_asleep = NULL;
  assert_int_equal(naps, 1);
}

static void a_signature_that_a_crash_cut_short_is_nobodys(void **state) {
  (void)state;
  for (size_t bytes = 0; bytes < strlen(foreign); ++bytes) {
    if (bytes > 0 && foreign[bytes - 1] == '\n') continue; /* a whole line is a signature */
    scratch_write(directory, ".lock", foreign, bytes);
    naps = 0;
    lap_directory_lock_release(take());
    assert_int_equal(naps, 0);
  }
}

static void a_heart_beats_while_the_lock_is_held(void **state) {
  (void)state;
  lap_directory_lock *lock = take();
  const char *file = scratch_path(directory, ".lock");
  const struct timespec old[2] = {{1000, 0}, {1000, 0}};
  assert_int_equal(utimensat(AT_FDCWD, file, old, 0), 0);
  struct stat facts = {.st_mtim = {1000, 0}};
  for (int tenths = 0; tenths < 10 * (LAP_LOCK_BEAT_SECONDS + 10) && facts.st_mtim.tv_sec == 1000;
       ++tenths) {
    usleep(100000);
    assert_int_equal(stat(file, &facts), 0);
  }
  assert_int_not_equal(facts.st_mtim.tv_sec, 1000);
  lap_directory_lock_release(lock);
}

/* --- the fence --- */

static lap_directory_lock *take_fenced(uint64_t epoch) {
  lap_directory_lock *lock = take();
  lap_status status = {0};
  if (lap_directory_lock_fence(lock, &status) != LAP_OK) fail_msg("%s", status.message);
  assert_int_equal(lap_directory_lock_epoch(lock), epoch);
  assert_int_equal(lap_directory_lock_check(lock, &status), LAP_OK);
  return lock;
}

static void each_job_has_an_epoch_of_its_own(void **state) {
  (void)state;
  lap_status status = {0};
  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    lap_directory_lock_release(take_fenced(epoch));
    assert_int_equal(scratch_count(directory), 1); /* .epoch stays */
  }
  lap_directory_lock *plain = take(); /* has no fence */
  assert_int_equal(lap_directory_lock_check(plain, &status), LAP_OK);
  assert_int_equal(lap_directory_lock_check(NULL, &status), LAP_OK);
  lap_directory_lock_release(plain);
  scratch_write(directory, ".epoch", "damaged", 7); /* whose it is counts, not the number */
  lap_directory_lock_release(take_fenced(1));
}

/* It seemed dead and was only suspended. */
static void a_job_that_was_taken_over_is_told_so(void **state) {
  (void)state;
  lap_status status = {0};
  lap_directory_lock *sleeper = take_fenced(1);
  assert_int_equal(unlink(scratch_path(directory, ".lock")), 0);
  const pid_t other = fork();
  if (other == 0) {
    lap_directory_lock *lock = NULL;
    if (lap_directory_lock_take(directory, &lock, &status) != LAP_OK) _exit(1);
    _exit(lap_directory_lock_fence(lock, &status) == LAP_OK ? 0 : 1);
  }
  int ended;
  assert_int_equal(waitpid(other, &ended, 0), other);
  assert_int_equal(ended, 0);
  char name[256];
  owner_text(other, name);
  assert_int_equal(lap_directory_lock_check(sleeper, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, name));
  assert_non_null(strstr(status.message, "epoch 2; this job has epoch 1"));
  assert_int_equal(unlink(scratch_path(directory, ".epoch")), 0);
  assert_int_equal(lap_directory_lock_check(sleeper, &status), LAP_DATA);
  lap_directory_lock_release(sleeper);
  assert_true(lap_file_exists(scratch_path(directory, ".lock"))); /* that of the other one */
}

static void a_directory_that_cannot_be_written_is_named(void **state) {
  (void)state;
  lap_directory_lock *lock = (lap_directory_lock *)"untouched";
  lap_status status = {0};
  const char *missing = scratch_path(directory, "missing");
  assert_int_equal(lap_directory_lock_take(missing, &lock, &status), LAP_DATA);
  assert_null(lock);
  assert_non_null(strstr(status.message, "missing/.lock"));
  assert_non_null(strstr(status.message, strerror(ENOENT)));
}

/* Many jobs take it and give it back as fast as they can; each makes a file that must not be there
 * while it has the lock. Exits with 1 where it was there. */
static int take_many_times(void) {
  enum { TIMES = 300 };
  const char *inside = scratch_path(directory, "inside");
  for (int times = 0; times < TIMES; ++times) {
    lap_directory_lock *lock;
    lap_status status;
    if (lap_directory_lock_take(directory, &lock, &status) != LAP_OK) continue;
    const int descriptor = open(inside, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (descriptor < 0) return 1;
    close(descriptor);
    if (unlink(inside) != 0) return 1;
    lap_directory_lock_release(lock);
  }
  return 0;
}

static void many_jobs_never_have_the_lock_at_once(void **state) {
  (void)state;
  enum { JOBS = 6 };
  pid_t jobs[JOBS];
  for (int i = 0; i < JOBS; ++i) {
    jobs[i] = fork();
    if (jobs[i] == 0) {
      alarm(LIMIT_SECONDS);
      _exit(take_many_times());
    }
  }
  for (int i = 0; i < JOBS; ++i) {
    int ended;
    assert_int_equal(waitpid(jobs[i], &ended, 0), jobs[i]);
    assert_int_equal(ended, 0);
  }
  assert_int_equal(scratch_count(directory), 0);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(a_lock_is_signed_and_leaves_nothing_behind),
      IN_DIRECTORY(a_second_job_is_refused_by_the_name_of_the_first),
      IN_DIRECTORY(a_killed_job_has_lost_the_lock),
      IN_DIRECTORY(programs_that_a_job_started_do_not_have_the_lock),
      IN_DIRECTORY(a_file_that_was_removed_is_not_locked),
      IN_DIRECTORY(a_job_that_comes_between_keeps_the_lock),
      IN_DIRECTORY(a_lock_is_released_without_touching_that_of_another_job),
      IN_DIRECTORY(an_owner_that_wrote_nothing_is_unknown),
      IN_DIRECTORY(without_locks_a_living_job_keeps_others_out),
      IN_DIRECTORY(a_process_is_known_by_its_start_too),
      IN_DIRECTORY(a_job_of_another_host_is_alive_while_its_heart_beats),
      IN_DIRECTORY(what_is_old_or_released_is_not_waited_for),
      IN_DIRECTORY(a_signature_that_a_crash_cut_short_is_nobodys),
      IN_DIRECTORY(a_heart_beats_while_the_lock_is_held),
      IN_DIRECTORY(each_job_has_an_epoch_of_its_own),
      IN_DIRECTORY(a_job_that_was_taken_over_is_told_so),
      IN_DIRECTORY(a_directory_that_cannot_be_written_is_named),
      IN_DIRECTORY(many_jobs_never_have_the_lock_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
