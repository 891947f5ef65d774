#include "dataset/holdout.h"

#include <stdlib.h>
#include <xxhash.h>

#include "core/memory.h"
#include "core/philox.h"

static uint64_t key_of(uint64_t seed, const char *text, size_t bytes) {
  const lap_random random = lap_philox(seed, LAP_PURPOSE_HOLDOUT, 0, XXH3_64bits(text, bytes));
  return (uint64_t)random.word[0] << 32 | random.word[1];
}

void lap_holdout_add(lap_holdout *holdout, const char *text, size_t bytes) {
  if (holdout->count == holdout->capacity) {
    holdout->capacity = holdout->capacity ? 2 * holdout->capacity : 1024;
    holdout->texts = lap_reallocate(holdout->texts, holdout->capacity, sizeof *holdout->texts);
  }
  holdout->texts[holdout->count++] =
      (lap_holdout_text){.key = key_of(holdout->seed, text, bytes), .bytes = bytes};
  holdout->bytes += bytes;
}

static int by_key(const void *left, const void *right) {
  const lap_holdout_text *a = left, *b = right;
  return (a->key > b->key) - (a->key < b->key);
}

/* Sorts by key and makes one text of equal ones. */
static void merge_equal(lap_holdout *holdout) {
  qsort(holdout->texts, holdout->count, sizeof *holdout->texts, by_key);
  size_t kept = 0;
  for (size_t i = 0; i < holdout->count; ++i) {
    if (kept > 0 && holdout->texts[kept - 1].key == holdout->texts[i].key)
      holdout->texts[kept - 1].bytes += holdout->texts[i].bytes;
    else
      holdout->texts[kept++] = holdout->texts[i];
  }
  holdout->count = kept;
}

lap_code lap_holdout_choose(lap_holdout *holdout, double fraction, lap_status *status) {
  merge_equal(holdout);
  if (holdout->count < 2)
    return lap_fail(status, LAP_USAGE,
                    "the texts hold %zu different document%s or blocks: nothing can be held out; "
                    "give more text or holdout 0",
                    holdout->count, holdout->count == 1 ? "" : "s");
  const double wanted = fraction * (double)holdout->bytes;
  size_t smallest = 0, held = 0;
  for (size_t i = 1; i < holdout->count; ++i)
    if (holdout->texts[i].bytes < holdout->texts[smallest].bytes) smallest = i;
  const lap_holdout_text fallback = holdout->texts[smallest];
  uint64_t taken = 0;
  for (size_t i = 0; i < holdout->count; ++i) {
    const lap_holdout_text text = holdout->texts[i];
    /* Half of a text beyond the share is as near to it as half of one short. */
    if ((double)taken + (double)text.bytes / 2 > wanted || taken + text.bytes == holdout->bytes)
      continue;
    taken += text.bytes;
    holdout->texts[held++] = text;
  }
  if (held == 0) holdout->texts[held++] = fallback;
  holdout->count = held;
  return LAP_OK;
}

bool lap_holdout_has(const lap_holdout *holdout, const char *text, size_t bytes) {
  if (holdout->count == 0) return false;
  const lap_holdout_text wanted = {.key = key_of(holdout->seed, text, bytes)};
  return bsearch(&wanted, holdout->texts, holdout->count, sizeof wanted, by_key) != NULL;
}

void lap_holdout_release(lap_holdout *holdout) {
  free(holdout->texts);
  *holdout = (lap_holdout){.seed = holdout->seed};
}
