/* verify: makes steps of a run again, on as many ranks as it is started on, and compares the states
 * with those of the run's checkpoints.
 *
 * For whoever doubts a machine, or a checkpoint: equal bits mean that the interval was computed
 * rightly, whatever computed it. It reads the run's checkpoints and config.resolved.yaml, and the
 * tokenizer, data and teacher's cache that this names. It writes nothing. Collective. Ends with 0
 * where all states are equal, with 4 at the first that differs.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/command.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/ranks.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"
#include "trainer/run/replay.h"

typedef struct {
  const char *steps;
  bool no_idle_ranks;
} verify_flags;

static const lap_flag flags_of_verify[] = {
    {.name = "steps",
     .value = "A:B",
     .offset = offsetof(verify_flags, steps),
     .help =
         "from the checkpoint of step A, or what the run began with (0), to that of step B [the "
         "last two checkpoints]"},
    LAP_FLAG_NO_IDLE_RANKS(offsetof(verify_flags, no_idle_ranks)),
    {0}};

/* --- the interval --- */

typedef struct {
  uint64_t *steps; /* the first one, and those to compare; malloc'ed */
  size_t count;
} interval;

static lap_code parse_steps(const char *text, uint64_t *from, uint64_t *to, lap_status *status) {
  char *end = NULL;
  const bool digits = text[0] >= '0' && text[0] <= '9';
  *from = digits ? strtoull(text, &end, 10) : 0;
  if (digits && *end == ':' && end[1] >= '0' && end[1] <= '9') {
    *to = strtoull(end + 1, &end, 10);
    if (!*end && *from < *to) return LAP_OK;
  }
  return lap_fail(status, LAP_USAGE,
                  "--steps %s: expected A:B, two steps with A before B, such as 100:200", text);
}

/* "0, 100, 200 and 300"; of many, the last ones. */
static void list_steps(const interval *there, char *text, size_t size) {
  enum { SHOWN = 8 };
  const size_t first = there->count > SHOWN ? there->count - SHOWN : 0;
  size_t length = (size_t)snprintf(text, size, "%s", first ? "..., " : "");
  for (size_t i = first; i < there->count && length < size; ++i)
    length += (size_t)snprintf(text + length, size - length, "%s%" PRIu64, i > first ? ", " : "",
                               there->steps[i]);
}

static lap_code require_step(const char *run_dir, const interval *there, uint64_t step,
                             lap_status *status) {
  char text[256];
  for (size_t i = 0; i < there->count; ++i)
    if (there->steps[i] == step) return LAP_OK;
  list_steps(there, text, sizeof text);
  return lap_fail(status, LAP_USAGE, "%s: there is no checkpoint of step %" PRIu64 "; there are %s",
                  run_dir, step, text);
}

static lap_code fail_without_checkpoints(const char *run_dir, lap_status *status) {
  return lap_fail(status, LAP_DATA,
                  "%s: there is no checkpoint; expected a run directory, with checkpoints/step-*",
                  run_dir);
}

/* All checkpoints of `there` become the interval asked for. The last may be that of step 0, of a
 * run that was stopped before its first step: it is compared with what the run began with. */
static lap_code choose_steps(const char *run_dir, const char *asked, interval *there,
                             lap_status *status) {
  if (there->count == 0) return fail_without_checkpoints(run_dir, status);
  uint64_t from = 0, to = there->steps[there->count - 1];
  if (asked)
    LAP_TRY(parse_steps(asked, &from, &to, status));
  else if (there->count > 1)
    from = there->steps[there->count - 2];
  if (from > 0) LAP_TRY(require_step(run_dir, there, from, status));
  LAP_TRY(require_step(run_dir, there, to, status));
  uint64_t *steps = lap_allocate((int64_t)there->count + 1, sizeof *steps);
  size_t count = 0;
  steps[count++] = from;
  for (size_t i = 0; i < there->count; ++i)
    if ((there->steps[i] > from || to == 0) && there->steps[i] <= to)
      steps[count++] = there->steps[i];
  free(there->steps);
  *there = (interval){steps, count};
  return LAP_OK;
}

/* --- the outcome --- */

