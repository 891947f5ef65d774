#include "trainer/inspect/find.h"

#include <stdlib.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "trainer/inspect/inspect.h"

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

static bool is_of_suite(const char *folder) {
  char *plan = lap_format("%s/plan.json", folder);
  const bool found = lap_file_exists(plan);
  free(plan);
  return found;
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
      if (lap_file_is_directory(paths[j]) && !lap_inspect_is_model_or_run(paths[j]))
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
    if (is_of_suite(found[i]))
      append_suite(found[i], paths, count);
    else if (lap_file_is_directory(found[i]) && !lap_inspect_is_model_or_run(found[i]))
      append_files_of(found[i], paths, count);
    if (*count > before)
      free(found[i]);
    else
      append_path(paths, count, found[i]);
  }
  free(found);
  return LAP_OK;
}
