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

lap_code lap_rows_digest_confirm(const char *path, const char *said,
                                 const uint8_t digest[LAP_SHA256_SIZE], lap_status *status) {
  char found[LAP_SHA256_HEX];
  lap_sha256_hex(digest, found);
  if (!said[0] || strcmp(said, found) == 0) return LAP_OK;
  return lap_fail(
      status, LAP_DATA,
      "%s: its rows_sha256 is %s, but the SHA-256 of its rows is %s: the rows changed "
      "after they were written, or their writer computed it wrongly; delete the file and "
      "make it again, or delete the attribute if the rows are right",
      path, said, found);
}
