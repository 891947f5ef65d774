/* align: whether rows of a cache are the rows of these tokens.
 *
 * The commonest mistake of a cache writer is to be off by one. It trains without complaint, towards
 * the wrong tokens. But a teacher that is any good gives token i+1 more probability, on average, in
 * row i than it gives tokens i and i+2 there. Rows are looked at in 64 runs of 64, spread evenly
 * over the file (all rows of a small one); only counted rows with a token i+2 are compared; an
 * id that was not kept has probability 0.
 *
 * With 1024 rows or more the comparison of the means decides, as docs/design.md#teacher-cache says.
 * With fewer, chance could refuse the small evaluation shard of a weak teacher, so that it is
 * refused only where the mean of the differences is more than three standard errors on the wrong
 * side (a real shift shows within a dozen rows). Shards with fewer than 64 rows are compared
 * together.
 */
#ifndef LAP_TEACHER_ALIGN_H
#define LAP_TEACHER_ALIGN_H

#include "teacher/cache.h"

/* Sums over rows of the probability given to token i+1 (next), i (same) and i+2 (after). */
typedef struct {
  uint64_t rows;
  double next, same, after;
  double square_same, square_after; /* of (next - same) and (next - after) */
  double kept;                      /* sum of kept probability: coverage */
  double least_kept;                /* the smallest of a row, at row least_kept_row */
  uint64_t least_kept_row;
} lap_alignment;

/* Adds the rows of one shard to *alignment (zero-initialise). LAP_DATA where a row is invalid. */
lap_code lap_alignment_add(lap_cache *cache, size_t shard, lap_alignment *alignment,
                           lap_status *status);
bool lap_alignment_is_shifted(const lap_alignment *alignment);

/* LAP_DATA "rows look shifted by one", naming the file. Lifted by teacher.allow_shift. */
lap_code lap_cache_check_shift(lap_cache *cache, lap_status *status);

#endif
