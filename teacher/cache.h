/* cache: a teacher's precomputed distributions, opened, checked and read (the open schema of
 * docs/design.md#teacher-cache).
 *
 * One HDF5 file belongs to one token shard, found by tokens_sha256, so one glob serves train and
 * eval. Row i is the teacher's distribution over token i+1 in the context of
 * docs/design.md#windows. Root attributes: format = "lapidary-teacher", format_version = 1, codec,
 * vocab_size, k, draws (sampled, stratified), sequence_length, document_mask (0 or 1),
 * tokens_sha256, tokenizer_sha256, teacher, optional teacher_sha256. Datasets: `ids` [N,K] any
 * integer type, `logprob` [N,K] any float type, `tail_mass` [N] any float; optional `next_logprob`
 * [N], `entropy` [N].
 *
 * Valid row: ids in [0, vocab_size), any order, unique; unused slots have logprob -inf (any id);
 * logprob <= 1e-3; tail_mass in [0,1]; |sum exp(logprob) + tail_mass - 1| <= 0.02. Uncounted rows
 * are not looked at. Anything else is LAP_DATA naming file, dataset and row.
 *
 * HDF5 may crash on a file made for that: a child process opens each file first, and reads every
 * row of it before this process reads one (core/sandbox.h). Opening for use thus costs reading the
 * files whole, once in each process; opening without an expectation puts that off until rows are
 * read.
 *
 * One thread of the process calls HDF5 (see dataset/token_shard.h).
 */
#ifndef LAP_TEACHER_CACHE_H
#define LAP_TEACHER_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataset/token_shard.h"

typedef enum { LAP_CODEC_TOPK, LAP_CODEC_SAMPLED, LAP_CODEC_STRATIFIED } lap_codec;

const char *lap_codec_name(lap_codec codec); /* "topk", "sampled", "stratified" */

enum { LAP_TEACHER_NAME = 4097 }; /* 4 KiB, as for every string of a cache */

/* What every file of one cache has in common. */
typedef struct {
  lap_codec codec;
  uint32_t vocab_size;
  uint32_t k;     /* K: slots per row */
  uint32_t draws; /* 0 for topk */
  uint32_t sequence_length;
  bool document_mask;
  char teacher[LAP_TEACHER_NAME];
  char teacher_sha256[LAP_SHA256_HEX]; /* "" where absent */
  char tokenizer_sha256[LAP_SHA256_HEX];
  bool has_next_logprob, has_entropy; /* true where every file has it */
} lap_cache_schema;

/* What the reader of the cache expects of it; a difference is refused with both values shown. */
typedef struct {
  uint32_t vocab_size; /* of the student: the cache's may be smaller, not larger */
  uint32_t sequence_length;
  bool document_mask;
  bool allow_context_mismatch; /* lifts sequence_length and document_mask */
  bool allow_shift;            /* lifts the shifted-rows check */
} lap_cache_expectation;

typedef struct lap_cache lap_cache;

/* Opens, for every shard of `tokens`, the one file of `pattern` with its tokens_sha256; files for
 * other tokens are ignored. LAP_DATA: no file for a shard (naming both), two files for one shard,
 * files that disagree on the schema, any refusal of docs/design.md#teacher-cache, and "rows look
 * shifted by one" (teacher/align.h). `expectation` NULL: nothing is expected, for looking at a
 * cache (inspect, audit). `tokens` must outlive the cache.
 *
 * At most 64 files are open at a time; one that is opened again must still say what it said. */
lap_code lap_cache_open(const char *pattern, const lap_token_set *tokens,
                        const lap_cache_expectation *expectation, lap_cache **cache,
                        lap_status *status);
void lap_cache_close(lap_cache *cache);
/* What an open cache of this k holds to read with, for `plan`; HDF5's own memory is not in it. */
int64_t lap_cache_bytes(int64_t k);

const lap_cache_schema *lap_cache_schema_of(const lap_cache *cache);
const char *lap_cache_path(const lap_cache *cache, size_t shard);

/* What one file says of itself, without its tokens: for `inspect` of a lone file. tokens_sha256 is
 * the name of the shard that it belongs to. */
lap_code lap_cache_file_identity(const char *path, lap_cache_schema *schema, uint64_t *rows,
                                 char tokens_sha256[LAP_SHA256_HEX], lap_status *status);

/* One SHA-256 over the content of all files in shard order (schema, tokens_sha256, ids as int64,
 * logprob and tail_mass as float32, whatever types they are stored in): the identity that
 * numbers_sha256 covers. Reads everything once, unless rows have been read before: the child that
 * tries a file computes its digest. The same in two steps: the digest of each shard, and then one
 * hash of all digests in shard order. */
lap_code lap_cache_content_sha256(lap_cache *cache, char hex[LAP_SHA256_HEX], lap_status *status);
lap_code lap_cache_shard_sha256(lap_cache *cache, size_t shard, uint8_t digest[LAP_SHA256_SIZE],
                                lap_status *status);
/* digests: [shards of the cache, LAP_SHA256_SIZE]. */
void lap_cache_combine_sha256(const lap_cache *cache, const uint8_t *digests,
                              char hex[LAP_SHA256_HEX]);

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
 * ids. A damaged row is LAP_DATA naming file, dataset and row, whenever it is met. */
lap_code lap_cache_read(lap_cache *cache, size_t shard, uint64_t row, uint32_t count,
                        const uint8_t *counted, lap_cache_rows *rows, lap_status *status);

#endif
