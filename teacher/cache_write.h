/* cache_write: one file of a teacher cache, written.
 *
 * Our packing stays within the open schema: ids as unsigned integers of 16 or 32 bits with shuffle
 * and deflate, which brings an id of a vocabulary of 256,128 to less than 16 bits (HDF5's n-bit
 * filter is larger and takes three times as long to read); log-probabilities as float32 rounded to
 * multiples of 2^-11, which deflate brings to less than 16 bits too. (IEEE half precision would be
 * off by 4e-3 where a log-probability is below -8.) Drawn codecs come with logarithms as they are
 * to be stored: rounding a drawn weight would be a bias. Chunks are cut so that they end where
 * windows end: reading a window decodes that window. fletcher32, libver latest, to a temporary
 * name, renamed when whole. Any HDF5 program reads it.
 */
#ifndef LAP_TEACHER_CACHE_WRITE_H
#define LAP_TEACHER_CACHE_WRITE_H

#include "dataset/token_shard.h"
#include "teacher/schema.h"

/* Rows in the teacher's own precision, before rounding. */
typedef struct {
  uint32_t *ids;       /* [N, K] */
  float *logprob;      /* [N, K]; -INFINITY: unused slot */
  float *tail_mass;    /* [N] */
  float *next_logprob; /* [N] */
  float *entropy;      /* [N], nats */
  float *threshold;    /* [N], weight of one draw (teacher/draw.h); NULL: topk */
  uint32_t *top_id;    /* [N], the teacher's likeliest id; NULL: topk */
} lap_cache_content;

void lap_cache_content_create(uint64_t rows, uint32_t k, lap_cache_content *content);
/* Adds what drawn codecs store besides. */
void lap_cache_content_add_draws(uint64_t rows, lap_cache_content *content);
void lap_cache_content_destroy(lap_cache_content *content);
/* For `plan`: what create would allocate, and the most that a finished file takes; compression
 * makes it smaller. */
int64_t lap_cache_content_bytes(int64_t rows, int64_t k);
int64_t lap_cache_file_bytes(int64_t rows, int64_t k);

/* To the nearest multiple of 2^-11, ties to even: what deflate then leaves of a float is some 13
 * bits, and no log-probability is off by more than 2.5e-4. -infinity stays. */
float lap_cache_round_logprob(float logprob);

/* Writes the rows of all tokens of a shard; the file binds itself to tokens_sha256 and
 * tokenizer_sha256 of `tokens` (those of `schema` are not looked at, nor has_next_logprob and
 * has_entropy: both are written). Rows that docs/design.md#windows does not count are written
 * empty. LAP_DATA where the file cannot be written, or where a row, once rounded, would not be
 * valid (a teacher that makes NaN): then there is no file. Memory besides `content`: the finished
 * file. */
lap_code lap_cache_write(const char *path, const lap_cache_schema *schema,
                         const lap_token_shard *tokens, const lap_cache_content *content,
                         lap_status *status);

/* Bytes that the datasets of such a file would take, compressed; its attributes, a few KB, are left
 * out. Nothing is written. Of `tokens` only the tokens and their number are looked at. */
lap_code lap_cache_measure(const lap_cache_schema *schema, const lap_token_shard *tokens,
                           const lap_cache_content *content, uint64_t *bytes, lap_status *status);

#endif
