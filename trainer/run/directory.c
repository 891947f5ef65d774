#include "trainer/run/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <yaml.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

char *lap_run_directory_path(const char *path, const char *name) {
  return lap_format("%s/%s", path, name);
}

const char *lap_run_git_commit(void) { return LAPIDARY_GIT_COMMIT; }

/* step-DIGITS: what a killed process leaves has another name
 * (trainer/checkpoint/directory.h). `latest` may be a link to a checkpoint: only what is
 * a directory itself counts. */
static bool is_checkpoint(const char *checkpoints, const char *name) {
  static const char prefix[] = "step-";
  if (strncmp(name, prefix, strlen(prefix)) != 0) return false;
  const char *digits = name + strlen(prefix);
  if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0') return false;
  char *path = lap_run_directory_path(checkpoints, name);
  struct stat facts;
  const bool found = lstat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
  free(path);
  return found;
}

bool lap_run_directory_has_checkpoints(const char *path) {
  char *checkpoints = lap_run_directory_path(path, "checkpoints");
  DIR *directory = opendir(checkpoints);
  bool found = false;
  const struct dirent *entry;
  while (directory && !found && (entry = readdir(directory)))
    found = is_checkpoint(checkpoints, entry->d_name);
  if (directory) closedir(directory);
  free(checkpoints);
  return found;
}

lap_code lap_run_directory_create(const char *path, bool resume, lap_status *status) {
  if (!resume && lap_run_directory_has_checkpoints(path))
    return lap_fail(status, LAP_USAGE,
                    "%s: this run directory has checkpoints; continue that run with --resume auto, "
                    "or choose another run_dir",
                    path);
  static const char *const parts[] = {"checkpoints", "export"};
  for (int i = 0; i < 2; ++i) {
    char *part = lap_run_directory_path(path, parts[i]);
    const lap_code code = lap_file_make_directories(part, status);
    free(part);
    if (code != LAP_OK) return code;
  }
  return LAP_OK;
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

/* The runs before this one, oldest first. A run.json that cannot be read is history lost, nothing
 * more: the run itself does not depend on it. */
static json_t *previous_runs(const char *file) {
  enum { MOST_BYTES = 64 << 20 };
  char *text = NULL;
  size_t bytes;
  lap_status ignored;
  json_t *last = NULL;
  if (lap_file_read(file, MOST_BYTES, &text, &bytes, &ignored) == LAP_OK &&
      lap_json_values(text, bytes) <= LAP_JSON_MOST_VALUES)
    last = json_loadb(text, bytes, 0, NULL);
  free(text);
  json_t *runs = json_object_get(last, "previous");
  runs = json_is_array(runs) ? json_incref(runs) : json_array();
  if (json_is_object(last)) {
    json_object_del(last, "previous");
    json_array_append(runs, last);
  }
  json_decref(last);
  return runs;
}

/* A run that is resumed keeps the parent that it had. */
static void set_parent(json_t *run, const lap_run_parent *parent, const json_t *previous) {
  const size_t count = json_array_size(previous);
  json_t *before = count ? json_object_get(json_array_get(previous, count - 1), "parent") : NULL;
  if (parent && parent->checkpoint)
    json_object_set_new(
        run, "parent",
        json_pack("{s:o, s:I, s:s}", "checkpoint", lap_json_path(parent->checkpoint), "step",
                  (json_int_t)parent->step, "state_sha256", parent->state_sha256));
  else if (before)
    json_object_set(run, "parent", before);
}

lap_code lap_run_json_write(const char *path, const lap_run_facts *facts, lap_status *status) {
  char *file = lap_run_directory_path(path, "run.json");
  json_t *run = run_object(facts);
  json_t *previous = previous_runs(file);
  set_parent(run, facts->parent, previous);
  json_object_set_new(run, "previous", previous);
  char *text = json_dumps(run, JSON_INDENT(2));
  char *whole = lap_format("%s\n", text);
  lap_file_remove_temporaries(file); /* of a run that was killed */
  const lap_code code = lap_file_write(file, whole, strlen(whole), status);
  free(whole);
  free(text);
  json_decref(run);
  free(file);
  return code;
}
