/* hash: identities (SHA-256, OpenSSL) and checksums (XXH3, xxHash).
 *
 * SHA-256 says what a thing is (tokens, tokenizer, state of a run); XXH128 says whether bytes came
 * back as they were written (checkpoint pieces, finished parts of a cache), XXH3 of 64 bits whether
 * they are still what they were in memory or on their way (messages, state between updates).
 */
#ifndef LAP_CORE_HASH_H
#define LAP_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { LAP_SHA256_SIZE = 32, LAP_SHA256_HEX = 65, LAP_XXH128_HEX = 33 };

void lap_sha256(const void *bytes, size_t count, uint8_t digest[LAP_SHA256_SIZE]);
void lap_sha256_hex(const uint8_t digest[LAP_SHA256_SIZE], char hex[LAP_SHA256_HEX]);

/* Incremental form: create, add any number of times, finish (which also destroys). */
typedef struct lap_sha256_stream lap_sha256_stream;
lap_sha256_stream *lap_sha256_create(void);
void lap_sha256_add(lap_sha256_stream *stream, const void *bytes, size_t count);
void lap_sha256_finish(lap_sha256_stream *stream, uint8_t digest[LAP_SHA256_SIZE]);

/* SHA-256 of a whole file. LAP_DATA naming the file where it cannot be read. */
lap_code lap_sha256_file(const char *path, char hex[LAP_SHA256_HEX], lap_status *status);

/* The SHA-256 that a shard or cache binds itself to: over the tokens as little-endian uint32. */
void lap_tokens_sha256(const uint32_t *tokens, size_t count, char hex[LAP_SHA256_HEX]);

/* At the bandwidth of memory. */
uint64_t lap_xxh3(const void *bytes, size_t count);
void lap_xxh128_hex(const void *bytes, size_t count, char hex[LAP_XXH128_HEX]);

/* The same in parts, as the SHA-256 above. */
typedef struct lap_xxh128_stream lap_xxh128_stream;
lap_xxh128_stream *lap_xxh128_create(void);
void lap_xxh128_add(lap_xxh128_stream *stream, const void *bytes, size_t count);
void lap_xxh128_finish(lap_xxh128_stream *stream, char hex[LAP_XXH128_HEX]);

#endif
