/* parts: what is finished of a cache under construction.
 *
 * `teach` works in parts of 64 windows of one shard. A finished part is a flat file of its own, so
 * that a kill loses seconds, and so that ranks can work on a shard together: each writes the parts
 * it made, at the end one assembles them. A part appears whole or not at all (lap_file_write),
 * ends with an XXH128 of everything before it, and begins with the identity of what it is a part
 * of: tokens, teacher, how it is computed, codec with its draws, k, sequence_length, document_mask.
 * A part that is damaged, cut off, or of another teacher counts as missing and is computed once
 * more.
 *
 *   bytes                 little-endian
 *   16                    "lapidary-part 1" and a zero
 *   8 each                length of identity, first row, rows, k
 *   length of identity    identity, as text
 *   4 rows k each         ids (uint32), logprob (float32)
 *   4 rows each           tail_mass, next_logprob, entropy (float32); of drawn codecs also
 *                         threshold (float32), top_id (uint32)
 *   32                    XXH128 of all the above, in hex
 */
#ifndef LAP_TEACHER_PARTS_H
#define LAP_TEACHER_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "teacher/cache_write.h"

enum { LAP_PART_WINDOWS = 64 };

typedef struct lap_parts lap_parts;

/* The parts of one shard in `directory`, which is made where it is missing. `schema` as for
 * lap_cache_write; `teacher_identity` is any text that changes whenever the teacher's numbers
 * would: its weights, precision, BLAS. Strings and `tokens` must outlive the parts, `schema` need
 * not. Any number of processes may do this for the same shard. */
lap_code lap_parts_create(const char *directory, const lap_cache_schema *schema,
                          const lap_token_shard *tokens, const char *teacher_identity,
                          lap_parts **parts, lap_status *status);
void lap_parts_destroy(lap_parts *parts);

/* Number of parts of the shard, and the windows and rows of one. Windows of a part are
 * [*first_window, *first_window + return value). */
uint64_t lap_parts_count(const lap_parts *parts);
uint32_t lap_parts_windows(const lap_parts *parts, uint64_t part, uint64_t *first_window);
uint32_t lap_parts_rows(const lap_parts *parts, uint64_t part, uint64_t *first_row);

/* Whether the part is there and whole: reads all of it. */
bool lap_parts_have(const lap_parts *parts, uint64_t part);

/* Writes the rows of one part (lap_parts_rows of them), and removes what killed writers of it left:
 * one writer a part at a time. LAP_DATA where it cannot be written. */
lap_code lap_parts_write(const lap_parts *parts, uint64_t part, const lap_cache_content *rows,
                         lap_status *status);

/* Waits (lap_file_await) for the names of all parts, which other ranks say they have written. */
void lap_parts_await(const lap_parts *parts);

/* All parts as the content of the whole shard, created here, destroyed by the caller. LAP_DATA
 * naming the first part that is missing; then there is no content. */
lap_code lap_parts_assemble(const lap_parts *parts, lap_cache_content *content, lap_status *status);

/* Removes the parts of the shard, and the directory where nothing else is in it. Parts that
 * are missing are passed over. */
lap_code lap_parts_remove(const lap_parts *parts, lap_status *status);

#endif
