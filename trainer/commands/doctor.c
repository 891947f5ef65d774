/* doctor: what this machine and this MPI will do, before a run is started on them.
 *
 * For whoever sets up a cluster, under the mpirun line that training will have. It measures cores,
 * memory, links and the costs of the ops on all ranks at once, tries in --dir what checkpoints rely
 * on and leaves nothing there, and prints findings with advice; --json prints a hardware file for
 * `lapidary plan --hardware`. Collective. It fails only where training cannot work.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "autograd/kernel/matmul/kernels.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/link_rate.h"
#include "trainer/cli/command.h"
#include "trainer/cli/core_use.h"
#include "trainer/cli/session.h"
#include "trainer/commands/entries.h"
#include "trainer/doctor/diagnosis.h"
#include "trainer/doctor/unit_costs.h"
#include "trainer/plan/hardware.h"

typedef struct {
  bool quick;
  int64_t threads;
  double watchdog_seconds;
  const char *directory;
} doctor_flags;

static const lap_flag flags_of_doctor[] = {
    {.name = "quick",
     .offset = offsetof(doctor_flags, quick),
     .help = "about 5 seconds instead of 20, with rougher rates"},
    {.name = "threads",
     .value = "N",
     .integer = {1, 1024},
     .offset = offsetof(doctor_flags, threads),
     .help = "that each rank will have [1]; what is measured has one in any case"},
    {.name = "watchdog-seconds",
     .value = "S",
     .real = {1, 1e9},
     .offset = offsetof(doctor_flags, watchdog_seconds),
     .help = "longest wait for another rank [60]"},
    {.name = "dir",
     .value = "PATH",
     .offset = offsetof(doctor_flags, directory),
     .help = "where run directories will be [.]"},
    {0}};

/* --- measuring --- */

/* The least of what ranks that have such a link saw of its bandwidth, the most of its latency. */
static lap_link join_link(lap_comm *comm, const lap_link_rate *mine) {
  const int ranks = lap_comm_size(comm);
  lap_link_rate *all = lap_allocate(ranks, sizeof *all);
  lap_gather_all(comm, mine, sizeof *mine, all);
  lap_link link = {0};
  for (int r = 0; r < ranks; ++r) {
    if (!all[r].peers) continue;
    if (all[r].latency_seconds > link.latency_seconds)
      link.latency_seconds = all[r].latency_seconds;
    if (link.bytes_per_second == 0 || all[r].bytes_per_second < link.bytes_per_second)
      link.bytes_per_second = all[r].bytes_per_second;
  }
  free(all);
  return link;
}

static void measure(lap_comm *comm, const lap_machine_facts *all, bool quick, lap_hardware *h) {
  const int ranks = lap_comm_size(comm);
  const int on_node = lap_comm_ranks_on_node(comm);
  int64_t fewest, most;
  lap_agree_range(comm, all[lap_comm_rank(comm)].cache_bytes / on_node, &fewest, &most);
  *h = (lap_hardware){.name = lap_copy_string(lap_comm_host(comm, 0)),
                      .ranks = ranks,
                      .nodes = lap_comm_nodes(comm),
                      .cores_per_node = all[0].online_cores,
                      .memory_bytes = (double)all[0].memory_bytes,
                      .cache_bytes = (double)fewest};
  for (int r = 1; r < ranks; ++r)
    if ((double)all[r].memory_bytes < h->memory_bytes)
      h->memory_bytes = (double)all[r].memory_bytes;
  lap_link_rate rate;
  lap_measure_link(comm, false, quick ? 0.3 : 1, &rate);
  h->within_node = join_link(comm, &rate);
  lap_measure_link(comm, true, quick ? 0.3 : 1, &rate);
  h->between_nodes = join_link(comm, &rate);
  lap_measure_unit_costs(comm, quick ? 1.5 : 9, h);
}

/* Collective. The process multiplies in bfloat16 from here on. */
static lap_code check_bfloat16(const lap_session *session, bool quick, lap_hardware *hardware,
                               lap_diagnosis *findings, lap_status *status) {
  const lap_gemm_choice choice = {.backend = LAP_GEMM_LAPIDARY, .precision = LAP_MATMUL_BFLOAT16};
  LAP_TRY(lap_session_open_gemm(session, choice, 1, status));
  const double peak = lap_measure_peak(session->comm);
  lap_measure_bfloat16_costs(session->comm, quick ? 1 : 6, hardware);
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "bfloat16", "",
                    "%.0f GFLOP/s a rank with precision: bfloat16, %s; %.0f %% of the peak of the "
                    "processor's widest unit",
                    hardware->bfloat16_gflops, lap_matmul_kernel_here()->bfloat16,
                    100 * hardware->bfloat16_gflops / peak);
  return LAP_OK;
}

/* --- what it means --- */

static void check_link(const lap_link *link, const char *subject, double slow, const char *advice,
                       lap_diagnosis *findings) {
  if (link->bytes_per_second == 0) return;
  const bool is_slow = link->bytes_per_second < slow;
  lap_diagnosis_add(findings, is_slow ? LAP_SEVERITY_SLOW : LAP_SEVERITY_OK, subject,
                    is_slow ? advice : "",
                    "%.2f GB/s a rank with all of them sending, %.0f us a round of small messages",
                    link->bytes_per_second / 1e9, link->latency_seconds * 1e6);
}

