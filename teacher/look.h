/* look: what the files of a cache hold, found by reading each of them whole, once.
 *
 * A child process reads a file (core/sandbox.h), makes its digest (rows_digest.h), and compares
 * rows with the tokens (align.h). What it finds is plain bytes: processes that see the same files
 * share the work. Each looks at some files, and all accept what all have found. Files are counted
 * shard by shard, the draws of one seed behind those of another.
 */
#ifndef LAP_TEACHER_LOOK_H
#define LAP_TEACHER_LOOK_H

#include "core/progress.h"
#include "teacher/align.h"

typedef struct {
  uint8_t digest[LAP_SHA256_SIZE];
  lap_alignment alignment;
} lap_cache_finding;

/* Which files to look at: `first`, and each that is a multiple of `every` behind it. */
typedef struct {
  size_t first, every;
  int children;                  /* at once; 1 or more */
  const lap_progress_hook *hook; /* NULL: nobody is told */
} lap_cache_share;

size_t lap_cache_file_count(const lap_cache *cache);

/* One number for which files these are: of each its number on its file system, its size and when it
 * was changed. Equal on nodes that share a file system; copies of a file differ. LAP_DATA naming a
 * file that is gone. */
lap_code lap_cache_which_files(const lap_cache *cache, uint64_t *which, lap_status *status);

/* Fills the elements of `findings` [file count] that belong to files of the share. LAP_DATA where
 * HDF5 cannot read a row or does not survive it, or where a row is invalid that was compared: of
 * the first such file. */
lap_code lap_cache_look(lap_cache *cache, const lap_cache_share *share, lap_cache_finding *findings,
                        lap_status *status);

/* Takes findings of all files: no file is read whole again. Then refuses rows that look shifted
 * (lap_cache_check_shift). */
lap_code lap_cache_accept(lap_cache *cache, const lap_cache_finding *findings, bool allow_shift,
                          bool by_flags, lap_status *status);

#endif
