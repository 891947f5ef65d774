#include "trainer/run/directory.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <yaml.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

char *lap_run_directory_path(const char *path, const char *name) {
  return lap_format("%s/%s", path, name);
}

const char *lap_run_git_commit(void) { return LAPIDARY_GIT_COMMIT; }

/* step-DIGITS: what a killed process leaves has another name
 * (trainer/checkpoint/directory.h). A link counts too, as checkpoints moved to another disk have
 * it, and also while that disk is away. */
static bool is_checkpoint(const char *checkpoints, const char *name) {
  static const char prefix[] = "step-";
  if (strncmp(name, prefix, strlen(prefix)) != 0) return false;
  const char *digits = name + strlen(prefix);
  if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0') return false;
  char *path = lap_run_directory_path(checkpoints, name);
  struct stat facts;
  const bool found = stat(path, &facts) == 0 ? S_ISDIR(facts.st_mode) : lstat(path, &facts) == 0;
  free(path);
  return found;
}

static lap_code find_checkpoints(const char *path, bool *found, lap_status *status) {
  char *checkpoints = lap_run_directory_path(path, "checkpoints");
  DIR *directory = opendir(checkpoints);
  *found = false;
  lap_code code = LAP_OK;
  if (!directory && errno != ENOENT && errno != ENOTDIR) /* what is no directory holds none */
    code = lap_file_fail(checkpoints, "be listed", status);
  while (directory && !*found && code == LAP_OK) {
    const struct dirent *entry;
    code = lap_file_next_entry(checkpoints, directory, &entry, status);
    if (code != LAP_OK || !entry) break;
    *found = is_checkpoint(checkpoints, entry->d_name);
  }
  if (directory) closedir(directory);
  free(checkpoints);
  return code;
}

bool lap_run_directory_has_checkpoints(const char *path) {
  bool found;
  lap_status ignored;
  return find_checkpoints(path, &found, &ignored) == LAP_OK && found;
}

lap_code lap_run_directory_check_new(const char *path, lap_status *status) {
  bool found = false;
  LAP_TRY(find_checkpoints(path, &found, status));
  if (!found) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: this run directory has checkpoints; continue that run with --resume auto, "
                  "or choose another run_dir",
                  path);
}

lap_code lap_run_directory_create(const char *path, bool resume, lap_status *status) {
  if (!resume) LAP_TRY(lap_run_directory_check_new(path, status));
  static const char *const parts[] = {"checkpoints", "export"};
  for (int i = 0; i < 2; ++i) {
    char *part = lap_run_directory_path(path, parts[i]);
    const lap_code code = lap_file_make_directories(part, status);
    free(part);
    if (code != LAP_OK) return code;
  }
  return LAP_OK;
}

lap_code lap_run_directory_take(const char *path, bool resume, lap_directory_lock **lock,
                                lap_status *status) {
  *lock = NULL;
  LAP_TRY(lap_run_directory_create(path, resume, status));
  LAP_TRY(lap_directory_lock_take(path, lock, status));
  LAP_TRY(lap_run_directory_create(path, resume, status));
  return lap_directory_lock_fence(*lock, status);
}

/* --- run.json --- */

static json_t *facts_object(const lap_run_fact *facts, size_t count) {
  json_t *object = json_object();
  for (size_t i = 0; i < count; ++i)
    json_object_set_new(object, facts[i].name, json_string(facts[i].text));
  return object;
}

static json_t *versions_object(const lap_run_facts *facts) {
  json_t *versions = facts_object(facts->versions, facts->version_count);
  json_object_set_new(versions, "lapidary", json_string(LAPIDARY_VERSION));
  json_object_set_new(versions, "jansson", json_string(jansson_version_str()));
  json_object_set_new(versions, "libyaml", json_string(yaml_get_version_string()));
  return versions;
}

static json_t *time_text(void) {
  char text[32];
  const time_t now = time(NULL);
  struct tm parts;
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
  return json_string(text);
}

