/* sample: a random part of a corpus, bounded in bytes, drawn in one pass.
 *
 * Every block of text gets a random key, a function of (seed, its place); those with the smallest
 * keys are kept as long as they fit (a reservoir). The draw depends on the order of the texts, not
 * on what they say.
 */
#ifndef LAP_DATASET_SAMPLE_H
#define LAP_DATASET_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  uint64_t key;
  size_t bytes;
  char *text;
} lap_sample_block;

/* Zero-initialise with seed and limit. */
typedef struct {
  uint64_t seed, limit;
  lap_sample_block *blocks; /* [count], a heap with the largest key first */
  size_t count, capacity;
  uint64_t bytes;            /* kept */
  uint64_t seen, seen_bytes; /* blocks and bytes that they are drawn from */
} lap_sample;

/* Offers a block; at least one is always kept, however long. */
void lap_sample_add(lap_sample *sample, const char *text, size_t bytes);
void lap_sample_release(lap_sample *sample);

#ifdef __cplusplus
}
#endif

#endif
