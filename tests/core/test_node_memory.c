/* node_memory: what a job may use, by trees of control groups as Slurm, Kubernetes and old systems
 * make them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/node_memory.h"
#include "tests/scratch.h"

static char *root;

static int make_node(void **state) {
  (void)state;
  root = scratch_create();
  return 0;
}

static int remove_node(void **state) {
  (void)state;
  scratch_remove(root);
  return 0;
}

static void put(const char *name, const char *text) {
  lap_status status = {0};
  char *path = lap_format("%s/%s", root, name);
  char *directory = lap_format("%.*s", (int)(strrchr(path, '/') - path), path);
  assert_int_equal(lap_file_make_directories(directory, &status), LAP_OK);
  assert_int_equal(lap_file_write(path, text, strlen(text), &status), LAP_OK);
  free(directory);
  free(path);
}

static void put_in(const char *group, const char *name, const char *text) {
  char *path = lap_format("%s/%s", group, name);
  put(path, text);
  free(path);
}

/* A node of 64 GiB, 60 of them available. */
static void put_node(const char *groups) {
  put("proc/meminfo",
      "MemTotal:       67108864 kB\nMemFree:        50000000 kB\n"
      "MemAvailable:   62914560 kB\n");
  put("proc/self/cgroup", groups);
}

static const int64_t gib = 1 << 30;

static void expect(int64_t bytes, int64_t available, bool is_limited) {
  const lap_node_memory memory = lap_node_memory_look(root);
  assert_int_equal(memory.bytes, bytes);
  assert_int_equal(memory.available, available);
  assert_int_equal(memory.is_limited, is_limited);
}

static void test_node_without_groups(void **state) {
  (void)state;
  expect(0, 0, false); /* nor /proc */
  put_node("");
  expect(64 * gib, 60 * gib, false);
}

/* The least limit counts, whichever group has it; so does the fullest group. */
static void test_version_2(void **state) {
  (void)state;
  put_node("1:name=systemd:/else\n0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n");
  put("sys/fs/cgroup/memory.stat", "anon 1\n"); /* the root has no limit */
  const char *const job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7";
  put_in(job, "step_0/user/task_0/memory.max", "max\n");
  expect(64 * gib, 60 * gib, false);

  put_in(job, "memory.max", "8589934592\n");
  expect(8 * gib, 8 * gib, true);
  put_in(job, "memory.current", "3221225472\n");
  expect(8 * gib, 5 * gib, true);
  /* Pages of files go when memory is wanted. */
  put_in(job, "memory.stat", "anon 1\ninactive_file_else 7\nslab 3\ninactive_file 2147483648\n");
  expect(8 * gib, 7 * gib, true);
  put_in(job, "step_0/memory.max", "4294967296\n");
  expect(4 * gib, 4 * gib, true);
  put("sys/fs/cgroup/system.slice/memory.max", "34359738368\n");
  put("sys/fs/cgroup/system.slice/memory.current", "34359738369\n");
  expect(4 * gib, 0, true);
}

/* As in a container, which does not see the names above its own group. */
static void test_version_1(void **state) {
  (void)state;
  put_node("5:devices:/docker/ab\n4:cpuacct,memory:/docker/ab\n0::/docker/ab\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
  expect(64 * gib, 60 * gib, false);
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  put("sys/fs/cgroup/memory/memory.stat", "inactive_file 5\ntotal_inactive_file 536870912\n");
  expect(2 * gib, gib + gib / 2, true);
}

static void test_this_node(void **state) {
  (void)state;
  const lap_node_memory memory = lap_node_memory_look("");
  assert_true(memory.bytes > 0 && memory.bytes <= sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
  assert_true(memory.available > 0 && memory.available <= memory.bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_node_without_groups, make_node, remove_node),
      cmocka_unit_test_setup_teardown(test_version_2, make_node, remove_node),
      cmocka_unit_test_setup_teardown(test_version_1, make_node, remove_node),
      cmocka_unit_test(test_this_node),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
