/* lfs_pointer: what a clone of a repository has in the place of a large file that Git LFS has not
 * fetched: a few lines of text. */
#ifndef LAP_CORE_LFS_POINTER_H
#define LAP_CORE_LFS_POINTER_H

#include <stddef.h>

#include "core/status.h"

/* LAP_DATA where a file of these first bytes is one; with 64 of them it is seen. The message goes
 * on behind the name of the file: lap_fail_context. */
lap_code lap_refuse_lfs_pointer(const void *bytes, size_t count, lap_status *status);

#endif
