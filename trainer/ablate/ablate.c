#include "trainer/ablate/ablate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/stop.h"
#include "trainer/ablate/graph_runs.h"
#include "trainer/ablate/plan_file.h"
#include "trainer/ablate/tune.h"

lap_code lap_ablate_add_runs(lap_graph *graph, const lap_changes *tuned, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t s = 0; s < suite->seed_count; ++s)
    for (size_t i = 0; i < suite->arm_count; ++i) {
      const lap_arm *arm = &suite->arms[i];
      char *name = lap_format("runs/%s/seed-%" PRId64, arm->name, suite->seeds[s]);
      const lap_graph_run wanted = {
          .arm = arm, .more = tuned ? &tuned[i] : NULL, .seed = suite->seeds[s], .name = name};
      size_t run;
      const lap_code code = lap_graph_add_run(graph, &wanted, &run, status);
      free(name);
      LAP_TRY(code);
    }
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
  if (graph->suite->tune.key_count > 0) lap_tasks_truncate(&graph->tasks, before);
  return LAP_OK;
}

static lap_code run(lap_graph *graph, const lap_execute_options *options, lap_status *status) {
  lap_changes *tuned;
  lap_stop_defer();
  LAP_TRY(lap_execute(&graph->tasks, options, status));
  LAP_TRY(lap_graph_add_teacher(graph, status));
  LAP_TRY(plan(graph, options->console, status));
  LAP_TRY(lap_tune(graph, options, &tuned, status));
  lap_code code = tuned ? lap_ablate_add_runs(graph, tuned, status) : LAP_OK;
  for (size_t i = 0; tuned && i < graph->suite->arm_count; ++i) lap_changes_release(&tuned[i]);
  free(tuned);
  if (code == LAP_OK) code = lap_execute(&graph->tasks, options, status);
  return code;
}

static json_t *summary(const lap_graph *graph) {
  json_int_t runs = 0, done = 0, diverged = 0;
  for (size_t i = 0; i < graph->tasks.count; ++i) {
    const lap_task *task = &graph->tasks.task[i];
    if (task->kind != LAP_TASK_RUN || strncmp(task->name, "runs/", 5) != 0) continue;
    ++runs;
    done += task->state == LAP_TASK_DONE;
    diverged += task->state == LAP_TASK_DIVERGED;
  }
  return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I}", "out", graph->tasks.out, "name",
                   graph->suite->name, "smoke", (int)graph->suite->is_smoke, "tasks",
                   (json_int_t)graph->tasks.count, "runs", runs, "done", done, "diverged",
                   diverged);
}

lap_code lap_ablate(const lap_suite *suite, const char *out, const lap_execute_options *options,
                    json_t **result, lap_status *status) {
  lap_directory_lock *lock;
  *result = NULL;
  LAP_TRY(lap_file_make_directories(out, status));
  LAP_TRY(lap_directory_lock_take(out, &lock, status));
  lap_graph graph = {.suite = suite};
  lap_code code = lap_graph_create(suite, out, &graph, status);
  if (code == LAP_OK) code = run(&graph, options, status);
  if (graph.tasks.out) *result = summary(&graph);
  lap_graph_release(&graph);
  lap_directory_lock_release(lock);
  return code;
}
