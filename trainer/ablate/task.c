#include "trainer/ablate/task.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "autograd/kernel/numerics_version.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

enum { HASH_LETTERS = 12, MOST_BYTES = 1 << 20 };

const char *lap_task_kind_name(lap_task_kind kind) {
  static const char *const names[] = {"text",  "tokenizer", "tokens",    "model",
                                      "cache", "run",       "evaluation"};
  return names[kind];
}

lap_task_input lap_task_input_copy(const lap_task_input *input) {
  lap_task_input copy = *input;
  copy.path = input->path ? lap_copy_string(input->path) : NULL;
  return copy;
}

void lap_task_input_release(lap_task_input *input) {
  free(input->path);
  *input = (lap_task_input){.task = (size_t)LAP_NO_TASK};
}

/* --- drafts --- */

void lap_task_draft_say(lap_task_draft *draft, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *line = lap_format_list(format, arguments);
  va_end(arguments);
  char *longer = lap_format("%s%s\n", draft->identity, line);
  free(line);
  free(draft->identity);
  draft->identity = longer;
}

void lap_task_draft_begin(lap_task_draft *draft, lap_task_kind kind) {
  *draft = (lap_task_draft){.kind = kind, .identity = lap_copy_string("")};
  lap_task_draft_say(draft, "lapidary-task-1 %s", lap_task_kind_name(kind));
  if (kind >= LAP_TASK_MODEL)
    lap_task_draft_say(draft, "numerics_version=%d", LAP_NUMERICS_VERSION);
}

void lap_task_draft_read(lap_task_draft *draft, const lap_tasks *tasks, const char *role,
                         const lap_task_input *input) {
  if (input->task == (size_t)LAP_NO_TASK) {
    lap_task_draft_say(draft, "%s: content %s", role, input->sha256);
    return;
  }
  lap_task_draft_say(draft, "%s: task %s", role, tasks->task[input->task].key);
  draft->needs = lap_reallocate(draft->needs, (int64_t)draft->need_count + 1, sizeof *draft->needs);
  draft->needs[draft->need_count++] = input->task;
}

static char *shared_name(const lap_task_draft *draft, const char *key) {
  return lap_format("shared/%s-%.*s", lap_task_kind_name(draft->kind), HASH_LETTERS, key);
}

void lap_task_draft_end(lap_task_draft *draft, char sha256[LAP_SHA256_HEX]) {
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(draft->identity, strlen(draft->identity), digest);
  lap_sha256_hex(digest, sha256);
  free(draft->identity);
  free(draft->needs);
  *draft = (lap_task_draft){0};
}

size_t lap_tasks_add(lap_tasks *tasks, lap_task_draft *draft, const char *name, const char *prefix,
                     bool *is_new) {
  lap_task task = {.kind = draft->kind, .needs = draft->needs, .need_count = draft->need_count};
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(draft->identity, strlen(draft->identity), digest);
  lap_sha256_hex(digest, task.key);
  task.name = name ? lap_copy_string(name) : shared_name(draft, task.key);
  free(draft->identity);
  *draft = (lap_task_draft){0};
  for (size_t i = 0; i < tasks->count; ++i)
    if (!strcmp(tasks->task[i].key, task.key) && !strcmp(tasks->task[i].name, task.name)) {
      free(task.name);
      free(task.needs);
      *is_new = false;
      return i;
    }
  const bool of_run = task.kind == LAP_TASK_EVALUATION;
  const char *slash = strrchr(task.name, '/');
  task.directory = of_run ? lap_format("%s/%.*s", tasks->out, (int)(slash - task.name), task.name)
                          : lap_format("%s/%s", tasks->out, task.name);
  task.prefix = lap_copy_string(prefix);
  tasks->task = lap_reallocate(tasks->task, (int64_t)tasks->count + 1, sizeof *tasks->task);
  tasks->task[tasks->count] = task;
  *is_new = true;
  return tasks->count++;
}

lap_task_input lap_task_output(const lap_tasks *tasks, size_t task, const char *file) {
  const char *directory = tasks->task[task].directory;
  return (lap_task_input){
      .path = *file ? lap_format("%s/%s", directory, file) : lap_copy_string(directory),
      .task = task};
}

void lap_task_add_argument(lap_task *task, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *argument = lap_format_list(format, arguments);
  va_end(arguments);
  task->argument =
      lap_reallocate(task->argument, (int64_t)task->argument_count + 1, sizeof *task->argument);
  task->argument[task->argument_count++] = argument;
}

void lap_tasks_truncate(lap_tasks *tasks, size_t count) {
  for (; tasks->count > count; --tasks->count) {
    lap_task *task = &tasks->task[tasks->count - 1];
    for (size_t i = 0; i < task->argument_count; ++i) free(task->argument[i]);
    free(task->argument);
    free(task->name);
    free(task->directory);
    free(task->prefix);
    free(task->needs);
  }
}

void lap_tasks_release(lap_tasks *tasks) {
  lap_tasks_truncate(tasks, 0);
  free(tasks->task);
  free(tasks->out);
  *tasks = (lap_tasks){0};
}

/* --- their files --- */

char *lap_task_path(const lap_task *task, const char *name) {
  return lap_format("%s/%s%s", task->directory, task->prefix, name);
}

char *lap_task_result_path(const lap_task *task) {
  if (task->kind == LAP_TASK_RUN) return lap_task_path(task, "train.json");
  return lap_task_path(task, task->kind == LAP_TASK_EVALUATION ? "json" : "result.json");
}

/* NULL where the file is not there, or is none of ours. */
static json_t *read_object_at(const char *path) {
  char *text;
  lap_status ignored;
  json_t *object = NULL;
  if (lap_file_exists(path) && lap_file_read(path, MOST_BYTES, &text, NULL, &ignored) == LAP_OK) {
    object = json_loads(text, 0, NULL);
    free(text);
  }
  return object;
}

