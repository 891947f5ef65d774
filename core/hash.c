#include "core/hash.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef LAPIDARY_XXHASH_DISPATCH
#include <xxh_x86dispatch.h> /* takes AVX2 or AVX-512 where it is: three times as fast */
#else
#include <xxhash.h>
#endif

#include "core/memory.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "lapidary's files and hashes are little-endian and written as they lie in memory"
#endif

struct lap_sha256_stream {
  EVP_MD_CTX *context;
};

lap_sha256_stream *lap_sha256_create(void) {
  lap_sha256_stream *stream = lap_allocate(1, sizeof *stream);
  stream->context = EVP_MD_CTX_new();
  const int ready = stream->context && EVP_DigestInit_ex(stream->context, EVP_sha256(), NULL);
  assert(ready);
  (void)ready;
  return stream;
}

void lap_sha256_add(lap_sha256_stream *stream, const void *bytes, size_t count) {
  EVP_DigestUpdate(stream->context, bytes, count);
}

void lap_sha256_finish(lap_sha256_stream *stream, uint8_t digest[LAP_SHA256_SIZE]) {
  EVP_DigestFinal_ex(stream->context, digest, NULL);
  EVP_MD_CTX_free(stream->context);
  free(stream);
}

void lap_sha256(const void *bytes, size_t count, uint8_t digest[LAP_SHA256_SIZE]) {
  lap_sha256_stream *stream = lap_sha256_create();
  lap_sha256_add(stream, bytes, count);
  lap_sha256_finish(stream, digest);
}

static void hex_of(const uint8_t *bytes, size_t count, char *hex) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < count; ++i) {
    hex[2 * i] = digits[bytes[i] >> 4];
    hex[2 * i + 1] = digits[bytes[i] & 15];
  }
  hex[2 * count] = '\0';
}

void lap_sha256_hex(const uint8_t digest[LAP_SHA256_SIZE], char hex[LAP_SHA256_HEX]) {
  hex_of(digest, LAP_SHA256_SIZE, hex);
}

lap_code lap_sha256_file(const char *path, char hex[LAP_SHA256_HEX], lap_status *status) {
  FILE *file = fopen(path, "rb");
  if (!file) return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  lap_sha256_stream *stream = lap_sha256_create();
  char block[1 << 16];
  size_t count;
  while ((count = fread(block, 1, sizeof block, file)) > 0) lap_sha256_add(stream, block, count);
  const int failed = ferror(file);
  const int reason = errno;
  fclose(file);
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  if (failed) return lap_fail(status, LAP_DATA, "%s: cannot be read: %s", path, strerror(reason));
  lap_sha256_hex(digest, hex);
  return LAP_OK;
}

void lap_tokens_sha256(const uint32_t *tokens, size_t count, char hex[LAP_SHA256_HEX]) {
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(tokens, count * sizeof *tokens, digest);
  lap_sha256_hex(digest, hex);
}

uint64_t lap_xxh3(const void *bytes, size_t count) { return XXH3_64bits(bytes, count); }

static void xxh128_hex(XXH128_hash_t hash, char hex[LAP_XXH128_HEX]) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  hex_of(canonical.digest, (int)sizeof canonical.digest, hex);
}

void lap_xxh128_hex(const void *bytes, size_t count, char hex[LAP_XXH128_HEX]) {
  xxh128_hex(XXH3_128bits(bytes, count), hex);
}

struct lap_xxh128_stream {
  XXH3_state_t *state;
};

lap_xxh128_stream *lap_xxh128_create(void) {
  lap_xxh128_stream *stream = lap_allocate(1, sizeof *stream);
  stream->state = XXH3_createState();
  const bool ready = stream->state && XXH3_128bits_reset(stream->state) == XXH_OK;
  assert(ready);
  (void)ready;
  return stream;
}

void lap_xxh128_add(lap_xxh128_stream *stream, const void *bytes, size_t count) {
  XXH3_128bits_update(stream->state, bytes, count);
}

void lap_xxh128_finish(lap_xxh128_stream *stream, char hex[LAP_XXH128_HEX]) {
  xxh128_hex(XXH3_128bits_digest(stream->state), hex);
  XXH3_freeState(stream->state);
  free(stream);
}
