#include "trainer/inspect/find.h"

#include <stdlib.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/model/source.h"

/* --- what a directory is --- */

static bool has(const char *directory, const char *name) {
  char *path = lap_format("%s/%s", directory, name);
  const bool found = lap_file_exists(path);
  free(path);
  return found;
}

static bool holds_checkpoints(const char *directory) {
  char **names = NULL;
  size_t count = 0;
  lap_status ignored;
  const bool listed = lap_checkpoint_list(directory, &names, &count, &ignored) == LAP_OK;
  lap_checkpoint_list_destroy(names, count);
  return listed && count > 0;
}

bool lap_inspect_is_checkpoint(const char *directory) {
  return has(directory, "manifest.json") || lap_checkpoint_is_step(lap_path_name(directory), NULL);
}

bool lap_inspect_is_run(const char *directory) {
  return has(directory, "checkpoints") || has(directory, "run.json") ||
         has(directory, "metrics.jsonl") || holds_checkpoints(directory);
}

/* It is itself, whatever .h5 files lie in it: a run of a suite has its losses by document in eval.
 */
static bool is_model_or_run(const char *path) {
  return lap_model_is_hugging_face(path) || lap_inspect_is_checkpoint(path) ||
         lap_inspect_is_run(path);
}

/* --- what is in it --- */

static void append_path(char ***list, size_t *count, char *path) {
  *list = lap_reallocate(*list, (int64_t)*count + 1, sizeof **list);
  (*list)[(*count)++] = path;
}

/* The .h5 files of the folder and of its train and eval, behind those of the list. */
static void append_files_of(const char *folder, char ***list, size_t *count) {
  static const char *const parts[] = {"", "/train", "/eval"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    char *part = lap_format("%s%s", folder, parts[i]), **paths = NULL;
    size_t found = 0;
    lap_status none;
    if (!lap_file_is_directory(part) ||
        lap_paths_find(part, LAP_HDF5_SUFFIX, &paths, &found, &none) != LAP_OK)
      found = 0;
    for (size_t j = 0; j < found; ++j) append_path(list, count, paths[j]);
    if (found) free(paths);
    free(part);
  }
}

/* What `ablate` has made in its directory: files that are shared, models, and runs that have begun.
 */
static void append_suite(const char *folder, char ***list, size_t *count) {
  static const char *const parts[] = {"shared/tokenizer-*/tokenizer.model",
                                      "shared/tokens-*/*/*.h5",
                                      "shared/cache-*/*.h5",
                                      "shared/model-*",
                                      "tune/*/*/seed-*",
                                      "runs/*/seed-*",
                                      "shared-rate/*/seed-*"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    char *part = lap_format("%s/%s", folder, parts[i]), **paths;
    size_t found = 0;
    lap_status none;
    if (lap_paths_find(part, NULL, &paths, &found, &none) != LAP_OK) found = 0;
    for (size_t j = 0; j < found; ++j)
      if (lap_file_is_directory(paths[j]) && !is_model_or_run(paths[j]))
        free(paths[j]);
      else
        append_path(list, count, paths[j]);
    if (found) free(paths);
    free(part);
  }
}

lap_code lap_inspect_paths(const char *argument, char ***paths, size_t *count, lap_status *status) {
  char **found;
  size_t found_count;
  *paths = NULL;
  *count = 0;
  LAP_TRY(lap_paths_find(argument, NULL, &found, &found_count, status));
  for (size_t i = 0; i < found_count; ++i) {
    const size_t before = *count;
    if (has(found[i], "plan.json"))
      append_suite(found[i], paths, count);
    else if (lap_file_is_directory(found[i]) && !is_model_or_run(found[i]))
      append_files_of(found[i], paths, count);
    if (*count > before)
      free(found[i]);
    else
      append_path(paths, count, found[i]);
  }
  free(found);
  return LAP_OK;
}
