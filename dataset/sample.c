#include "dataset/sample.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/philox.h"

static void swap(lap_sample_block *a, lap_sample_block *b) {
  const lap_sample_block kept = *a;
  *a = *b;
  *b = kept;
}

static void sift_up(lap_sample_block *heap, size_t at) {
  while (at > 0 && heap[at].key > heap[(at - 1) / 2].key) {
    swap(&heap[at], &heap[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
}

static void sift_down(lap_sample_block *heap, size_t count) {
  for (size_t at = 0;;) {
    size_t child = 2 * at + 1;
    if (child + 1 < count && heap[child + 1].key > heap[child].key) ++child;
    if (child >= count || heap[child].key <= heap[at].key) return;
    swap(&heap[at], &heap[child]);
    at = child;
  }
}

static void drop_largest(lap_sample *sample) {
  sample->bytes -= sample->blocks[0].bytes;
  free(sample->blocks[0].text);
  sample->blocks[0] = sample->blocks[--sample->count];
  sift_down(sample->blocks, sample->count);
}

void lap_sample_add(lap_sample *sample, const char *text, size_t bytes) {
  const lap_random random = lap_philox(sample->seed, LAP_PURPOSE_SAMPLE, 0, sample->seen++);
  const uint64_t key = (uint64_t)random.word[0] << 32 | random.word[1];
  sample->seen_bytes += bytes;
  const bool full = sample->count > 0 && sample->bytes + bytes > sample->limit;
  if (full && key > sample->blocks[0].key) return;
  if (sample->count == sample->capacity) {
    sample->capacity = 2 * sample->capacity + 64;
    sample->blocks =
        lap_reallocate(sample->blocks, (int64_t)sample->capacity, sizeof *sample->blocks);
  }
  char *copy = lap_allocate((int64_t)bytes, 1);
  memcpy(copy, text, bytes);
  sample->blocks[sample->count++] = (lap_sample_block){key, bytes, copy};
  sample->bytes += bytes;
  sift_up(sample->blocks, sample->count - 1);
  while (sample->bytes > sample->limit && sample->count > 1) drop_largest(sample);
}

void lap_sample_release(lap_sample *sample) {
  for (size_t i = 0; i < sample->count; ++i) free(sample->blocks[i].text);
  free(sample->blocks);
  *sample = (lap_sample){.seed = sample->seed, .limit = sample->limit};
}
