/* file: whole or not at all, and nothing left behind. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/scratch.h"

static char *directory;

static int make_test_directory(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int remove_test_directory(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static char *inside(const char *name) { return lap_format("%s/%s", directory, name); }

static void what_is_written_is_read_back(void **state) {
  (void)state;
  lap_status status = {0};
  char *path = inside("a"), *bytes;
  size_t count;
  assert_int_equal(lap_file_write(path, "one\0two", 7, &status), LAP_OK);
  assert_int_equal(lap_file_read(path, 7, &bytes, &count, &status), LAP_OK);
  assert_int_equal(count, 7);
  assert_memory_equal(bytes, "one\0two", 8); /* and the NUL behind it */
  free(bytes);
  assert_int_equal(lap_file_write(path, "", 0, &status), LAP_OK);
  assert_int_equal(lap_file_read(path, 0, &bytes, &count, &status), LAP_OK);
  assert_int_equal(count, 0);
  free(bytes);
  assert_int_equal(scratch_count(directory), 1);
  struct stat facts;
  assert_int_equal(stat(path, &facts), 0);
  const mode_t mask = umask(0);
  umask(mask);
  assert_int_equal(facts.st_mode & 0777, 0666 & ~mask);
  unlink(path);
  free(path);
}

static void a_failed_write_leaves_nothing_and_says_why(void **state) {
  (void)state;
  lap_status status = {0};
  char *occupied = inside("directory"), *kept = inside("directory/kept");
  assert_int_equal(lap_file_make_directories(occupied, &status), LAP_OK);
  assert_int_equal(lap_file_write(kept, "x", 1, &status), LAP_OK);
  /* The rename fails: a directory is in the way. */
  assert_int_equal(lap_file_write(occupied, "y", 1, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "cannot be renamed"));
  assert_int_equal(scratch_count(directory), 1);
  assert_int_equal(scratch_count(occupied), 1);
  assert_int_equal(lap_file_remove_tree(occupied, &status), LAP_OK);
  free(kept);
  free(occupied);
}

static void a_full_disk_is_reported(void **state) {
  (void)state;
  const int full = open("/dev/full", O_WRONLY);
  assert_true(full >= 0);
  lap_status status = {0};
  assert_int_equal(lap_file_write_all(full, "/dev/full", "x", 1, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "No space left"));
  close(full);
}

static void a_larger_file_and_other_things_are_not_read(void **state) {
  (void)state;
  lap_status status = {0};
  char *path = inside("large"), *pipe_path = inside("pipe"), *bytes;
  assert_int_equal(lap_file_write(path, "12345", 5, &status), LAP_OK);
  assert_int_equal(lap_file_read(path, 4, &bytes, NULL, &status), LAP_DATA);
  assert_null(bytes);
  assert_non_null(strstr(status.message, "is 5 bytes long; at most 4"));
  assert_int_equal(lap_file_read(directory, 4, &bytes, NULL, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "expected a regular file"));
  assert_int_equal(mkfifo(pipe_path, 0600), 0);
  assert_int_equal(lap_file_read(pipe_path, 4, &bytes, NULL, &status), LAP_DATA);
  assert_int_equal(lap_file_read("/nonexistent/x", 4, &bytes, NULL, &status), LAP_DATA);
  unlink(path);
  unlink(pipe_path);
  free(path);
  free(pipe_path);
}

static void directories_are_made_with_their_parents(void **state) {
  (void)state;
  lap_status status = {0};
  char *deep = inside("a//b/c/"), *file = inside("file"), *below = inside("file/x");
  assert_false(lap_file_exists(deep));
  assert_int_equal(lap_file_make_directories(deep, &status), LAP_OK);
  assert_int_equal(lap_file_make_directories(deep, &status), LAP_OK);
  assert_true(lap_file_exists(deep));
  assert_int_equal(lap_file_write(file, "x", 1, &status), LAP_OK);
  assert_int_equal(lap_file_make_directories(below, &status), LAP_DATA);
  assert_int_equal(lap_file_make_directories(file, &status), LAP_DATA);
  unlink(file);
  free(deep);
  free(file);
  free(below);
}

static void assert_reason(const char *path, bool is_file, const char *reason) {
  lap_status status = {0};
  const lap_code code =
      is_file ? lap_file_write(path, "x", 1, &status) : lap_file_make_directories(path, &status);
  if (code != LAP_DATA || !strstr(status.message, reason))
    fail_msg("%s: code %d, '%s' lacks '%s'", path, code, status.message, reason);
}

