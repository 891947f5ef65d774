/* machine: what is seen of this machine against what the system says in other ways, and what is
 * said of machines that are made up. Linked so that the job and the cores are made up too (--wrap):
 * any number of ranks on any nodes. */
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/node_memory.h"
#include "tests/scratch.h"
#include "tests/trainer/doctor/printed.h"

/* --- a job that is made up --- */

enum { MOST_RANKS = 4, GIB = 1 << 30 };

static struct { int ranks, node[MOST_RANKS]; } job;

int __wrap_lap_comm_size(const lap_comm *comm);
int __wrap_lap_comm_node(const lap_comm *comm, int rank);
const char *__wrap_lap_comm_host(const lap_comm *comm, int rank);

int __wrap_lap_comm_size(const lap_comm *comm) {
  (void)comm;
  return job.ranks;
}

int __wrap_lap_comm_node(const lap_comm *comm, int rank) {
  (void)comm;
  return job.node[rank];
}

const char *__wrap_lap_comm_host(const lap_comm *comm, int rank) {
  static const char *const hosts[] = {"north", "south"};
  (void)comm;
  return hosts[job.node[rank]];
}

/* --- cores that are made up --- */

static const cpu_set_t *made_up_cores; /* NULL: those that there are */

int __real_sched_getaffinity(pid_t process, size_t size, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t process, size_t size, cpu_set_t *set);

int __wrap_sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
  if (!made_up_cores) return __real_sched_getaffinity(process, size, set);
  *set = *made_up_cores;
  return 0;
}

/* --- what is seen --- */

/* The first line of a file that begins with `key`; "" where there is none. */
static void first_line(const char *path, const char *key, char *line, int size) {
  FILE *file = fopen(path, "r");
  line[0] = '\0';
  while (file && fgets(line, size, file) && strncmp(line, key, strlen(key)) != 0) line[0] = '\0';
  if (file) fclose(file);
  line[strcspn(line, "\n")] = '\0';
}

static void memory_and_cores_are_those_of_the_system(void **state) {
  (void)state;
  lap_machine_facts facts;
  lap_machine_look(&facts);
  assert_int_equal(facts.memory_bytes, lap_node_memory_look("").bytes);
  assert_in_range(facts.available_bytes, 1, facts.memory_bytes);
  assert_int_equal(facts.online_cores, sysconf(_SC_NPROCESSORS_ONLN));
  assert_in_range(facts.cache_bytes, 64 << 10, INT64_C(8) << 30);
  cpu_set_t set;
  assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
  assert_int_equal(facts.bound_cores, CPU_COUNT(&set));
  for (int core = 0; core < 1024; ++core)
    assert_int_equal(facts.bound_set[core / 64] >> core % 64 & 1, CPU_ISSET(core, &set) != 0);
}

static void put_cache(const char *root, int core, int level, const char *size, const char *cores) {
  lap_status status = {0};
  char *directory = lap_format("%s/sys/devices/system/cpu/cpu%d/cache/index%d", root, core, level);
  assert_int_equal(lap_file_make_directories(directory, &status), LAP_OK);
  scratch_write(directory, "size", size, strlen(size));
  if (cores) scratch_write(directory, "shared_cpu_list", cores, strlen(cores));
  free(directory);
}

/* Two sockets, the first with two caches of the last level; core 1 is offline. */
static void the_caches_of_all_sockets_are_counted_once(void **state) {
  (void)state;
  static const char *const shared[] = {"0\n",   NULL,    "2-3,6\n", "2-3,6\n",
                                       "4-5\n", "4-5\n", "2-3,6\n"};
  char *root = scratch_create();
  assert_int_equal(lap_last_level_caches(root), 8 << 20);
  put_cache(root, 0, 2, "1024K\n", "0\n");
  put_cache(root, 2, 2, "1024K\n", "2\n");
  assert_int_equal(lap_last_level_caches(root), 2 << 20);
  for (int core = 0; core < 7; ++core)
    if (shared[core]) put_cache(root, core, 3, core < 4 ? "16384K\n" : "32768K\n", shared[core]);
  assert_int_equal(lap_last_level_caches(root), (16 + 16 + 32) << 20);
  scratch_remove(root);
  root = scratch_create(); /* of old kernels, which say no more */
  put_cache(root, 0, 3, "16384K\n", NULL);
  put_cache(root, 1, 3, "16384K\n", NULL);
  assert_int_equal(lap_last_level_caches(root), 16 << 20);
  scratch_remove(root);
}