static json_t *run_object(const lap_run_facts *facts) {
  json_t *hosts = json_array();
  for (int rank = 0; rank < facts->ranks; ++rank)
    json_array_append_new(hosts, json_string(facts->hosts[rank]));
  json_t *run = json_object();
  json_object_set_new(run, "started", time_text());
  json_object_set_new(run, "versions", versions_object(facts));
  json_object_set_new(run, "git_commit",
                      /* NOLINTNEXTLINE(clang-diagnostic-unreachable-code): "" without git */
                      *LAPIDARY_GIT_COMMIT ? json_string(LAPIDARY_GIT_COMMIT) : json_null());
  json_object_set_new(run, "ranks", json_integer(facts->ranks));
  json_object_set_new(run, "threads", json_integer(facts->threads));
  json_object_set_new(run, "hosts", hosts);
  json_object_set_new(run, "mesh",
                      json_pack("{s:i, s:i, s:i}", "pods", facts->mesh.pods, "data",
                                facts->mesh.data, "model", facts->mesh.model));
  json_object_set_new(run, "numbers_sha256", json_string(facts->numbers_sha256));
  json_object_set_new(run, "inputs", facts_object(facts->inputs, facts->input_count));
  return run;
}

/* The object that a run.json is; NULL: it is missing, or no such. */
static json_t *read_run(const char *file) {
  enum { MOST_BYTES = 64 << 20 };
  json_t *run;
  lap_status ignored;
  return lap_json_read_file(file, MOST_BYTES, &run, &ignored) == LAP_OK ? run : NULL;
}

/* The runs before this one, oldest first. A run.json that cannot be read is history lost, nothing
 * more: the run itself does not depend on it. */
static json_t *previous_runs(json_t *last) {
  json_t *runs = json_object_get(last, "previous");
  runs = json_is_array(runs) ? json_incref(runs) : json_array();
  if (last) {
    json_object_del(last, "previous");
    json_array_append(runs, last);
  }
  return runs;
}

/* A run that is resumed keeps the parent that it had. */
static void set_parent(json_t *run, const lap_run_parent *parent, const json_t *last) {
  if (!parent) return;
  json_t *before = json_object_get(last, "parent");
  if (parent->checkpoint)
    json_object_set_new(
        run, "parent",
        json_pack("{s:o, s:I, s:s}", "checkpoint", lap_json_path(parent->checkpoint), "step",
                  (json_int_t)parent->step, "state_sha256", parent->state_sha256));
  else if (parent->resumed && !last)
    json_object_set_new(run, "parent", json_string("unknown"));
  else if (parent->resumed && before)
    json_object_set(run, "parent", before);
}

lap_code lap_run_json_write(const char *path, const lap_run_facts *facts, lap_status *status) {
  char *file = lap_run_directory_path(path, "run.json");
  json_t *run = run_object(facts), *last = read_run(file);
  set_parent(run, facts->parent, last);
  json_object_set_new(run, "previous", previous_runs(last));
  const lap_code code = lap_json_write_file(file, run, JSON_INDENT(2), status);
  json_decref(last);
  json_decref(run);
  free(file);
  return code;
}

lap_code lap_run_json_set_aside(const char *path, char **name, lap_status *status) {
  *name = NULL;
  char *file = lap_run_directory_path(path, "run.json");
  json_t *run = read_run(file);
  lap_code code = LAP_OK;
  if (!run && lap_file_exists(file)) {
    *name = lap_format("%s.damaged", file);
    for (int number = 2; lap_file_exists(*name); ++number) {
      free(*name);
      *name = lap_format("%s.damaged-%d", file, number);
    }
    code = lap_file_publish(file, *name, status);
  }
  json_decref(run);
  free(file);
  return code;
}

lap_code lap_run_json_parent(const char *path, lap_run_parent *parent, lap_status *status) {
  *parent = (lap_run_parent){0};
  char *file = lap_run_directory_path(path, "run.json");
  json_t *run = read_run(file);
  const json_t *found = json_object_get(run, "parent");
  const char *checkpoint = json_string_value(json_object_get(found, "checkpoint"));
  const char *hash = json_string_value(json_object_get(found, "state_sha256"));
  lap_code code = LAP_OK;
  if (checkpoint && hash) {
    parent->checkpoint = lap_copy_string(checkpoint);
    parent->step = (uint64_t)json_integer_value(json_object_get(found, "step"));
    snprintf(parent->state_sha256, sizeof parent->state_sha256, "%s", hash);
  } else if (!run || found) {
    code = lap_fail(status, LAP_DATA, "%s: %s, so it cannot be known what the run began with", file,
                    run                     ? "has no parent that can be read"
                    : lap_file_exists(file) ? "is damaged"
                                            : "is missing");
  }
  json_decref(run);
  free(file);
  return code;
}