static lap_code print_json(const interval *made, const lap_replay_report *report,
                           lap_status *status) {
  json_t *points = json_array(), *tensors = json_array();
  for (size_t i = 0; i < report->count; ++i)
    json_array_append_new(
        points,
        json_pack("{s:I, s:s, s:s, s:b}", "step", (json_int_t)report->point[i].step, "state_sha256",
                  report->point[i].stored, "replayed_sha256", report->point[i].replayed, "equal",
                  strcmp(report->point[i].stored, report->point[i].replayed) == 0));
  for (int i = 0; i < report->named; ++i)
    json_array_append_new(tensors, json_string(report->difference[i]));
  json_t *object = json_pack("{s:b, s:I, s:I, s:o, s:i, s:o}", "equal", report->equal, "from",
                             (json_int_t)report->from, "to",
                             (json_int_t)made->steps[made->count - 1], "checkpoints", points,
                             "differing_tensors", report->differing, "first_differing", tensors);
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

static void print_text(const interval *made, const lap_replay_report *report, int ranks) {
  for (size_t i = 0; i < report->count; ++i) {
    const lap_replay_point *point = &report->point[i];
    printf("step %-10" PRIu64 " %s  state_sha256 %s\n", point->step,
           strcmp(point->stored, point->replayed) == 0 ? "equal    " : "DIFFERENT", point->stored);
    if (strcmp(point->stored, point->replayed) != 0)
      printf("%29sreplayed   %s\n", "", point->replayed);
  }
  if (report->equal)
    printf("steps %" PRIu64 " to %" PRIu64 ", replayed on %d rank%s, end in the same bits\n",
           report->from, made->steps[made->count - 1], ranks, ranks == 1 ? "" : "s");
}

static lap_code fail_different(const char *run_dir, const lap_replay_report *report,
                               lap_status *status) {
  const lap_replay_point *last = &report->point[report->count - 1];
  const uint64_t before = report->count > 1 ? last[-1].step : report->from;
  char tensors[LAP_REPLAY_NAMED * (LAP_REPLAY_NAME + 2)] = "";
  size_t length = 0;
  for (int i = 0; i < report->named; ++i)
    length += (size_t)snprintf(tensors + length, sizeof tensors - length, "%s%s", i ? "; " : "",
                               report->difference[i]);
  return lap_fail(status, LAP_NONFINITE,
                  "%s: the checkpoint of step %" PRIu64 " is not what steps %" PRIu64 " to %" PRIu64
                  " give in a replay: one of the two was computed wrongly. %d tensors differ, "
                  "by values: %s%s. Compare with a third machine; go on from step %" PRIu64,
                  run_dir, last->step, before, last->step, report->differing,
                  report->named ? tensors : "none, only the number of updates",
                  report->differing > report->named ? "; ..." : "", before);
}

/* --- the command --- */

static lap_code replay(const lap_session *session, lap_config *config, const char *run_dir,
                       const interval *made, bool json, lap_status *status) {
  lap_inputs inputs;
  LAP_TRY(lap_inputs_open(config, session, &inputs, status));
  const lap_replay_request request = {.run_dir = run_dir,
                                      .steps = made->steps,
                                      .count = made->count,
                                      .advice = "begin at a checkpoint: --steps A:B"};
  lap_replay_report report;
  lap_code code = lap_replay(config, session, &inputs, &request, &report, status);
  if (code == LAP_OK) {
    if (session->root) code = json ? print_json(made, &report, status) : LAP_OK;
    if (session->root && !json) print_text(made, &report, lap_comm_size(session->comm));
    if (!report.equal && code == LAP_OK) code = fail_different(run_dir, &report, status);
  }
  lap_replay_release(&report);
  lap_inputs_close(&inputs);
  return code;
}

/* The config of the checkpoint that the interval ends with, with what was typed; the same on all
 * ranks. */
static lap_code load_config(const lap_session *session, const lap_command_line *line,
                            const verify_flags *flags, const interval *made, lap_config **config,
                            bool *idle, lap_status *status) {
  char *path = lap_format("%s/checkpoints/step-%08" PRIu64 "/config.resolved.yaml",
                          line->positional[0], made->steps[made->count - 1]);
  const lap_code code =
      lap_ranks_load_config(session, line, path, flags->no_idle_ranks, config, idle, status);
  free(path);
  if (code != LAP_OK || *idle) return code;
  return lap_session_open_gemm(session, lap_config_gemm(*config), (*config)->threads, status);
}

static lap_code verify(const lap_session *session, const lap_command_line *line, void *destination,
                       lap_status *status) {
  const verify_flags *flags = destination;
  const char *run_dir = line->positional[0];
  interval made = {0};
  lap_config *config = NULL;
  bool idle = false;
  lap_code code = lap_replay_list(run_dir, session->comm, &made.steps, &made.count, status);
  if (code == LAP_OK) code = choose_steps(run_dir, flags->steps, &made, status);
  if (code == LAP_OK) code = load_config(session, line, flags, &made, &config, &idle, status);
  if (code == LAP_OK && !idle) code = replay(session, config, run_dir, &made, line->json, status);
  lap_config_destroy(config);
  free(made.steps);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  verify_flags flags = {0};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .key_meant = lap_config_key_meant,
                                     .json = true,
                                     .flags = flags_of_verify,
                                     .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, NULL, verify, status);
}

const lap_command lap_command_verify = {
    .name = "verify",
    .summary = "make steps of a run again and compare with its checkpoints; under mpirun or alone",
    .usage = "RUN [--steps A:B] [KEY=VALUE...]",
    .description =
        "Starts from the state of step A and makes the steps up to B again, on however many ranks "
        "it is started on, with the config and data of the run; KEY=VALUE changes threads, "
        "mesh.shard "
        "and whatever else decides no number, and paths of data that has moved. At each checkpoint "
        "on the way the state_sha256 must be the checkpoint's. Ends with 4 at the first that "
        "differs, and names the tensors. Writes nothing.",
    .collective = true,
    .run = run};
