#include "mpi/collective/gradient_strategy.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/collective/chunk.h"

float **lap_vectors_create(int count, int64_t elements) {
  float **vectors = lap_allocate(count, sizeof *vectors);
  for (int i = 0; i < count; ++i) vectors[i] = lap_allocate_aligned(elements, sizeof *vectors[i]);
  return vectors;
}

void lap_vectors_release(float **vectors, int count) {
  for (int i = 0; i < count; ++i) lap_release_aligned(vectors[i]);
  free(vectors);
}

float **lap_vectors_buckets(float *const *vectors, int count, const int64_t *offset, int buckets) {
  float **at = lap_allocate((int64_t)count * buckets, sizeof *at);
  for (int i = 0; i < count; ++i)
    for (int b = 0; b < buckets; ++b) at[i * buckets + b] = vectors[i] + offset[b];
  return at;
}

/* Pieces long enough for the C library to write them without reading them first. */
void lap_vector_clear(float *vector, int64_t elements) {
  enum { PIECE = 1 << 18 };
#pragma omp parallel for schedule(static) if (elements > LAP_PARALLEL_FROM)
  for (int64_t begin = 0; begin < elements; begin += PIECE) {
    const int64_t count = elements - begin < PIECE ? elements - begin : PIECE;
    memset(vector + begin, 0, (size_t)count * sizeof *vector);
  }
}
