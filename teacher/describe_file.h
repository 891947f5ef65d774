/* describe_file: what can be said of one file of a cache without its tokens.
 *
 * Which rows count is then unknown (docs/design.md#windows: not those of an EOS, not the last), and
 * alignment cannot be checked. A row without a kept id and without a tail, as teach writes those
 * that do not count, is empty; all others, but the last, should be distributions, with their
 * entropy where that is stored. next_logprob is not looked at: a row that does not count has no
 * next token.
 */
#ifndef LAP_TEACHER_DESCRIBE_FILE_H
#define LAP_TEACHER_DESCRIBE_FILE_H

#include "teacher/describe.h"

/* As lap_cache_describe, in a child too, as far as it goes: `compared` is 0 and so are the means
 * over it; mean_kept and least_kept are over `sampled` rows; examples have no token and no next.
 * Rows that are empty or not valid are passed over. */
lap_code lap_cache_file_describe(const char *path, lap_cache_description *description,
                                 uint64_t *sampled, lap_status *status);

/* Reads every row, twice: a child does it first. LAP_DATA naming the first that is neither a
 * distribution nor empty nor the last; *bad_row then says that it is one row, which may not count.
 * LAP_DATA too where the rows do not have the rows_sha256 that the file carries. *empty gets the
 * number of empty rows. `hook`, unless NULL, is told of the rows, block by block. */
lap_code lap_cache_file_check(const char *path, uint64_t *empty, bool *bad_row,
                              const lap_progress_hook *hook, lap_status *status);

#endif