/* Of the system, whatever was looked at in between. */
static void no_folder_is_called_as_shells_call_home(void **state) {
  (void)state;
  char *before = getcwd(NULL, 0), *bytes;
  lap_status status = {0};
  assert_int_equal(chdir(directory), 0);
  assert_int_equal(setenv("HOME", "/home/me", 1), 0);
  assert_int_equal(lap_file_make_directories("~/a/b", &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "~/a/b: only a shell reads ~"));
  assert_non_null(strstr(status.message, "write /home/me/a/b"));
  assert_int_equal(lap_file_write("~/a", "x", 1, &status), LAP_USAGE);
  assert_int_equal(lap_file_read("~/a", 1, &bytes, NULL, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "; for ~ write /home/me"));
  assert_false(lap_file_exists("./~"));
  assert_int_equal(lap_file_make_directories("~a/b", &status), LAP_OK);
  assert_int_equal(lap_file_make_directories("./~/a", &status), LAP_OK);
  assert_int_equal(lap_file_make_directories("~/b", &status), LAP_OK); /* it is there now */
  lap_file_remove_tree("~a", &status);
  lap_file_remove_tree("~", &status);
  assert_int_equal(chdir(before), 0);
  free(before);
}

static void the_reason_is_reported(void **state) {
  (void)state;
  lap_status status = {0};
  char *file = inside("file"), *below = inside("file/a/b"), *loop = inside("loop");
  char *in_loop = inside("loop/a"), *broken = inside("broken");
  char *long_name = lap_format("%s/%0300d/a", directory, 7);
  assert_int_equal(lap_file_write(file, "x", 1, &status), LAP_OK);
  assert_int_equal(symlink(loop, loop), 0);
  assert_int_equal(symlink("/nonexistent/x", broken), 0);
  for (int is_file = 0; is_file < 2; ++is_file) {
    assert_reason(below, is_file, is_file ? "Not a directory" : "something else has this name");
    assert_reason(long_name, is_file, "File name too long");
    assert_reason(in_loop, is_file,
                  is_file ? "Too many levels of symbolic links" : "something else has this name");
  }
  assert_reason(broken, false, "something else has this name");
  assert_reason("/proc/nothing/x", false, "/proc/nothing: cannot make the directory: No such file");
  unlink(file);
  unlink(loop);
  unlink(broken);
  char *paths[] = {file, below, loop, in_loop, broken, long_name};
  for (int i = 0; i < 6; ++i) free(paths[i]);
}

/* Root may write everywhere, so another user tries. */
static void a_missing_permission_is_reported(void **state) {
  (void)state;
  enum { NOBODY = 65534 };
  lap_status status = {0};
  char *closed = inside("closed"), *inner = inside("closed/a"), *deep = inside("closed/b/c");
  assert_int_equal(lap_file_make_directories(closed, &status), LAP_OK);
  assert_int_equal(chmod(directory, 0755), 0);
  assert_int_equal(chmod(closed, 0555), 0);
  const bool is_root = geteuid() == 0;
  if (is_root) assert_int_equal(seteuid(NOBODY), 0);
  assert_reason(inner, false, "a: cannot make the directory: Permission denied; see who owns it");
  assert_reason(deep, true, "b: cannot make the directory: Permission denied; see who owns it");
  assert_reason(inner, true, "a: cannot be created: Permission denied; see who owns it");
  if (is_root) assert_int_equal(seteuid(0), 0);
  assert_int_equal(chmod(closed, 0755), 0);
  assert_int_equal(lap_file_remove_tree(closed, &status), LAP_OK);
  free(closed);
  free(inner);
  free(deep);
}

static void missing_parents_are_made(void **state) {
  (void)state;
  lap_status status = {0};
  char *file = inside("p/q/file"), *next = inside("p/r/s/t"), *root = inside("p");
  assert_int_equal(lap_file_write(file, "x", 1, &status), LAP_OK);
  assert_int_equal(lap_file_make_parents(next, &status), LAP_OK);
  assert_false(lap_file_exists(next));
  int descriptor;
  char *temporary;
  assert_int_equal(lap_file_open_temporary(next, &descriptor, &temporary, &status), LAP_OK);
  assert_int_equal(lap_file_sync_and_close(descriptor, next, &status), LAP_OK);
  assert_int_equal(lap_file_publish(temporary, next, &status), LAP_OK);
  assert_true(lap_file_exists(next));
  assert_int_equal(lap_file_make_parents("file-here", &status), LAP_OK);
  assert_int_equal(lap_file_remove_tree(root, &status), LAP_OK);
  free(temporary);
  free(file);
  free(next);
  free(root);
}

