/* swap_rows: rows of a cache that are about other positions than their own.
 *
 * For experiments: what does a student make of a teacher whose rows do not belong to the text? Of
 * the rows of a window a share goes round in a circle among themselves, so that each of them is a
 * distribution that the teacher gave nearby, in the same text. Which ones, and in which order, is
 * random by shard and window alone.
 */
#ifndef LAP_TEACHER_SWAP_ROWS_H
#define LAP_TEACHER_SWAP_ROWS_H

#include <stddef.h>

#include "teacher/cache_write.h"

/* Of the `count` rows whose indices in `content` are rows[], the nearest number to `percent` per
 * cent of them change places; none where that is only one. `k` slots a row. `stream`: of the shard
 * (lap_draw_stream); `index`: a number of the window's own. next_logprob stays where it is: it is
 * what the teacher gave to the token there. rows[] ends in another order. */
void lap_swap_rows(const lap_cache_content *content, uint32_t k, uint64_t *rows, size_t count,
                   uint32_t percent, uint64_t stream, uint64_t index);

#endif