static void a_rank_that_is_bound_sees_its_core_alone(void **state) {
  (void)state;
  cpu_set_t before, one;
  assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
  for (int core = 0; core < 1024; ++core) {
    if (!CPU_ISSET(core, &before)) continue;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    lap_machine_facts facts;
    lap_machine_look(&facts);
    assert_int_equal(facts.bound_cores, 1);
    for (int word = 0; word < 16; ++word)
      assert_true(facts.bound_set[word] == (word == core / 64 ? UINT64_C(1) << core % 64 : 0));
  }
  assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void cores_of_large_machines_have_a_bit_each(void **state) {
  (void)state;
  static const int cores[] = {0, 31, 32, 63, 64, 100, 127, 128, 959, 1023};
  enum { CORES = sizeof cores / sizeof *cores };
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < CORES; ++i) CPU_SET(cores[i], &set);
  made_up_cores = &set;
  lap_machine_facts facts;
  lap_machine_look(&facts);
  made_up_cores = NULL;
  assert_int_equal(facts.bound_cores, CORES);
  for (int core = 0; core < 1024; ++core)
    assert_int_equal(facts.bound_set[core / 64] >> core % 64 & 1, CPU_ISSET(core, &set) != 0);
}

static void settings_are_those_of_the_system(void **state) {
  (void)state;
  static const struct {
    const char *policy; /* NULL: not set */
    double least, most;
  } cases[] = {{NULL, 100, 1e5},
               {"passive", 0, 0},
               {"active", INFINITY, INFINITY},
               {"ACTIVE", INFINITY, INFINITY},
               {"", 100, 1e5}};
  lap_machine_facts facts;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    if (cases[i].policy)
      setenv("OMP_WAIT_POLICY", cases[i].policy, 1);
    else
      unsetenv("OMP_WAIT_POLICY");
    lap_machine_look(&facts);
    assert_true(facts.spin_microseconds >= cases[i].least);
    assert_true(facts.spin_microseconds <= cases[i].most);
  }
  char line[512];
  first_line("/sys/kernel/mm/transparent_hugepage/enabled", "", line, sizeof line);
  assert_int_equal(facts.huge_pages, strstr(line, "[never]")     ? 0
                                     : strstr(line, "[madvise]") ? 1
                                     : strstr(line, "[always]")  ? 2
                                                                 : -1);
  first_line("/proc/cpuinfo", "model name", line, sizeof line);
  const char *name = strchr(line, ':');
  char expected[sizeof facts.cpu];
  snprintf(expected, sizeof expected, "%s", name ? name + 2 : "unknown");
  assert_string_equal(facts.cpu, expected);
  double before[1], after[1];
  assert_int_equal(getloadavg(before, 1), 1);
  lap_machine_look(&facts);
  assert_int_equal(getloadavg(after, 1), 1);
  assert_true(facts.load == before[0] || facts.load == after[0]);
}

/* --- what is said --- */

/* A rank that may run on cores [first, first + cores) of a quiet machine of eight. */
static lap_machine_facts rank_on(int first, int cores) {
  lap_machine_facts facts = {.memory_bytes = INT64_C(64) * GIB,
                             .available_bytes = INT64_C(60) * GIB,
                             .online_cores = 8,
                             .bound_cores = cores,
                             .huge_pages = 1,
                             .load = 1,
                             .cpu = "Example CPU"};
  for (int core = first; core < first + cores; ++core)
    facts.bound_set[core / 64] |= UINT64_C(1) << core % 64;
  return facts;
}

static lap_diagnosis *check(const lap_machine_facts *all, int ranks, int threads) {
  job.ranks = ranks;
  lap_diagnosis *findings = lap_diagnosis_create();
  lap_machine_check(NULL, all, threads, findings);
  assert_null(lap_diagnosis_stop(findings)); /* a machine never stops a run */
  return findings;
}

static void expect_binding(const lap_machine_facts *all, int ranks, int threads,
                           const char *verdict, const char *text) {
  lap_diagnosis *findings = check(all, ranks, threads);
  expect_line(findings, verdict, "binding", text);
  lap_diagnosis_destroy(findings);
}

static void cores_are_compared_with_threads(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  const lap_machine_facts free_rank = rank_on(0, 8), pair[2] = {rank_on(0, 8), rank_on(0, 8)};
  expect_binding(&free_rank, 1, 1, "ok",
                 "rank 0 on north may run on 8 of 8 cores, together with 0 other ranks");
  expect_binding(&free_rank, 1, 8, "ok", "8 of 8 cores");
  expect_binding(&free_rank, 1, 9, "slow", "9 threads a rank, more than these cores");
  expect_binding(pair, 2, 4, "ok",
                 "rank 0 on north may run on 8 of 8 cores, together with 1 other rank");
  expect_binding(pair, 2, 5, "slow", "5 threads a rank, more than these cores");
  /* Two that share nothing. */
  const lap_machine_facts apart[2] = {rank_on(0, 4), rank_on(4, 4)};
  expect_binding(apart, 2, 4, "ok", "4 of 8 cores, together with 0 other ranks");
  expect_binding(apart, 2, 5, "slow", "too few for 5 threads");
  /* Cores beyond the first word. */
  const lap_machine_facts high[2] = {rank_on(70, 4), rank_on(73, 4)};
  expect_binding(high, 2, 2, "ok", "4 of 8 cores, together with 1 other rank");
}