/* Collective. Whether that is too much, the finding on binding says. */
static void say_cores(lap_comm *comm, int threads, lap_diagnosis *findings) {
  const lap_core_use use = lap_core_use_of(comm, threads);
  char text[256];
  lap_core_use_print(&use, text, sizeof text);
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "cores", "", "%s", text);
}

/* Which kernel rank 0 multiplies with, and why not one of those that are faster. */
static void check_kernel(lap_diagnosis *findings) {
  const lap_matmul_kernel *const *all = lap_matmul_kernels(), *here = lap_matmul_kernel_here();
  const char *asked = getenv("LAPIDARY_KERNEL");
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "products", "",
                    "lapidary's kernel %s; the same bits on every processor", here->name);
  if (asked && *asked) {
    if (here != *all)
      lap_diagnosis_add(findings, LAP_SEVERITY_NOTE, "products", "",
                        "LAPIDARY_KERNEL=%s limits the kernels", asked);
    return;
  }
  for (; *all != here; ++all)
    if ((*all)->runs_here())
      lap_diagnosis_add(findings, LAP_SEVERITY_SLOW, "products",
                        "report the processor: its unit adds in an order that no other has",
                        "kernel %s is not used: it does not give the bits of plain", (*all)->name);
    else
      lap_diagnosis_add(findings, LAP_SEVERITY_OK, "products", "",
                        "no kernel %s: the processor lacks its instructions", (*all)->name);
}

static void check_rates(const lap_hardware *h, double peak, lap_diagnosis *findings) {
  check_kernel(findings);
  lap_diagnosis_add(
      findings, LAP_SEVERITY_OK, "product rate", "",
      "%.1f GFLOP/s a rank, one thread, all ranks at once; %.0f %% of the peak of its "
      "vector unit",
      h->sgemm_gflops, 100 * h->sgemm_gflops / peak);
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "bandwidth", "",
                    "%.1f GB/s a rank (triad), all ranks at once",
                    h->memory_bytes_per_second / 1e9);
  enum { FAIR_PERCENT = 90 };
  const double percent = 100 * h->core_share;
  lap_diagnosis_add(findings, percent < FAIR_PERCENT ? LAP_SEVERITY_SLOW : LAP_SEVERITY_OK,
                    "core share",
                    percent < FAIR_PERCENT ? "ranks share cores with each other or with other "
                                             "programs: use fewer ranks, or an idle machine"
                                           : "",
                    "a rank gets %.0f %% of a core", percent);
  check_link(&h->within_node, "within node", 5e8, "check that Open MPI uses shared memory (vader)",
             findings);
  check_link(&h->between_nodes, "between nodes", 1e8,
             "check which network Open MPI uses: --mca btl_tcp_if_include", findings);
}

/* --- the command --- */

static lap_code report(const lap_session *session, const lap_hardware *hardware,
                       const lap_diagnosis *findings, bool json, lap_status *status) {
  if (session->root) lap_diagnosis_print(findings, stdout);
  lap_status own = {0};
  if (lap_diagnosis_stop(findings)) {
    fflush(stdout);
    return lap_fail(status, LAP_DATA, "training cannot work here: %s",
                    lap_diagnosis_stop(findings));
  }
  if (session->root && json) {
    json_t *object = lap_hardware_to_json(hardware);
    own.code = lap_command_print_json(object, &own);
    json_decref(object);
  }
  *status = own;
  return lap_agree(session->comm, status);
}

static lap_code doctor(const lap_session *session, const lap_command_line *line, void *destination,
                       lap_status *status) {
  const doctor_flags *flags = destination;
  lap_comm *comm = session->comm;
  if (!*flags->directory)
    return lap_fail(status, LAP_USAGE, "--dir: expected a directory, found ''");
  lap_machine_facts mine;
  lap_machine_look(&mine);
  lap_machine_facts *all = lap_allocate(lap_comm_size(comm), sizeof *all);
  lap_gather_all(comm, &mine, sizeof mine, all);
  lap_diagnosis *findings = lap_diagnosis_create();
  say_cores(comm, (int)flags->threads, findings);
  lap_machine_check(comm, all, (int)flags->threads, findings);
  lap_code code =
      lap_session_open_gemm(session, (lap_gemm_choice){.backend = LAP_GEMM_LAPIDARY}, 1, status);
  if (code == LAP_OK) {
    lap_hardware hardware;
    measure(comm, all, flags->quick, &hardware);
    check_rates(&hardware, lap_measure_peak(comm), findings);
    code = check_bfloat16(session, flags->quick, &hardware, findings, status);
    lap_file_system_check(comm, flags->directory, findings);
    if (code == LAP_OK) code = report(session, &hardware, findings, line->json, status);
    lap_hardware_release(&hardware);
  }
  lap_diagnosis_destroy(findings);
  free(all);
  return code;
}

static double watchdog_of(const lap_command_line *line, const void *flags) {
  (void)line;
  return ((const doctor_flags *)flags)->watchdog_seconds;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  doctor_flags flags = {.threads = 1, .watchdog_seconds = 60, .directory = "."};
  const lap_command_syntax syntax = {.json = true, .flags = flags_of_doctor, .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, watchdog_of, doctor, status);
}

const lap_command lap_command_doctor = {
    .name = "doctor",
    .summary = "what this machine and this MPI will do; under mpirun or alone",
    .usage = "",
    .description =
        "Measures cores, memory, links and the costs of the ops on all ranks at once, tries the "
        "file system, and says what to change. With --json the last line is a hardware file for "
        "`lapidary plan --hardware`. Ends with 0 unless training cannot work.",
    .collective = true,
    .run = run};
