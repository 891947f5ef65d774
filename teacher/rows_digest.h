/* rows_digest: the identity of the rows of one cache file. Internal to teacher/.
 *
 * SHA-256 over tokens_sha256 of the shard as 64 hex digits, and then for each block of
 * max(1, floor(2^19 / k)) rows: ids as int64, logprob as float32, tail_mass as float32, all
 * little-endian, whatever types they are stored in.
 */
#ifndef LAP_TEACHER_ROWS_DIGEST_H
#define LAP_TEACHER_ROWS_DIGEST_H

#include "core/hash.h"
#include "teacher/cache_file.h"

/* Rows of a block, the last of a file excepted. */
uint32_t lap_rows_digest_block(uint32_t k);

lap_sha256_stream *lap_rows_digest_create(const char *tokens_sha256);
/* The next block. Finished by lap_sha256_finish. */
void lap_rows_digest_add(lap_sha256_stream *stream, const lap_cache_raw *raw, uint64_t rows,
                         uint32_t k);

/* LAP_DATA, naming the file at `path`, unless its rows have the digest that it carries, `said`; ""
 * where it carries none. */
lap_code lap_rows_digest_confirm(const char *path, const char *said,
                                 const uint8_t digest[LAP_SHA256_SIZE], lap_status *status);

#endif