static void a_rank_bound_to_one_core_is_noted(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  const lap_machine_facts apart[2] = {rank_on(0, 1), rank_on(1, 1)};
  expect_binding(apart, 2, 1, "note", "1 of 8 cores");
  expect_binding(apart, 2, 2, "slow", "too few for 2 threads");
  /* Two ranks on three cores are not bound to one each. */
  const lap_machine_facts three[2] = {rank_on(0, 3), rank_on(0, 3)};
  expect_binding(three, 2, 1, "note", "1 other rank: fewer than two cores each");
  const lap_machine_facts together[2] = {rank_on(3, 1), rank_on(3, 1)};
  expect_binding(together, 2, 1, "slow", "1 thread a rank, more than these cores");
  lap_machine_facts lone = rank_on(0, 1);
  lone.online_cores = 1; /* all that there is */
  expect_binding(&lone, 1, 1, "ok", "1 of 1 cores");
}

static void the_rank_with_the_fewest_cores_is_named(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  const lap_machine_facts all[4] = {rank_on(0, 4), rank_on(4, 4), rank_on(0, 8), rank_on(0, 3)};
  job.node[2] = job.node[3] = 1;
  expect_binding(all, 4, 1, "note",
                 "rank 3 on south may run on 3 of 8 cores, together with 1 other");
  job.node[2] = job.node[3] = 0; /* the same cores of one node */
  expect_binding(all, 4, 1, "note",
                 "rank 3 on north may run on 3 of 8 cores, together with 2 other");
  job.node[3] = 1;
  job.node[1] = 1;
  expect_binding(all, 4, 4, "slow", "rank 0 on north may run on 4 of 8 cores, together with 1");
}

static void ranks_processors_and_memory_are_reported(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  lap_machine_facts all[4] = {rank_on(0, 8), rank_on(0, 8), rank_on(0, 8), rank_on(0, 8)};
  lap_diagnosis *findings = check(all, 4, 1);
  expect_line(findings, "ok", "ranks", "4 on 1 node");
  expect_line(findings, "ok", "CPU", "Example CPU, 8 cores a node");
  expect_line(findings, "ok", "memory", "64.0 GiB a node, 60.0 GiB of it available");
  lap_diagnosis_destroy(findings);
  job.node[2] = job.node[3] = 1;
  snprintf(all[3].cpu, sizeof all[3].cpu, "Another CPU");
  all[2].memory_bytes = INT64_C(32) * GIB; /* less, but more of it available */
  all[1].available_bytes = INT64_C(5) * GIB;
  findings = check(all, 4, 1);
  expect_line(findings, "ok", "ranks", "4 on 2 nodes");
  expect_line(findings, "note", "CPU", "Example CPU on rank 0, another on 1 rank");
  expect_line(findings, "ok", "memory", "64.0 GiB a node, 5.00 GiB of it available");
  lap_diagnosis_destroy(findings);
  all[1].memory_bytes = INT64_C(6) * GIB;
  all[1].memory_is_limited = 1;
  findings = check(all, 4, 1);
  expect_line(findings, "ok", "memory",
              "6.00 GiB a node by the limit of the job, 5.00 GiB of it available");
  lap_diagnosis_destroy(findings);
}

static void settings_are_judged(void **state) {
  (void)state;
  memset(&job, 0, sizeof job);
  lap_machine_facts all[3] = {rank_on(0, 8), rank_on(0, 8), rank_on(0, 8)};
  lap_diagnosis *findings = check(all, 3, 1);
  expect_line(findings, "ok", "OpenMP", "");
  expect_line(findings, "ok", "huge pages", "madvise");
  assert_false(printed_subject(findings, "other work"));
  lap_diagnosis_destroy(findings);
  all[1].spin_microseconds = 30;
  all[2].spin_microseconds = 4200;
  all[0].huge_pages = 0;
  all[2].load = 12.5; /* on 8 cores */
  findings = check(all, 3, 1);
  expect_line(findings, "slow", "OpenMP", "spin for 4200 us");
  expect_line(findings, "note", "huge pages", "off");
  expect_line(findings, "slow", "other work", "load 12.5 on 8 cores");
  lap_diagnosis_destroy(findings);
  all[0].huge_pages = 2;
  all[2].load = 12; /* one a core may be ours */
  findings = check(all, 3, 1);
  expect_line(findings, "ok", "huge pages", "always");
  assert_false(printed_subject(findings, "other work"));
  lap_diagnosis_destroy(findings);
  all[0].huge_pages = -1;
  findings = check(all, 3, 1);
  assert_false(printed_subject(findings, "huge pages"));
  lap_diagnosis_destroy(findings);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_and_cores_are_those_of_the_system),
      cmocka_unit_test(the_caches_of_all_sockets_are_counted_once),
      cmocka_unit_test(a_rank_that_is_bound_sees_its_core_alone),
      cmocka_unit_test(cores_of_large_machines_have_a_bit_each),
      cmocka_unit_test(settings_are_those_of_the_system),
      cmocka_unit_test(cores_are_compared_with_threads),
      cmocka_unit_test(a_rank_bound_to_one_core_is_noted),
      cmocka_unit_test(the_rank_with_the_fewest_cores_is_named),
      cmocka_unit_test(ranks_processors_and_memory_are_reported),
      cmocka_unit_test(settings_are_judged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
