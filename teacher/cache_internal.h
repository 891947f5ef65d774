/* cache_internal: the inside of a lap_cache, for the files of teacher/ that make or examine one. */
#ifndef LAP_TEACHER_CACHE_INTERNAL_H
#define LAP_TEACHER_CACHE_INTERNAL_H

#include "teacher/cache_file.h"
#include "teacher/cache_row.h"

typedef struct {
  char *path; /* NULL until found */
  lap_cache_schema schema;
  lap_cache_file *file; /* NULL: closed at the moment */
  uint64_t last_use;
  char rows_sha256[LAP_SHA256_HEX]; /* that the file says it has; "" where absent */
  bool is_tried;                    /* a child process has read every row */
  uint8_t digest[LAP_SHA256_SIZE];  /* of the rows; where is_tried */
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
  bool lacks_tail;
  char *notice;           /* lap_cache_notice; NULL: none */
  struct lap_cache *next; /* the draws of the next epoch; NULL: those of the first */
};

/* Without any file yet; `tokens` must outlive it. */
struct lap_cache *lap_cache_create(const lap_token_set *tokens);
/* Once the schema and all paths are known. */
void lap_cache_prepare_reading(struct lap_cache *cache);

/* Has a child process read every row of the shard's file, unless one has done so; sets its digest
 * (teacher/cache_sandbox.h). */
lap_code lap_cache_try_rows(struct lap_cache *cache, size_t shard, lap_status *status);

#endif
