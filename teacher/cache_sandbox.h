/* cache_sandbox: what a child process says of one file of a cache, before this process trusts it
 * (core/sandbox.h): HDF5 may crash on a file made for that.
 */
#ifndef LAP_TEACHER_CACHE_SANDBOX_H
#define LAP_TEACHER_CACHE_SANDBOX_H

#include "teacher/schema.h"

/* What one file says of itself, without its tokens. */
typedef struct {
  lap_cache_schema schema;
  uint64_t rows;
  char tokens_sha256[LAP_SHA256_HEX]; /* names the token shard that the file belongs to */
  char rows_sha256[LAP_SHA256_HEX];   /* "" where absent */
} lap_cache_identity;

lap_code lap_cache_file_identity(const char *path, lap_cache_identity *identity,
                                 lap_status *status);

/* Reads every row into the digest (teacher/rows_digest.h). LAP_DATA where HDF5 cannot read a row,
 * or does not survive it. */
lap_code lap_cache_file_try(const char *path, const char *tokens_sha256,
                            uint8_t digest[LAP_SHA256_SIZE], lap_status *status);
/* The same in this process: for a child that does more with the file. */
lap_code lap_cache_file_hash(const char *path, const char *tokens_sha256,
                             uint8_t digest[LAP_SHA256_SIZE], lap_status *status);

#endif
