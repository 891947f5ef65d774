/* publish: files that appear whole or not at all.
 *
 * A file is written to PATH.partial, flushed to the disk and renamed, and the rename is flushed
 * too: after a kill, a full disk or a power cut PATH is absent or whole. What a kill leaves is a
 * PATH.partial that the next writer of PATH overwrites. One writer a path at a time.
 */
#ifndef LAP_DATASET_PUBLISH_H
#define LAP_DATASET_PUBLISH_H

#include <stddef.h>

#include "autograd/core/status.h"

/* Writes `count` bytes as the file `path`, replacing one that is there. LAP_DATA with the path and
 * the system's reason; then nothing of it is left. */
lap_code lap_publish_file(const char *path, const void *bytes, size_t count, lap_status *status);

/* Makes a directory and the missing ones above it; one that exists is fine. */
lap_code lap_make_directory(const char *path, lap_status *status);

/* Renames a directory of finished files and flushes the directories it moves between. An empty
 * directory at `to` is replaced; one with files in it is LAP_DATA. */
lap_code lap_publish_directory(const char *from, const char *to, lap_status *status);

#endif