static json_t *read_object(const lap_task *task, const char *name) {
  char *path = lap_task_path(task, name);
  json_t *object = read_object_at(path);
  free(path);
  return object;
}

static bool has_key(const json_t *object, const char *key) {
  const char *found = json_string_value(json_object_get(object, "key_sha256"));
  return found && !strcmp(found, key);
}

/* Where the task writes losses by document; NULL: nowhere. */
static const char *losses_path(const lap_task *task) {
  static const char flag[] = "--document-losses=";
  for (size_t i = 0; i < task->argument_count; ++i)
    if (!strncmp(task->argument[i], flag, strlen(flag))) return task->argument[i] + strlen(flag);
  return NULL;
}

/* Whether the losses by document are there, where the task writes some. A power cut may have
 * emptied them; somebody may have removed them, since `report` called them damaged. */
static bool has_losses(const lap_task *task) {
  const char *path = losses_path(task);
  struct stat facts;
  return !path || (stat(path, &facts) == 0 && facts.st_size > 0);
}

lap_code lap_task_remove_losses(const lap_task *task, lap_status *status) {
  const char *path = losses_path(task);
  if (!path || unlink(path) == 0 || errno == ENOENT) return LAP_OK;
  return lap_file_fail(path, "be removed", status);
}

/* A cache has none: teach says what one call did of the whole. */
static bool has_result(const lap_task *task) {
  if (task->kind == LAP_TASK_CACHE) return true;
  if (!has_losses(task)) return false;
  char *path = lap_task_result_path(task);
  json_t *object = read_object_at(path);
  const bool has = json_is_object(object);
  json_decref(object);
  free(path);
  return has;
}

bool lap_task_is_done(const lap_task *task, bool *diverged) {
  json_t *object = read_object(task, "done.json");
  const bool done = has_key(object, task->key) && has_result(task);
  *diverged = json_is_true(json_object_get(object, "diverged"));
  json_decref(object);
  return done;
}

static lap_code write_object(const lap_task *task, const char *name, json_t *object,
                             lap_status *status) {
  char *path = lap_task_path(task, name);
  const lap_code code = lap_json_write_file(path, object, JSON_INDENT(1), status);
  free(path);
  json_decref(object);
  return code;
}

lap_code lap_task_write_done(const lap_task *task, double seconds, double cpu_seconds, int ranks,
                             bool diverged, lap_status *status) {
  json_t *command = json_array();
  json_array_append_new(command, json_string("lapidary"));
  for (size_t i = 0; i < task->argument_count; ++i)
    json_array_append_new(command, lap_json_path(task->argument[i]));
  json_t *object =
      json_pack("{s:s, s:s, s:o, s:i, s:f, s:f}", "kind", lap_task_kind_name(task->kind),
                "key_sha256", task->key, "command", command, "ranks", task->parallel ? ranks : 1,
                "seconds", seconds, "hours_cpu", cpu_seconds / 3600);
  if (diverged) json_object_set_new(object, "diverged", json_true());
  return write_object(task, "done.json", object, status);
}

/* --- run directories --- */

static char *replaced_path(const lap_tasks *tasks, const lap_task *task, const char *key) {
  char *name = lap_copy_string(task->name);
  for (char *slash = name; (slash = strchr(slash, '/'));) *slash = '-';
  char *path = lap_format("%s/replaced/%s-%.*s", tasks->out, name, HASH_LETTERS, key);
  free(name);
  return path;
}

static lap_code move(const char *from, const char *to, lap_status *status) {
  LAP_TRY(lap_file_remove_tree(to, status));
  LAP_TRY(lap_file_make_parents(to, status));
  return lap_file_publish(from, to, status);
}

static lap_code put_aside(const lap_tasks *tasks, const lap_task *task, const char *key,
                          lap_status *status) {
  char *to = replaced_path(tasks, task, key);
  const lap_code code = move(task->directory, to, status);
  free(to);
  return code;
}

static lap_code bring_back(const lap_tasks *tasks, const lap_task *task, lap_status *status) {
  char *from = replaced_path(tasks, task, task->key);
  lap_code code = LAP_OK;
  if (lap_file_exists(from)) code = move(from, task->directory, status);
  free(from);
  return code;
}

/* Hours of work may lie beside it. */
static lap_code fail_for_key(const lap_task *task, lap_status *status) {
  return lap_fail(status, LAP_DATA,
                  "%s/key.json: is damaged: it does not say whose run this is; bring it back, or "
                  "remove %s, whose run then begins again",
                  task->directory, task->directory);
}

static bool has_file(const lap_task *task, const char *name) {
  char *path = lap_task_path(task, name);
  const bool has = lap_file_exists(path);
  free(path);
  return has;
}

lap_code lap_task_settle(const lap_tasks *tasks, const lap_task *task, lap_status *status) {
  json_t *object = read_object(task, "key.json");
  const char *found = json_string_value(json_object_get(object, "key_sha256"));
  const bool same = has_key(object, task->key);
  lap_code code = LAP_OK;
  if (!found && has_file(task, "key.json")) {
    code = fail_for_key(task, status);
  } else if (!same) {
    /* Without a key nothing has run there yet. */
    code = found ? put_aside(tasks, task, found, status)
                 : lap_file_remove_tree(task->directory, status);
    if (code == LAP_OK) code = bring_back(tasks, task, status);
    if (code == LAP_OK && !lap_file_exists(task->directory))
      code = write_object(
          task, "key.json",
          json_pack("{s:s, s:s}", "kind", lap_task_kind_name(task->kind), "key_sha256", task->key),
          status);
  }
  json_decref(object);
  return code;
}
