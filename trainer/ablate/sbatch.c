#include "trainer/ablate/sbatch.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/ablate/ablate.h"

enum { SAID = 1024 };

static const char script[] =
    "#!/usr/bin/env bash\n"
    "# A job of `lapidary ablate --sbatch`: job.sh PROGRAM SUITE OUT FLAGS... The queue's notice "
    "goes\n"
    "# on to ablate, which answers it with 75 once its children have saved; then the job goes "
    "back\n"
    "# into the queue.\n"
    "set -uo pipefail\n"
    "program=$1 suite=$2 out=$3\n"
    "shift 3\n"
    "job='' noticed='' own=${SLURM_JOB_ID:-}\n"
    "# The number of an array's last task to start is also that of the whole array.\n"
    "[ -z \"${SLURM_ARRAY_JOB_ID:-}\" ] || own=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\n"
    "pass_on() { [ -z \"$job\" ] || kill -USR1 \"$job\" 2>/dev/null; }\n"
    "trap 'noticed=1; pass_on' USR1 USR2 TERM HUP INT\n"
    "# scancel sends SIGTERM to all processes; mpirun then gives its ranks twice these seconds.\n"
    "export OMPI_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout:-5}\n"
    "\"$program\" ablate \"$suite\" --out \"$out\" \"${@//@TASK@/${SLURM_ARRAY_TASK_ID:-0}}\" &\n"
    "job=$!\n"
    "[ -z \"$noticed\" ] || pass_on # it came before\n"
    "# A trapped signal ends `wait` early, with a code of its own: the job's is known once the "
    "job\n"
    "# has ended.\n"
    "wait \"$job\"\n"
    "while kill -0 \"$job\" 2>/dev/null; do wait \"$job\"; done\n"
    "wait \"$job\"\n"
    "code=$?\n"
    "# After a notice any code but 0 may be due to it. Who cancels a job does not want it again: "
    "it\n"
    "# is not RUNNING then.\n"
    "if [ \"$code\" -eq 75 ] || { [ -n \"$noticed\" ] && [ \"$code\" -ne 0 ]; }; then\n"
    "  if scontrol show job -o \"$own\" | grep -q 'JobState=RUNNING'; then\n"
    "    scontrol requeue \"$own\"\n"
    "  fi\n"
    "fi\n"
    "exit \"$code\"\n";

/* Words for execvp, with NULL behind the last; they are not copied. */
typedef struct {
  const char **word;
  size_t count;
} words;

static void add(words *w, const char *word) {
  w->word = lap_reallocate(w->word, (int64_t)w->count + 2, sizeof *w->word);
  w->word[w->count++] = word;
  w->word[w->count] = NULL;
}

