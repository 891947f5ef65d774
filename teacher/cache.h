/* cache: a teacher's precomputed distributions, open and read (the open schema of
 * docs/design.md#teacher-cache).
 *
 * Row i is the teacher's distribution over token i+1 in the context of docs/design.md#windows. A
 * row that is not valid (teacher/cache_row.h) is LAP_DATA naming file, dataset and row, whenever it
 * is met; rows that are not counted are not looked at. Caches are opened by teacher/cache_open.h.
 *
 * One thread of the process calls HDF5 (see dataset/token_shard.h).
 */
#ifndef LAP_TEACHER_CACHE_H
#define LAP_TEACHER_CACHE_H

#include "dataset/token_shard.h"
#include "teacher/schema.h"

/* At most 64 files are open at a time; one that is opened again must still say what it said. */
typedef struct lap_cache lap_cache;

void lap_cache_close(lap_cache *cache);

/* A cache of a drawn codec may have been drawn several times (lap_cache_expectation.several_draws):
 * then each epoch reads the next draw, in the order of their seeds, and the first again behind the
 * last. What an epoch reads is a cache like any other, which `cache` owns; the first is `cache`. */
size_t lap_cache_draw_count(const lap_cache *cache);
lap_cache *lap_cache_of_epoch(lap_cache *cache, uint64_t epoch);

/* What an open cache of this k holds to read with, for `plan`; HDF5's own memory is not in it. */
int64_t lap_cache_bytes(int64_t k);

const lap_cache_schema *lap_cache_schema_of(const lap_cache *cache);
const lap_token_set *lap_cache_tokens(const lap_cache *cache);
const char *lap_cache_path(const lap_cache *cache, size_t shard);

/* What is odd about the rows, but not refused, as one line for a warning; NULL: nothing. Known once
 * the cache was opened with an expectation. */
const char *lap_cache_notice(const lap_cache *cache);

/* Whether every row that was looked at has a tail of 0 (within 1e-6) although it does not keep the
 * whole vocabulary, and the codec is topk: a teacher whose top k was scaled to sum to 1. Known with
 * the notice. */
bool lap_cache_lacks_tail(const lap_cache *cache);

/* One SHA-256 over the schema and the digests of all files in shard order (lap_cache_file_try),
 * draw behind draw: the identity that numbers_sha256 covers. Reads everything once, unless rows
 * have been read before: the child process that tries a file computes its digest. */
lap_code lap_cache_content_sha256(lap_cache *cache, char hex[LAP_SHA256_HEX], lap_status *status);

/* The digest of the file of one shard, of which that is made. */
lap_code lap_cache_shard_sha256(lap_cache *cache, size_t shard, char hex[LAP_SHA256_HEX],
                                lap_status *status);

/* Rows as they are used. K slots a row; unused slots have probability 0 and id -1. */
typedef struct {
  uint32_t capacity; /* rows allocated */
  uint32_t k;
  int32_t *ids;           /* [rows, K] */
  float *probability;     /* [rows, K]: exp(logprob) at temperature 1 */
  float *tail;            /* [rows] */
  double *bucket_entropy; /* [rows], nats: see below */
  float *next_logprob;    /* [rows] or NULL */
  float *entropy;         /* [rows] or NULL */
} lap_cache_rows;

/* bucket_entropy is what a KL between the K+1 buckets subtracts: with s = sum t + r,
 * -sum (t/s) log(t/s) - (r/s) log(r/s). For the sampled and stratified codecs, whose t are
 * estimates, it is the stored entropy, NaN where there is none. */

lap_cache_rows *lap_cache_rows_create(const lap_cache *cache, uint32_t capacity);
void lap_cache_rows_destroy(lap_cache_rows *rows);
/* What create would allocate, with the optional columns, for `plan`. */
int64_t lap_cache_rows_bytes(int64_t capacity, int64_t k);

/* Reads rows [row, row + count) of a shard and validates those with counted[i] != 0 (NULL: those
 * that docs/design.md#windows counts). Rows that are not counted come back with tail 0 and no kept
 * ids. */
lap_code lap_cache_read(lap_cache *cache, size_t shard, uint64_t row, uint32_t count,
                        const uint8_t *counted, lap_cache_rows *rows, lap_status *status);

#endif
