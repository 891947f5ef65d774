#include "trainer/ablate/ablate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/stop.h"
#include "dataset/token_shard.h"
#include "trainer/ablate/arm_config.h"
#include "trainer/ablate/graph_runs.h"
#include "trainer/ablate/plan_file.h"
#include "trainer/ablate/trunk.h"
#include "trainer/config/load.h"
#include "trainer/step/schedule.h"

static lap_code add_run(lap_graph *graph, const char *below, size_t arm, const lap_changes *more,
                        int64_t seed, lap_status *status) {
  const lap_arm *own = &graph->suite->arms[arm];
  char *name = lap_format("%s/%s/seed-%" PRId64, below, own->name, seed);
  const lap_graph_run wanted = {.arm = own, .more = more, .seed = seed, .name = name};
  size_t run;
  const lap_code code = lap_graph_add_run(graph, &wanted, &run, status);
  free(name);
  return code;
}

lap_code lap_ablate_add_runs(lap_graph *graph, const lap_changes *tuned, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t s = 0; s < suite->seed_count; ++s)
    for (size_t i = 0; i < suite->arm_count; ++i)
      if (!suite->arms[i].evaluates)
        LAP_TRY(add_run(graph, "runs", i, tuned ? &tuned[i] : NULL, suite->seeds[s], status));
  return LAP_OK;
}

lap_code lap_ablate_add_shared_runs(lap_graph *graph, const lap_tuned *tuned, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t s = 0; s < suite->seed_count; ++s)
    for (size_t i = 0; i < suite->arm_count; ++i) {
      const bool wanted =
          tuned ? tuned->apart && tuned->apart[i] : lap_tune_is_compared(suite, &suite->arms[i]);
      if (wanted)
        LAP_TRY(add_run(graph, LAP_SHARED_RATE, i, tuned ? &tuned->shared[i] : NULL,
                        suite->seeds[s], status));
    }
  return LAP_OK;
}

/* How many times an arm reads its training text. */
static lap_code times_read(const lap_graph *graph, const lap_arm *arm, double *times,
                           lap_status *status) {
  lap_changes changes;
  lap_config *config;
  lap_token_set_size size;
  uint64_t steps = 0;
  LAP_TRY(lap_arm_config(graph->suite, arm, NULL, &changes, &config, status));
  char *shards = lap_graph_shards(&graph->train, lap_graph_texts(graph, arm->texts));
  lap_code code =
      lap_token_set_measure(shards, (uint32_t)config->data.sequence_length, &size, status);
  if (code == LAP_OK) code = lap_schedule_total_steps(config, size.windows, &steps, status);
  if (code == LAP_OK)
    *times = (double)steps * (double)config->batch.sequences / (double)size.windows;
  free(shards);
  lap_changes_release(&changes);
  lap_config_destroy(config);
  return code;
}

/* break_even asks what more fresh text is worth. */
static lap_code warn_of_repeats(const lap_graph *graph, lap_console *console, lap_status *status) {
  const lap_suite *suite = graph->suite;
  if (!suite->break_even.arm) return LAP_OK;
  double most = 0, times;
  for (size_t i = 0; i < suite->arm_count; ++i) {
    if (!suite->arms[i].longer_of) continue;
    LAP_TRY(times_read(graph, &suite->arms[i], &times, status));
    most = times > most ? times : most;
  }
  if (most > 1)
    lap_console_warn(
        console,
        "break_even: the longest arm reads the training text %.1f times, so its extra tokens are "
        "repeats, not fresh text: give more text, or lower the multiples",
        most);
  return LAP_OK;
}

/* plan.json lists what the runs share, so it sees them before they are tuned. */
static lap_code plan(lap_graph *graph, lap_console *console, lap_status *status) {
  const size_t before = graph->tasks.count;
  char *change;
  LAP_TRY(lap_ablate_add_runs(graph, NULL, status));
  LAP_TRY(lap_plan_file_update(graph, &change, status));
  if (change)
    lap_console_warn(console, "the plan is amended (what is new is exploratory): %s", change);
  free(change);
  LAP_TRY(warn_of_repeats(graph, console, status));
  if (graph->suite->tune.key_count > 0) lap_tasks_truncate(&graph->tasks, before);
  return LAP_OK;
}

size_t lap_ablate_runs(const lap_suite *suite) {
  size_t trained = 0;
  for (size_t i = 0; i < suite->arm_count; ++i) trained += !suite->arms[i].evaluates;
  return suite->seed_count * trained;
}

/* The runs, with what was chosen for them. */
static lap_code add_tuned_runs(lap_graph *graph, const lap_execute_options *options,
                               lap_status *status) {
  lap_tuned tuned;
  LAP_TRY(lap_tune(graph, options, &tuned, status));
  lap_code code = lap_ablate_add_runs(graph, tuned.own, status);
  if (code == LAP_OK) code = lap_ablate_add_shared_runs(graph, &tuned, status);
  lap_tuned_release(graph->suite, &tuned);
  return code;
}

/* --- parts --- */

static bool is_run(const lap_task *task) {
  return task->kind == LAP_TASK_RUN && strncmp(task->name, "runs/", strlen("runs/")) == 0;
}

static bool is_at_shared_rate(const lap_task *task) {
  return strncmp(task->name, LAP_SHARED_RATE "/", strlen(LAP_SHARED_RATE "/")) == 0;
}

