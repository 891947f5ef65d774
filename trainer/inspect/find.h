/* find: which files and directories inspect looks at. */
#ifndef LAP_TRAINER_INSPECT_FIND_H
#define LAP_TRAINER_INSPECT_FIND_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* By what lies in it, whole or not. */
bool lap_inspect_is_checkpoint(const char *directory);
bool lap_inspect_is_run(const char *directory);

/* The paths that an argument means (core/paths.h). A folder of .h5 files, or one as tokenize makes
 * it, with such files in train and eval, means those files; the directory of a suite, what lies in
 * it; any other, and a model or run, is itself. LAP_DATA naming the argument. Release with
 * lap_paths_release. */
lap_code lap_inspect_paths(const char *argument, char ***paths, size_t *count, lap_status *status);

#endif
