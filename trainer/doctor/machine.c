#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/node_memory.h"
#include "trainer/cli/human.h"
#include "trainer/cli/share_cores.h"
#include "trainer/doctor/diagnosis.h"

/* --- looking --- */

/* The rest of the line of a file of /proc that begins with `key`, after blanks and ':'. */
static bool read_line(const char *path, const char *key, char *text, size_t size) {
  FILE *file = fopen(path, "r");
  char line[512];
  bool found = false;
  while (file && !found && fgets(line, sizeof line, file)) {
    if (strncmp(line, key, strlen(key)) != 0) continue;
    const char *rest = line + strlen(key);
    rest += strspn(rest, " \t:");
    snprintf(text, size, "%.*s", (int)strcspn(rest, "\n"), rest);
    found = true;
  }
  if (file) fclose(file);
  return found;
}

/* The number that a file of a core's cache begins with; `otherwise` where there is none. */
static int64_t number_of_cache(const char *root, int core, int level, const char *name,
                               int64_t otherwise) {
  char text[64], *path = lap_format("%s/sys/devices/system/cpu/cpu%d/cache/index%d/%s", root, core,
                                    level, name);
  const bool read = read_line(path, "", text, sizeof text);
  free(path);
  return read ? strtoll(text, NULL, 10) : otherwise;
}

/* As the kernel knows them: sysconf sums the caches of cores that a virtual machine has not got.
 * Each socket has its own, some several; cores that share one count it at the first of them. */
int64_t lap_last_level_caches(const char *root) {
  enum { USUAL_CACHE = 8 << 20, MOST_CORES = 1024 };
  for (int level = 3; level >= 2; --level) {
    int64_t kib = 0;
    for (int core = 0; core < MOST_CORES; ++core)
      if (number_of_cache(root, core, level, "shared_cpu_list", 0) == core)
        kib += number_of_cache(root, core, level, "size", 0);
    if (kib > 0) return kib << 10;
  }
  return USUAL_CACHE;
}

static void look_at_binding(lap_machine_facts *facts) {
  cpu_set_t set;
  facts->online_cores = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
  facts->bound_cores = facts->online_cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return;
  facts->bound_cores = CPU_COUNT(&set);
  for (int core = 0; core < CPU_SETSIZE && core < 1024; ++core)
    if (CPU_ISSET(core, &set)) facts->bound_set[core / 64] |= UINT64_C(1) << core % 64;
}

void lap_machine_look(lap_machine_facts *facts) {
  char text[128];
  const lap_node_memory memory = lap_node_memory_look("");
  *facts = (lap_machine_facts){.memory_bytes = memory.bytes,
                               .available_bytes = memory.available,
                               .memory_is_limited = memory.is_limited,
                               .huge_pages = -1};
  look_at_binding(facts);
  facts->cache_bytes = lap_last_level_caches("");
  if (read_line("/sys/kernel/mm/transparent_hugepage/enabled", "", text, sizeof text))
    facts->huge_pages = strstr(text, "[always]") ? 2 : strstr(text, "[madvise]") ? 1 : 0;
  facts->spin_microseconds = lap_spin_microseconds();
  double load[1];
  facts->load = getloadavg(load, 1) == 1 ? load[0] : 0;
  if (!read_line("/proc/cpuinfo", "model name", facts->cpu, sizeof facts->cpu))
    snprintf(facts->cpu, sizeof facts->cpu, "unknown");
}

/* --- findings --- */

/* How many ranks of a rank's node may run on one of its cores, itself included. */
static int sharers(lap_comm *comm, const lap_machine_facts *all, int rank) {
  int count = 0;
  for (int other = 0; other < lap_comm_size(comm); ++other) {
    if (lap_comm_node(comm, other) != lap_comm_node(comm, rank)) continue;
    bool meet = false;
    for (int word = 0; word < 16; ++word)
      meet = meet || (all[rank].bound_set[word] & all[other].bound_set[word]);
    count += meet;
  }
  return count;
}

