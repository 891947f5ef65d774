#include "teacher/swap_rows.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/philox.h"

/* The chosen rows: the first `chosen` of rows[], shuffled. */
static void choose(uint64_t *rows, size_t count, size_t chosen, uint64_t stream, uint64_t index) {
  for (size_t i = 0; i < chosen; ++i) {
    const lap_random random = lap_philox(index, LAP_PURPOSE_SWAP, stream, i);
    const size_t j = i + (size_t)(lap_uniform(random) * (double)(count - i));
    const uint64_t row = rows[i];
    rows[i] = rows[j];
    rows[j] = row;
  }
}

/* Row rows[i] becomes rows[i + 1], the last one the first, in an array of `bytes` a row. */
static void turn(void *array, size_t bytes, const uint64_t *rows, size_t chosen) {
  if (!array) return;
  unsigned char *bytes_of = array, *first = lap_allocate((int64_t)bytes, 1);
  memcpy(first, bytes_of + rows[0] * bytes, bytes);
  for (size_t i = 0; i + 1 < chosen; ++i)
    memcpy(bytes_of + rows[i] * bytes, bytes_of + rows[i + 1] * bytes, bytes);
  memcpy(bytes_of + rows[chosen - 1] * bytes, first, bytes);
  free(first);
}

void lap_swap_rows(const lap_cache_content *content, uint32_t k, uint64_t *rows, size_t count,
                   uint32_t percent, uint64_t stream, uint64_t index) {
  const size_t chosen = (count * percent + 50) / 100;
  if (chosen < 2) return;
  choose(rows, count, chosen, stream, index);
  turn(content->ids, k * sizeof *content->ids, rows, chosen);
  turn(content->logprob, k * sizeof *content->logprob, rows, chosen);
  turn(content->tail_mass, sizeof *content->tail_mass, rows, chosen);
  turn(content->entropy, sizeof *content->entropy, rows, chosen);
  turn(content->threshold, sizeof *content->threshold, rows, chosen);
  turn(content->top_id, sizeof *content->top_id, rows, chosen);
}