static lap_code too_early(const lap_graph *graph, const char *missing, lap_status *status) {
  return lap_fail(status, LAP_USAGE, "%s: %s is not done yet: --part shared comes first",
                  graph->tasks.out, missing);
}

/* Of what the runs share; choosing by tuning would make it, beside other parts that read it. */
static lap_code check_shared(lap_graph *graph, lap_status *status) {
  LAP_TRY(lap_execute_look(&graph->tasks, false, status));
  for (size_t i = 0; i < graph->tasks.count; ++i)
    if (graph->tasks.task[i].state == LAP_TASK_WAITING)
      return too_early(graph, graph->tasks.task[i].name, status);
  return LAP_OK;
}

/* Leaves the tasks of the part to do; the others are done, or not its business. Evaluations stand
 * behind their run. */
static lap_code leave_part(lap_graph *graph, int64_t part, lap_status *status) {
  lap_tasks *tasks = &graph->tasks;
  const lap_task *missing = NULL;
  int64_t run = -1;
  LAP_TRY(lap_execute_look(tasks, false, status));
  for (size_t i = 0; i < tasks->count; ++i) {
    lap_task *task = &tasks->task[i];
    run += is_run(task);
    if (is_at_shared_rate(task)) { /* for the call of the whole */
      if (task->state == LAP_TASK_WAITING) task->state = LAP_TASK_SKIPPED;
      continue;
    }
    const bool of_run = is_run(task) || (task->kind == LAP_TASK_EVALUATION && run >= 0);
    const bool of_part = part == LAP_PART_SHARED ? !of_run : of_run && run == part;
    if (of_part || task->state != LAP_TASK_WAITING) continue;
    task->state = LAP_TASK_SKIPPED;
    if (part >= 0 && !of_run && !missing) missing = task;
  }
  return missing ? too_early(graph, missing->name, status) : LAP_OK;
}

/* A part of a run leaves shards, teacher and plan to the call that made them. */
static lap_code prepare(lap_graph *graph, int64_t part, const lap_execute_options *options,
                        lap_status *status) {
  if (part < 0) {
    LAP_TRY(lap_execute(&graph->tasks, options, status));
    LAP_TRY(lap_graph_add_teachers(graph, status));
    return plan(graph, options->console, status);
  }
  const bool tunes = graph->suite->tune.key_count > 0;
  char *needed = lap_format("%s/%s", graph->tasks.out, tunes ? LAP_TUNE_CHOSEN : "plan.json");
  const bool there = lap_file_exists(needed);
  const lap_code code = there ? LAP_OK : too_early(graph, needed, status);
  free(needed);
  LAP_TRY(code);
  LAP_TRY(lap_graph_add_teachers(graph, status));
  return check_shared(graph, status);
}

static lap_code run(lap_graph *graph, int64_t part, const lap_execute_options *options,
                    lap_status *status) {
  lap_stop_defer();
  LAP_TRY(prepare(graph, part, options, status));
  LAP_TRY(add_tuned_runs(graph, options, status));
  lap_trunks_settle(&graph->tasks);
  if (part != LAP_PART_WHOLE) LAP_TRY(leave_part(graph, part, status));
  LAP_TRY(lap_execute(&graph->tasks, options, status));
  lap_trunks_prune(&graph->tasks);
  return LAP_OK;
}

static json_t *summary(const lap_graph *graph) {
  json_int_t runs = 0, done = 0, diverged = 0;
  for (size_t i = 0; i < graph->tasks.count; ++i) {
    const lap_task *task = &graph->tasks.task[i];
    if (!is_run(task)) continue;
    ++runs;
    done += task->state == LAP_TASK_DONE;
    diverged += task->state == LAP_TASK_DIVERGED;
  }
  return json_pack("{s:o, s:s, s:b, s:I, s:I, s:I, s:I}", "out", lap_json_path(graph->tasks.out),
                   "name", graph->suite->name, "smoke", (int)graph->suite->is_smoke, "tasks",
                   (json_int_t)graph->tasks.count, "runs", runs, "done", done, "diverged",
                   diverged);
}

/* A run is locked beside its directory, whose own lock its training takes. */
static lap_code take_lock(const char *out, int64_t part, lap_directory_lock **lock,
                          lap_status *status) {
  LAP_TRY(lap_file_make_directories(out, status));
  if (part < 0) return lap_directory_lock_take(out, lock, status);
  char *path = lap_format("%s/parts/%" PRId64, out, part);
  const lap_code code = lap_output_lock_take(path, false, lock, status);
  free(path);
  return code;
}

lap_code lap_ablate(const lap_suite *suite, const char *out, int64_t part,
                    const lap_execute_options *options, json_t **result, lap_status *status) {
  lap_directory_lock *lock;
  *result = NULL;
  if (part >= (int64_t)lap_ablate_runs(suite))
    return lap_fail(status, LAP_USAGE, "--part: the suite has runs 0 to %zu, found %" PRId64,
                    lap_ablate_runs(suite) - 1, part);
  LAP_TRY(take_lock(out, part, &lock, status));
  lap_graph graph = {.suite = suite};
  lap_code code = lap_graph_create(suite, out, &graph, status);
  if (code == LAP_OK) code = run(&graph, part, options, status);
  if (graph.tasks.out) *result = summary(&graph);
  lap_graph_release(&graph);
  lap_directory_lock_release(lock);
  return code;
}
