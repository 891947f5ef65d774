/* paths: which files a text of the user's means.
 *
 * Every key and argument that takes files reads its text by this one rule:
 *
 *   1. a path that exists is that path, whatever characters it has, and so are the folders at its
 *      beginning that exist
 *   2. otherwise {a,b} stands for both texts, each read by this rule
 *   3. otherwise * ? [...] and \ are those of glob(7)
 *
 * Each text of braces and each glob must match something: data that is not there is not left out
 * silently. A folder stands for its files of the kind that is wanted.
 */
#ifndef LAP_CORE_PATHS_H
#define LAP_CORE_PATHS_H

#include <stddef.h>

#include "core/status.h"

/* The paths that `text` means, in byte order of their file names (ties by whole path), none twice.
 * `kind`: how the names of a folder's files end, such as ".h5"; hidden ones are passed over. NULL:
 * a folder is itself. LAP_DATA naming the text and the reason where there are none. Release with
 * lap_paths_release. */
lap_code lap_paths_find(const char *text, const char *kind, char ***paths, size_t *count,
                        lap_status *status);
void lap_paths_release(char **paths, size_t count);

/* What stands behind the last slash of a path; all of it where there is none. */
const char *lap_path_name(const char *path);

#endif
