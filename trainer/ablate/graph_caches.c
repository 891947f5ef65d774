#include "trainer/ablate/graph_caches.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

const lap_task_input *lap_graph_member_of(const lap_graph *graph, const lap_graph_teacher *teacher,
                                          size_t index) {
  const lap_arm of_member = {.teacher = teacher->given->members[index]};
  return &lap_graph_teacher_of(graph, &of_member)->model;
}

/* The teachers beside the first of an average. */
static void argue_average(const lap_graph *graph, lap_task *task,
                          const lap_graph_teacher *teacher) {
  if (teacher->given->member_count < 2) return;
  char *paths = lap_copy_string(lap_graph_member_of(graph, teacher, 1)->path);
  for (size_t i = 2; i < teacher->given->member_count; ++i) {
    char *longer = lap_format("%s,%s", paths, lap_graph_member_of(graph, teacher, i)->path);
    free(paths);
    paths = longer;
  }
  lap_task_add_argument(task, "--average=%s", paths);
  free(paths);
}

lap_task_input lap_graph_add_cache(lap_graph *graph, const lap_task_input *tokens,
                                   const lap_cache_form *form) {
  const lap_task_input *model = &form->teacher->model;
  if (form->teacher->given->kind == LAP_TEACHER_CACHE) return lap_task_input_copy(model);
  const char *name = lap_suite_teacher_name(form->teacher->given);
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_CACHE);
  lap_task_draft_say(&draft, "codec=%s k=%" PRId64 " sequence_length=%" PRId64 " document_mask=%d",
                     form->codec, form->k, form->sequence_length, form->document_mask);
  if (form->m) lap_task_draft_say(&draft, "m=%" PRId64, form->m);
  if (form->draw_seeds) lap_task_draft_say(&draft, "draw_seeds=%s", form->draw_seeds);
  if (form->swap_percent > 0)
    lap_task_draft_say(&draft, "swap_percent=%" PRId64, form->swap_percent);
  lap_task_draft_say(&draft, "name=%s", name);
  lap_task_draft_read(&draft, &graph->tasks, "teacher", model);
  for (size_t i = 1; i < form->teacher->given->member_count; ++i)
    lap_task_draft_read(&draft, &graph->tasks, "average",
                        lap_graph_member_of(graph, form->teacher, i));
  lap_task_draft_read(&draft, &graph->tasks, "tokens", tokens);
  bool is_new;
  const size_t index = lap_tasks_add(&graph->tasks, &draft, NULL, "", &is_new);
  lap_task *task = &graph->tasks.task[index];
  if (is_new) {
    task->parallel = true;
    task->threads = form->threads;
    lap_task_add_argument(task, "teach");
    lap_task_add_argument(task, "--from=%s", model->path);
    argue_average(graph, task, form->teacher);
    lap_task_add_argument(task, "--tokens=%s", tokens->path);
    lap_task_add_argument(task, "--out=%s", task->directory);
    lap_task_add_argument(task, "--codec=%s", form->codec);
    /* Draws have no exact ids, but for those of stratified. */
    const bool draws = strcmp(form->codec, "topk") && strcmp(form->codec, "stratified");
    lap_task_add_argument(task, "--%s=%" PRId64, draws ? "n" : "k", form->k);
    if (form->m) lap_task_add_argument(task, "--m=%" PRId64, form->m);
    if (form->draw_seeds) lap_task_add_argument(task, "--draw-seed=%s", form->draw_seeds);
    if (form->swap_percent > 0)
      lap_task_add_argument(task, "--swap-percent=%" PRId64, form->swap_percent);
    lap_task_add_argument(task, "--sequence-length=%" PRId64, form->sequence_length);
    lap_task_add_argument(task, "--document-mask=%s", form->document_mask ? "true" : "false");
    lap_task_add_argument(task, "--threads=%d", form->threads);
    lap_task_add_argument(task, "--name=%s", name);
    lap_task_add_argument(task, "--json");
  }
  return lap_task_output(&graph->tasks, index, "*.h5");
}

int64_t lap_graph_eval_k(const lap_graph *graph) {
  const lap_suite *suite = graph->suite;
  if (suite->teacher.eval_k == LAP_DENSE) return graph->base->model.vocab_size;
  return suite->teacher.eval_k ? suite->teacher.eval_k : suite->teacher.k;
}

lap_cache_form lap_graph_evaluation_form(const lap_graph *graph, const lap_config *config,
                                         int64_t length) {
  return (lap_cache_form){.teacher = &graph->teachers[0],
                          .k = lap_graph_eval_k(graph),
                          .codec = "topk",
                          .sequence_length = length,
                          .document_mask = config->data.document_mask,
                          .threads = config->threads};
}