/* The rank with the fewest cores for what is to run on them. */
static void check_binding(lap_comm *comm, const lap_machine_facts *all, int threads,
                          lap_diagnosis *findings) {
  int worst = 0, worst_sharers = 1;
  double fewest = 1e9;
  for (int rank = 0; rank < lap_comm_size(comm); ++rank) {
    const int together = sharers(comm, all, rank);
    const double each = (double)all[rank].bound_cores / (together > 0 ? together : 1);
    if (each >= fewest) continue;
    fewest = each;
    worst = rank;
    worst_sharers = together;
  }
  const lap_machine_facts *f = &all[worst];
  const bool bound = f->bound_cores < f->online_cores;
  char what[160];
  snprintf(what, sizeof what,
           "rank %d on %s may run on %d of %d cores, together with %d other rank%s", worst,
           lap_comm_host(comm, worst), f->bound_cores, f->online_cores, worst_sharers - 1,
           worst_sharers == 2 ? "" : "s");
  if (fewest < threads && bound && worst_sharers == 1)
    lap_diagnosis_add(findings, LAP_SEVERITY_SLOW, "binding",
                      "use mpirun --bind-to none, or --map-by slot:PE=THREADS",
                      "%s: too few for %d threads", what, threads);
  else if (fewest < threads)
    lap_diagnosis_add(findings, LAP_SEVERITY_SLOW, "binding",
                      "start fewer ranks on the node, or give each fewer threads",
                      "%s: %d thread%s a rank, more than these cores run at once", what, threads,
                      threads == 1 ? "" : "s");
  else if (bound && fewest < 2)
    lap_diagnosis_add(
        findings, LAP_SEVERITY_NOTE, "binding",
        "keep threads at 1, or use mpirun --bind-to none with threads > 1",
        "%s: fewer than two cores each; messages take theirs from the one that computes", what);
  else
    lap_diagnosis_add(findings, LAP_SEVERITY_OK, "binding", "", "%s", what);
}

static void check_memory(const lap_machine_facts *all, int ranks, lap_diagnosis *findings) {
  int poorest = 0;
  for (int rank = 1; rank < ranks; ++rank)
    if (all[rank].available_bytes < all[poorest].available_bytes) poorest = rank;
  const lap_machine_facts *f = &all[poorest];
  char total[LAP_HUMAN_TEXT], available[LAP_HUMAN_TEXT];
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "memory", "", "%s a node%s, %s of it available",
                    lap_human_bytes((double)f->memory_bytes, total),
                    f->memory_is_limited ? " by the limit of the job" : "",
                    lap_human_bytes((double)f->available_bytes, available));
}

static void check_settings(const lap_machine_facts *all, int ranks, lap_diagnosis *findings) {
  static const char *const pages[] = {"never", "madvise", "always"};
  enum { LONG_MICROSECONDS = 500 };
  double load = 0, spin = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    if (all[rank].spin_microseconds > spin) spin = all[rank].spin_microseconds;
    if (all[rank].load > load) load = all[rank].load;
  }
  if (spin > LONG_MICROSECONDS)
    lap_diagnosis_add(
        findings, LAP_SEVERITY_SLOW, "OpenMP",
        "unset OMP_WAIT_POLICY and GOMP_SPINCOUNT: waiting threads take the cores from "
        "messages, other ranks and other jobs",
        "waiting threads spin for %.0f us", spin);
  else
    lap_diagnosis_add(findings, LAP_SEVERITY_OK, "OpenMP", "",
                      "waiting threads spin for %.0f us, then sleep", spin);
  if (all[0].huge_pages == 0)
    lap_diagnosis_add(findings, LAP_SEVERITY_NOTE, "huge pages",
                      "madvise or always in /sys/kernel/mm/transparent_hugepage/enabled may be a "
                      "little faster",
                      "transparent huge pages are off");
  else if (all[0].huge_pages > 0)
    lap_diagnosis_add(findings, LAP_SEVERITY_OK, "huge pages", "", "%s", pages[all[0].huge_pages]);
  /* One a rank of ours may be in it already. */
  if (load > 1.5 * all[0].online_cores)
    lap_diagnosis_add(findings, LAP_SEVERITY_SLOW, "other work",
                      "other programs run on these cores; measure again when they have ended",
                      "load %.1f on %d cores", load, all[0].online_cores);
}

void lap_machine_check(lap_comm *comm, const lap_machine_facts *all, int threads,
                       lap_diagnosis *findings) {
  const int ranks = lap_comm_size(comm), nodes = lap_comm_nodes(comm);
  int different = 0;
  for (int rank = 1; rank < ranks; ++rank) different += strcmp(all[rank].cpu, all[0].cpu) != 0;
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "ranks", "", "%d on %d node%s", ranks, nodes,
                    nodes == 1 ? "" : "s");
  if (different)
    lap_diagnosis_add(findings, LAP_SEVERITY_NOTE, "CPU",
                      "every step waits for the slowest; the kernels are those that all can run",
                      "%s on rank 0, another on %d rank%s", all[0].cpu, different,
                      different == 1 ? "" : "s");
  else
    lap_diagnosis_add(findings, LAP_SEVERITY_OK, "CPU", "", "%s, %d cores a node", all[0].cpu,
                      all[0].online_cores);
  check_binding(comm, all, threads, findings);
  check_memory(all, ranks, findings);
  check_settings(all, ranks, findings);
}