/* The exit code; -1: it ended otherwise, or never began. */
static int run(const words *w, int answer, int complaint) {
  int how = 0;
  const pid_t process = fork();
  if (process == 0) {
    dup2(answer, STDOUT_FILENO);
    dup2(complaint, STDERR_FILENO);
    execvp(w->word[0], (char *const *)w->word);
    dprintf(STDERR_FILENO, "%s", strerror(errno));
    _exit(LAP_DATA);
  }
  if (process < 0) return -1;
  while (waitpid(process, &how, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

/* What a program wrote there, as far as it fits, without the newlines at its end. */
static void take(int file, char said[SAID]) {
  const ssize_t count = pread(file, said, SAID - 1, 0);
  size_t length = count > 0 ? (size_t)count : 0;
  while (length > 0 && said[length - 1] == '\n') --length;
  said[length] = '\0';
}

/* Runs it and takes what it answers. Notes beside the answer go to stderr, as a cluster's banner
 * does: they are read only where it fails. */
static lap_code ask(const words *w, char said[SAID], lap_status *status) {
  const int answer = memfd_create("answer", MFD_CLOEXEC);
  const int complaint = memfd_create("complaint", MFD_CLOEXEC);
  lap_code code = LAP_OK;
  if (answer < 0 || complaint < 0) {
    code = lap_fail(status, LAP_DATA, "no file in memory: %s", strerror(errno));
  } else {
    const int ended = run(w, answer, complaint);
    take(ended == 0 ? answer : complaint, said);
    if (ended != 0 && !*said) take(answer, said);
    if (ended != 0)
      code = *said ? lap_fail(status, LAP_DATA, "%s: %s", w->word[0], said)
                   : lap_fail(status, LAP_DATA, "%s failed with exit code %d and said nothing",
                              w->word[0], ended);
  }
  if (answer >= 0) close(answer);
  if (complaint >= 0) close(complaint);
  return code;
}

typedef struct {
  const lap_suite *suite;
  const char *suite_path, *out;
  char *options, *steps_beside, *script, *log;
  char program[PATH_MAX];
} submission;

/* `part` NULL: the whole. `after`: a job, and how it must have ended; `array`: the tasks; NULL:
 * none. */
static lap_code submit(const submission *s, const char *name, const char *part, const char *after,
                       const char *array, char id[SAID], lap_status *status) {
  char *job = lap_format("--job-name=%s-%s", s->suite->name, name);
  char *log = lap_format("--output=%s/%%x-%%A-%%a.txt", s->log), *rest, *copy;
  char *dependency = lap_format("--dependency=%s", after ? after : "");
  char *tasks = lap_format("--array=%s", array ? array : "");
  words w = {0};
  add(&w, "sbatch");
  add(&w, "--parsable");
  add(&w, "--requeue");
  add(&w, "--open-mode=append");
  add(&w, "--signal=B:USR1@120");
  add(&w, job);
  add(&w, log);
  if (after) add(&w, dependency);
  if (array) add(&w, tasks);
  copy = lap_copy_string(s->options);
  rest = copy;
  for (char *word; (word = strtok_r(rest, " ", &rest));) add(&w, word);
  add(&w, s->script);
  add(&w, s->program);
  add(&w, s->suite_path);
  add(&w, s->out);
  if (s->suite->is_smoke) add(&w, "--smoke");
  add(&w, "--jobs");
  add(&w, s->steps_beside);
  if (part) {
    add(&w, "--part");
    add(&w, part);
  }
  const lap_code code = ask(&w, id, status);
  if (code == LAP_OK) id[strcspn(id, ";\n")] = '\0'; /* "ID;CLUSTER" */
  free(w.word);
  free(copy);
  free(tasks);
  free(dependency);
  free(log);
  free(job);
  return code;
}

/* Whoever mends the cause submits again: what waits already would do the same work beside it. */
static lap_code say_what_waits(const char *jobs, lap_status *status) {
  return lap_fail_context(status,
                          "not all jobs could be submitted; those that are wait in the queue: "
                          "scancel %s, and submit again when the cause is gone",
                          jobs);
}

static lap_code submit_all(const submission *s, json_t **jobs, lap_status *status) {
  char shared[SAID], runs[SAID], rest[SAID], array[32];
  LAP_TRY(submit(s, "shared", "shared", NULL, NULL, shared, status));
  char *after = lap_format("afterok:%s", shared);
  snprintf(array, sizeof array, "0-%zu", lap_ablate_runs(s->suite) - 1);
  lap_code code = submit(s, "runs", "@TASK@", after, array, runs, status);
  free(after);
  if (code != LAP_OK) return say_what_waits(shared, status);
  after = lap_format("afterany:%s", runs);
  code = submit(s, "rest", NULL, after, NULL, rest, status);
  free(after);
  if (code != LAP_OK) {
    char *both = lap_format("%s %s", shared, runs);
    say_what_waits(both, status);
    free(both);
    return code;
  }
  *jobs = json_pack("{s:s, s:s, s:s, s:s}", "out", s->out, "shared", shared, "runs", runs, "rest",
                    rest);
  return LAP_OK;
}

lap_code lap_sbatch_submit(const lap_suite *suite, const char *suite_path, const char *out,
                           const char *options, int64_t steps_beside, json_t **jobs,
                           lap_status *status) {
  submission s = {.suite = suite,
                  .suite_path = suite_path,
                  .out = out,
                  .options = lap_copy_string(options),
                  .steps_beside = lap_format("%" PRId64, steps_beside),
                  .script = lap_format("%s/job.sh", out),
                  .log = lap_format("%s/jobs", out)};
  *jobs = NULL;
  const ssize_t length = readlink("/proc/self/exe", s.program, sizeof s.program - 1);
  s.program[length > 0 ? length : 0] = '\0';
  lap_code code = lap_file_make_directories(s.log, status);
  if (code == LAP_OK) code = lap_file_write(s.script, script, sizeof script - 1, status);
  if (code == LAP_OK) code = submit_all(&s, jobs, status);
  free(s.options);
  free(s.steps_beside);
  free(s.script);
  free(s.log);
  return code;
}
