/* align: whether rows of a cache are the rows of these tokens.
 *
 * The commonest mistake of a cache writer is to be off by one. It trains without complaint, towards
 * the wrong tokens. A file that carries rows_sha256 (teacher/rows_digest.h), and whose rows have
 * it, is by a writer that vouches for its alignment: nothing is guessed. Any other file is asked
 * which tokens its rows speak of: i+1, as they should, or i, or i+2.
 *
 * What a row says of a token is its score: log(p / u), its probability over its frequency in the
 * shard, softened to log(0.99 p / u + 0.01). The tail counts for the ids that were not kept, in
 * proportion to their frequencies. A teacher that knows no more than the frequencies scores 0 for
 * every token, wherever its rows lie; one that knows more scores above 0 for the tokens that its
 * rows are about. So the scores are compared row by row, and the rows are shifted only where token
 * i or i+2 scores more than token i+1 by STANDARD_ERRORS standard errors of the mean difference.
 *
 * One kind of weak teacher has more to say of token i than of i+1 all the same: one that has hardly
 * been trained repeats its input, since its head is its embedding. Its rows are not shifted; they
 * differ with token i and hardly with token i-1. Rows that were shifted so that they are about
 * token i cannot know it: they differ with token i-1. So where token i scores best, rows are
 * compared in pairs: pairs that share token i but not i-1, and pairs that share i-1 but not i. The
 * rows are shifted unless those of the first kind are the more alike, and token i scores 2 at most:
 * nobody learns from a teacher that insists on its input.
 *
 * Rows are looked at in 64 runs of 64, spread evenly over the file (all rows of a small one);
 * scores are compared where tokens i, i+1 and i+2 are text: of EOS and BOS it is known beforehand
 * where they stand. Shards with fewer than 64 rows are compared together.
 */
#ifndef LAP_TEACHER_ALIGN_H
#define LAP_TEACHER_ALIGN_H

#include "teacher/cache.h"

/* A sum over rows and the sum of squares. */
typedef struct {
  double sum, squares;
} lap_row_sum;

typedef struct {
  uint64_t rows;            /* counted, with a token i+2 */
  double next, same, after; /* sums of the probability given to tokens i+1, i and i+2 */
  double kept;              /* sum of kept probability: coverage */
  double least_kept;        /* the smallest of a row, at row least_kept_row */
  uint64_t least_kept_row;
  uint64_t whole_rows; /* rows without a tail that do not keep the whole vocabulary */

  uint64_t scored;                       /* rows whose three tokens are text */
  lap_row_sum score;                     /* of token i+1 */
  lap_row_sum same_over, after_over;     /* score of token i, of i+2, less that of i+1 */
  uint64_t input_pairs, before_pairs;    /* pairs of rows that share token i, token i-1 alone */
  lap_row_sum input_alike, before_alike; /* over them, how much probability they share, 0 to 1 */
} lap_alignment;

/* Adds the rows of one shard to *alignment (zero-initialise). LAP_DATA where a row is invalid. */
lap_code lap_alignment_add(lap_cache *cache, size_t shard, lap_alignment *alignment,
                           lap_status *status);
bool lap_alignment_is_shifted(const lap_alignment *alignment);
/* Whether the rows say no more of token i+1 than its frequency does. Not to be asked of a drawn
 * codec: the logarithm of an estimate is below that of its mean. */
bool lap_alignment_is_weak(const lap_alignment *alignment);

/* Whether the rows have the rows_sha256 of their file, once they were tried. */
bool lap_cache_vouches(const lap_cache *cache, size_t shard);

/* The first file of a cache, or of one of its draws, whose rows do not match the rows_sha256 that
 * it carries; NULL: none. Only rows that were tried are compared. */
const char *lap_cache_other_rows(const lap_cache *cache);

/* What the sums of all shards say, `alignments` [shards of the tokens]. LAP_DATA "rows look shifted
 * by one", naming the file, unless `allow_shift` or the rows are out of place on purpose
 * (swapped_percent), with what may be done by who has only flags (`by_flags`) or has keys to set;
 * what else is odd becomes the cache's notice. */
lap_code lap_cache_check_shift(lap_cache *cache, const lap_alignment *alignments, bool allow_shift,
                               bool by_flags, lap_status *status);

#endif
