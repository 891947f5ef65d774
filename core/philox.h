/* philox: every random number of lapidary, as a pure function.
 *
 * Data order, initialisation and sampling are functions of (seed, purpose, step or name, index)
 * through Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; the
 * implementation is Random123's). There is no generator state: nothing to save in a checkpoint,
 * nothing that depends on which rank or thread asks first.
 */
#ifndef LAP_CORE_PHILOX_H
#define LAP_CORE_PHILOX_H

#include <stdint.h>

/* One number names one use: two purposes never share a stream. Values are part of the numbers of a
 * run; never renumber them. */
typedef enum {
  LAP_PURPOSE_ORDER = 1,    /* stream: epoch; index: Feistel round input */
  LAP_PURPOSE_INIT = 2,     /* stream: hash of the tensor's name; index: element */
  LAP_PURPOSE_GENERATE = 3, /* stream: sample; index: position */
  LAP_PURPOSE_BENCH = 4,    /* synthetic batches */
  LAP_PURPOSE_HOLDOUT = 5,  /* which documents are held out */
  LAP_PURPOSE_DRAWS = 6,    /* draws of sampled teacher codecs */
  LAP_PURPOSE_SAMPLE = 7,   /* which text a tokenizer is trained on */
  LAP_PURPOSE_RECHECK = 9,  /* which lanes are computed again. stream: step; index: draw */
  LAP_PURPOSE_SUMS = 10,    /* stream: step; index: which part of a sum is added again */
  LAP_PURPOSE_SWAP = 11,    /* rows of a cache that change places; stream: shard; index: row */
} lap_purpose;

typedef struct {
  uint32_t word[4];
} lap_random;

/* 128 random bits for (seed, purpose, stream, index). */
lap_random lap_philox(uint64_t seed, lap_purpose purpose, uint64_t stream, uint64_t index);

/* A double in [0, 1) with 53 random bits, from the first two words. */
double lap_uniform(lap_random random);

/* The first 8 bytes of the SHA-256 of `name`, as a stream number for things that have names. */
uint64_t lap_stream_of_name(const char *name);

#endif