static void a_temporary_file_that_cannot_be_made_has_no_name(void **state) {
  (void)state;
  lap_status status = {0};
  char *file = inside("f"), *below = inside("f/g");
  int descriptor;
  char *temporary;
  assert_int_equal(lap_file_write(file, "x", 1, &status), LAP_OK);
  assert_int_equal(lap_file_open_temporary(below, &descriptor, &temporary, &status), LAP_DATA);
  assert_null(temporary);
  assert_int_equal(unlink(file), 0);
  free(file);
  free(below);
}

static void leftovers_of_killed_writers_are_removed_and_only_those(void **state) {
  (void)state;
  const char *left[] = {"a.tmp.17.0", "a.tmp.17.999"};
  const char *foreign[] = {"a",       "a.tmp.",    "a.tmp.17",    "a.tmp.17.0.old",
                           "a.tmp.x", "a.tmp.x.0", "b.a.tmp.17.0"};
  char *parent = inside("leftovers"), *path = inside("leftovers/a");
  lap_status status = {0};
  assert_int_equal(lap_file_make_directories(parent, &status), LAP_OK);
  for (int i = 0; i < 9; ++i) {
    char *file = lap_format("%s/%s", parent, i < 2 ? left[i] : foreign[i - 2]);
    assert_int_equal(lap_file_write(file, "x", 1, &status), LAP_OK);
    free(file);
  }
  lap_file_remove_temporaries(path);
  assert_int_equal(scratch_count(parent), 7);
  assert_int_equal(lap_file_write(path, "y", 1, &status), LAP_OK);
  assert_int_equal(scratch_count(parent), 7);
  char *temporary = inside("leftovers/a.tmp.17.0");
  assert_int_equal(lap_file_write(temporary, "x", 1, &status), LAP_OK);
  assert_int_equal(lap_file_write_alone(path, "z", 1, &status), LAP_OK);
  assert_int_equal(scratch_count(parent), 7);
  free(temporary);
  assert_int_equal(lap_file_remove_tree(parent, &status), LAP_OK);
  lap_file_remove_temporaries(path); /* nothing there: no matter */
  free(path);
  free(parent);
}

static void removing_does_not_follow_links(void **state) {
  (void)state;
  lap_status status = {0};
  char *outside = inside("outside"), *tree = inside("tree/sub"), *link = inside("tree/link");
  char *root = inside("tree"), *precious = inside("outside/precious");
  assert_int_equal(lap_file_make_directories(outside, &status), LAP_OK);
  assert_int_equal(lap_file_make_directories(tree, &status), LAP_OK);
  assert_int_equal(lap_file_write(precious, "x", 1, &status), LAP_OK);
  assert_int_equal(symlink(outside, link), 0);
  assert_int_equal(lap_file_remove_tree(root, &status), LAP_OK);
  assert_false(lap_file_exists(root));
  assert_true(lap_file_exists(precious));
  assert_int_equal(lap_file_remove_tree(root, &status), LAP_OK);
  char *paths[] = {outside, tree, link, root, precious};
  for (int i = 0; i < 5; ++i) free(paths[i]);
}

enum { PIPE_BYTES = 1 << 20 };

/* Begins late: the pipe is full by then, the first signal has cut the write short, and those after
 * it have interrupted a write that had not moved a byte. */
static void *drain(void *argument) {
  const int *ends = argument;
  size_t total = 0;
  char block[4096];
  ssize_t got;
  usleep(100 * 1000);
  while ((got = read(ends[0], block, sizeof block)) > 0) total += (size_t)got;
  return (void *)total;
}

static void ignore_signal(int signal) { (void)signal; }

static void *interrupt(void *argument) {
  for (int i = 0; i < 50; ++i) {
    usleep(1000);
    pthread_kill(*(pthread_t *)argument, SIGUSR2);
  }
  return NULL;
}

