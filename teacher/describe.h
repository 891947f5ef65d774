/* describe: what `inspect` and `audit` say of a cache. */
#ifndef LAP_TEACHER_DESCRIBE_H
#define LAP_TEACHER_DESCRIBE_H

#include <stdint.h>

#include "core/progress.h"
#include "teacher/cache.h"

enum { LAP_EXAMPLE_ROWS = 5, LAP_EXAMPLE_TOP = 5 };

/* A row for people to read: after `token`, the teacher expected `top`; it was `next`. */
typedef struct {
  uint64_t row;
  uint32_t token, next;
  uint32_t top_count;
  uint32_t top_id[LAP_EXAMPLE_TOP]; /* most probable first, ties to the lower id */
  float top_probability[LAP_EXAMPLE_TOP];
  float tail;
} lap_cache_example;

/* Adds an id of the row, in any order; the LAP_EXAMPLE_TOP most probable ones are kept. */
void lap_cache_example_add(lap_cache_example *example, uint32_t id, float probability);

typedef struct {
  uint64_t rows;     /* of the shard */
  double file_bytes; /* a row */
  /* Over the `compared` rows of teacher/align.h: mean probability of tokens i+1, i and i+2. */
  uint64_t compared;
  double mean_next, mean_same, mean_after;
  /* lap_alignment_is_shifted, though nobody vouches for the rows; _is_weak. Neither of rows that
   * are out of place on purpose: swapped_percent. */
  bool shifted, weak;
  /* Coverage over the same rows: the sum of kept probability. */
  double mean_kept, least_kept;
  uint64_t least_kept_row;
  uint32_t example_count;
  lap_cache_example example[LAP_EXAMPLE_ROWS]; /* evenly spread counted rows */
} lap_cache_description;

/* Describes one shard of a cache that was opened without an expectation (or with one), in a child
 * process (core/sandbox.h). LAP_DATA where a row that it looks at is invalid. */
lap_code lap_cache_describe(lap_cache *cache, size_t shard, lap_cache_description *description,
                            lap_status *status);

/* Reads and validates every counted row of one shard. `hook`, unless NULL, is told of the rows,
 * block by block. LAP_DATA naming the first bad row. */
lap_code lap_cache_check_all(lap_cache *cache, size_t shard, const lap_progress_hook *hook,
                             lap_status *status);

/* LAP_DATA where the rows of one shard do not have the rows_sha256 that their file carries. Reads
 * them all, unless that was done. */
lap_code lap_cache_confirm_rows(lap_cache *cache, size_t shard, lap_status *status);

#endif
