/* synthetic: token shards and a teacher that knows the next token, for tests of caches.
 */
#ifndef LAP_TESTS_TEACHER_SYNTHETIC_H
#define LAP_TESTS_TEACHER_SYNTHETIC_H

#include <hdf5.h>

#include "teacher/cache_open.h"
#include "teacher/cache_write.h"

enum { SYNTHETIC_VOCAB = 100, SYNTHETIC_K = 8, SYNTHETIC_LENGTH = 33 };

typedef struct {
  char *directory;
  lap_token_set tokens; /* DIRECTORY/tokens-*.h5 */
  lap_cache_schema schema;
  lap_cache_expectation expectation; /* that the schema meets */
} synthetic;

/* Writes and opens `shards` token shards of `rows` tokens each, in documents of 40 tokens. */
void synthetic_create(synthetic *made, int shards, uint64_t rows);
void synthetic_destroy(synthetic *made);

/* What the teacher says about shard s: in row i, half of the mass on token i+1, the rest on seven
 * other ids and a tail of 0.1. Rows that are not counted hold NaN. Destroy with
 * lap_cache_content_destroy. */
void synthetic_content(const synthetic *made, size_t s, lap_cache_content *content);

/* Writes the cache of shard s by lap_cache_write as DIRECTORY/NAME; returns the path. */
const char *synthetic_write(const synthetic *made, size_t s, const char *name,
                            const lap_cache_content *content);
/* The same for every shard, as DIRECTORY/cache-S.h5. Returns the pattern that matches them. */
const char *synthetic_write_all(const synthetic *made);

/* The same content by another program: plain HDF5, int64 and float64, variable-length strings. What
 * a test wants otherwise it changes in the options. */
typedef struct {
  const char *format, *codec, *tokens_sha256, *tokenizer_sha256, *teacher, *teacher_sha256;
  const char *rows_sha256; /* NULL: none */
  int64_t format_version, vocab_size, k, draws, sequence_length, document_mask;
  const char *without; /* the name of an attribute or dataset to leave out */
  hid_t id_type, logprob_type, tail_type;
  uint64_t rows;                      /* of all datasets */
  uint64_t columns, logprob_columns;  /* of ids, of logprob */
  uint64_t chunk_rows, chunk_columns; /* 0: contiguous */
  int64_t *ids;                       /* [rows, columns] */
  double *logprob;                    /* [rows, logprob_columns] */
  double *tail_mass;                  /* [rows] */
  double *next_logprob, *entropy;     /* [rows] or NULL */
} plain_cache;

void plain_create(const synthetic *made, size_t s, plain_cache *plain);
/* Scales what is kept of each row to sum to 1, and leaves no tail, as a drawn codec has it. */
void plain_scale_to_one(plain_cache *plain);
void plain_destroy(plain_cache *plain);
void plain_write(const char *path, const plain_cache *plain);

/* The row of shard s that tests damage: counted, and not near an end. */
uint64_t synthetic_row(const synthetic *made, size_t s);

#endif