static void short_writes_and_signals_lose_nothing(void **state) {
  (void)state;
  const struct sigaction action = {.sa_handler = ignore_signal}; /* without SA_RESTART */
  assert_int_equal(sigaction(SIGUSR2, &action, NULL), 0);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pthread_t reader, signaller, self = pthread_self();
  assert_int_equal(pthread_create(&reader, NULL, drain, ends), 0);
  assert_int_equal(pthread_create(&signaller, NULL, interrupt, &self), 0);
  char *bytes = lap_allocate(PIPE_BYTES, 1);
  lap_status status = {0};
  assert_int_equal(lap_file_write_all(ends[1], "pipe", bytes, PIPE_BYTES, &status), LAP_OK);
  close(ends[1]);
  void *total;
  pthread_join(signaller, NULL);
  pthread_join(reader, &total);
  assert_int_equal((size_t)total, PIPE_BYTES);
  close(ends[0]);
  free(bytes);
}

/* --- what is brought to disk, and when --- */

/* The linker puts these in the places of fsync and rename. */
int __real_fsync(int descriptor);
int __real_rename(const char *from, const char *to);
int __wrap_fsync(int descriptor);
int __wrap_rename(const char *from, const char *to);

/* One letter a call: f and d for fsync of a file and of a directory, r for rename. */
static char journal[16];
static size_t called;

static void note(char call) {
  if (called + 1 < sizeof journal) journal[called++] = call;
}

static int directories_fail; /* errno; 0: they do not */

int __wrap_fsync(int descriptor) {
  struct stat facts;
  const bool is_directory = fstat(descriptor, &facts) == 0 && S_ISDIR(facts.st_mode);
  note(is_directory ? 'd' : 'f');
  if (!is_directory || directories_fail == 0) return __real_fsync(descriptor);
  errno = directories_fail;
  return -1;
}

int __wrap_rename(const char *from, const char *to) {
  note('r');
  return __real_rename(from, to);
}

/* A kill shows nothing of this: only where the machine itself goes down, a name may stand for
 * nothing, or be gone. */
static void bytes_are_on_disk_before_their_name_and_the_name_before_success(void **state) {
  (void)state;
  lap_status status = {0};
  char *path = inside("synced");
  memset(journal, 0, sizeof journal);
  called = 0;
  assert_int_equal(lap_file_write(path, "x", 1, &status), LAP_OK);
  assert_string_equal(journal, "frd");
  unlink(path);
  free(path);
}

/* Some file systems sync no directories, and who may write into one may not read it. */
static void a_directory_that_nobody_can_sync_is_written_all_the_same(void **state) {
  (void)state;
  enum { NOBODY = 65534 };
  lap_status status = {0};
  char *parent = inside("unread"), *path = inside("unread/file");
  assert_int_equal(lap_file_make_directories(parent, &status), LAP_OK);
  assert_int_equal(chmod(directory, 0755), 0);
  assert_int_equal(chmod(parent, 0333), 0);
  const bool is_root = geteuid() == 0;
  if (is_root) assert_int_equal(seteuid(NOBODY), 0);
  const lap_code unread = lap_file_write(path, "x", 1, &status);
  if (is_root) assert_int_equal(seteuid(0), 0);
  assert_int_equal(unread, LAP_OK);
  assert_int_equal(chmod(parent, 0755), 0);
  directories_fail = EINVAL;
  const lap_code unable = lap_file_write(path, "x", 1, &status);
  directories_fail = EIO;
  const lap_code broken = lap_file_write(path, "x", 1, &status);
  directories_fail = 0;
  assert_int_equal(unable, LAP_OK);
  assert_int_equal(broken, LAP_DATA);
  assert_non_null(strstr(status.message, "unread: cannot be brought to disk: Input/output error"));
  assert_int_equal(lap_file_remove_tree(parent, &status), LAP_OK);
  free(path);
  free(parent);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read_back),
      cmocka_unit_test(a_failed_write_leaves_nothing_and_says_why),
      cmocka_unit_test(a_full_disk_is_reported),
      cmocka_unit_test(a_larger_file_and_other_things_are_not_read),
      cmocka_unit_test(directories_are_made_with_their_parents),
      cmocka_unit_test(no_folder_is_called_as_shells_call_home),
      cmocka_unit_test(the_reason_is_reported),
      cmocka_unit_test(a_missing_permission_is_reported),
      cmocka_unit_test(missing_parents_are_made),
      cmocka_unit_test(a_temporary_file_that_cannot_be_made_has_no_name),
      cmocka_unit_test(leftovers_of_killed_writers_are_removed_and_only_those),
      cmocka_unit_test(removing_does_not_follow_links),
      cmocka_unit_test(short_writes_and_signals_lose_nothing),
      cmocka_unit_test(bytes_are_on_disk_before_their_name_and_the_name_before_success),
      cmocka_unit_test(a_directory_that_nobody_can_sync_is_written_all_the_same),
  };
  return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
