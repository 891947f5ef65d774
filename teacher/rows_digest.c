#include "teacher/rows_digest.h"

#include <string.h>

uint32_t lap_rows_digest_block(uint32_t k) {
  enum { BLOCK_SLOTS = 1 << 19 };
  return k < BLOCK_SLOTS ? BLOCK_SLOTS / k : 1;
}

lap_sha256_stream *lap_rows_digest_create(const char *tokens_sha256) {
  lap_sha256_stream *stream = lap_sha256_create();
  lap_sha256_add(stream, tokens_sha256, strlen(tokens_sha256));
  return stream;
}

void lap_rows_digest_add(lap_sha256_stream *stream, const lap_cache_raw *raw, uint64_t rows,
                         uint32_t k) {
  lap_sha256_add(stream, raw->ids, rows * k * sizeof *raw->ids);
  lap_sha256_add(stream, raw->logprob, rows * k * sizeof *raw->logprob);
  lap_sha256_add(stream, raw->tail_mass, rows * sizeof *raw->tail_mass);
}
