/* cache_open: the inside of a lap_cache. Internal to teacher/. */
#ifndef LAP_TEACHER_CACHE_OPEN_H
#define LAP_TEACHER_CACHE_OPEN_H

#include "teacher/cache_file.h"
#include "teacher/cache_rows.h"

typedef struct {
  char *path; /* NULL until found */
  lap_cache_schema schema;
  lap_cache_file *file; /* NULL: closed at the moment */
  uint64_t last_use;
  bool is_tried;                   /* a child process has read every row */
  uint8_t digest[LAP_SHA256_SIZE]; /* of the rows; where is_tried */
} lap_cache_shard;

struct lap_cache {
  const lap_token_set *tokens;
  lap_cache_schema schema;
  lap_cache_shard *shard; /* [tokens->count] */
  size_t open_count;
  uint64_t clock; /* counts uses, for last_use */
  uint32_t block_rows;
  lap_cache_raw raw; /* [block_rows] */
  lap_duplicates seen;
};

/* Has a child process read every row of the shard's file, unless one has done so; sets its digest.
 * LAP_DATA where HDF5 cannot read a row, or does not survive it. */
lap_code lap_cache_try_rows(lap_cache *cache, size_t shard, lap_status *status);

/* The same of one file; `tokens_sha256` and the content go into the digest. */
lap_code lap_cache_file_try(const char *path, const char *tokens_sha256,
                            uint8_t digest[LAP_SHA256_SIZE], lap_status *status);

/* The shard's file, whose rows a child has tried; opened again where it was closed to stay below
 * the limit of open files. */
lap_code lap_cache_use_file(lap_cache *cache, size_t shard, const lap_cache_file **file,
                            lap_status *status);

#endif
