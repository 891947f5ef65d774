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

/* The shard's file, opened again where it was closed to stay below the limit of open files. */
lap_code lap_cache_use_file(lap_cache *cache, size_t shard, const lap_cache_file **file,
                            lap_status *status);

#endif
