#include "dataset/near_duplicates.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/memory.h"

enum { MINIMA = 128, BANDS = 32, ROWS = MINIMA / BANDS, SHINGLE_WORDS = 5 };

typedef struct {
  uint32_t minimum[MINIMA];
} signature;

/* The documents that have one value of one band, in a table of open addresses. */
typedef struct {
  uint64_t hash; /* of the band's number and minima */
  uint32_t document;
  uint32_t used;
} slot;

struct lap_near_duplicates {
  double similarity;
  signature *document; /* [count] */
  size_t count, capacity;
  slot *slots; /* [slot_count], a power of two; 0 until the first */
  size_t slot_count, used;
};

lap_near_duplicates *lap_near_duplicates_create(double similarity) {
  lap_near_duplicates *seen = lap_allocate(1, sizeof *seen);
  seen->similarity = similarity;
  return seen;
}

void lap_near_duplicates_destroy(lap_near_duplicates *seen) {
  if (!seen) return;
  free(seen->document);
  free(seen->slots);
  free(seen);
}

/* --- signatures --- */

/* One of MINIMA hash functions of a shingle: its two halves as h + i g (Kirsch and Mitzenmacher,
 * "Less Hashing, Same Performance"), mixed once more. */
static uint32_t hash_of(uint64_t shingle, uint32_t i) {
  uint64_t mixed = (shingle + (i + 1) * (shingle >> 32 | 1) * UINT64_C(0x9E3779B97F4A7C15));
  mixed ^= mixed >> 31;
  mixed *= UINT64_C(0xBF58476D1CE4E5B9);
  return (uint32_t)(mixed >> 32);
}

static void add_shingle(signature *s, uint64_t shingle) {
  for (uint32_t i = 0; i < MINIMA; ++i) {
    const uint32_t hash = hash_of(shingle, i);
    if (hash < s->minimum[i]) s->minimum[i] = hash;
  }
}

static bool is_of_word(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Bytes of the character at `text`, which is UTF-8, where its script has no spaces between words:
 * ideographs and kana, Thai, Lao, Tibetan, Burmese, Khmer. 0: another. */
static size_t word_by_itself(const char *text, size_t bytes) {
  const uint8_t *at = (const uint8_t *)text;
  if (bytes >= 4 && at[0] == 0xF0) return at[1] >= 0xA0 ? 4 : 0; /* U+20000 to U+3FFFF */
  if (bytes < 3 || (at[0] & 0xF0) != 0xE0) return 0;
  const unsigned code = (at[0] & 0x0FU) << 12 | (at[1] & 0x3FU) << 6 | (at[2] & 0x3FU);
  const bool is = (code >= 0x0E00 && code <= 0x109F) || (code >= 0x1780 && code <= 0x17FF) ||
                  (code >= 0x2E80 && code <= 0x9FFF) || (code >= 0xF900 && code <= 0xFAFF);
  return is ? 3 : 0;
}

/* The hash of the next word, which begins at or behind *at; false: there is none. */
static bool next_word(const char *text, size_t bytes, size_t *at, uint64_t *hash) {
  while (*at < bytes && !is_of_word((unsigned char)text[*at])) ++*at;
  if (*at == bytes) return false;
  uint64_t word = UINT64_C(0xCBF29CE484222325); /* FNV-1a, letters in lower case */
  const size_t begin = *at, alone = word_by_itself(text + begin, bytes - begin);
  for (; *at < bytes && is_of_word((unsigned char)text[*at]); ++*at) {
    const bool ends =
        alone ? *at == begin + alone : *at > begin && word_by_itself(text + *at, bytes - *at) > 0;
    if (ends) break;
    unsigned char c = (unsigned char)text[*at];
    if (c >= 'A' && c <= 'Z') c = (unsigned char)(c - 'A' + 'a');
    word = (word ^ c) * UINT64_C(0x100000001B3);
  }
  *hash = word;
  return true;
}

static signature signature_of(const char *text, size_t bytes) {
  signature s;
  memset(&s, 0xFF, sizeof s);
  uint64_t words[SHINGLE_WORDS] = {0}, word;
  size_t at = 0, count = 0;
  while (next_word(text, bytes, &at, &word)) {
    memmove(words, words + 1, sizeof words - sizeof *words);
    words[SHINGLE_WORDS - 1] = word;
    if (++count >= SHINGLE_WORDS) add_shingle(&s, XXH3_64bits(words, sizeof words));
  }
  if (count == 0)
    add_shingle(&s, XXH3_64bits(text, bytes));
  else if (count < SHINGLE_WORDS)
    add_shingle(&s, XXH3_64bits(words, sizeof words));
  return s;
}

static double agreement(const signature *one, const signature *other) {
  int equal = 0;
  for (int i = 0; i < MINIMA; ++i) equal += one->minimum[i] == other->minimum[i];
  return (double)equal / MINIMA;
}

double lap_near_duplicates_similarity(const char *one, size_t one_bytes, const char *other,
                                      size_t other_bytes) {
  const signature a = signature_of(one, one_bytes), b = signature_of(other, other_bytes);
  return agreement(&a, &b);
}

/* --- bands --- */

static uint64_t band_of(const signature *s, int band) {
  return XXH3_64bits_withSeed(s->minimum + (size_t)band * ROWS, ROWS * sizeof *s->minimum,
                              (uint64_t)band);
}

static void put(lap_near_duplicates *seen, uint64_t hash, uint32_t document) {
  size_t at = hash & (seen->slot_count - 1);
  while (seen->slots[at].used) at = (at + 1) & (seen->slot_count - 1);
  seen->slots[at] = (slot){.hash = hash, .document = document, .used = 1};
  ++seen->used;
}

/* At most half of the table is used. */
static void make_room(lap_near_duplicates *seen) {
  if (2 * (seen->used + BANDS) <= seen->slot_count) return;
  slot *before = seen->slots;
  const size_t count = seen->slot_count;
  seen->slot_count = count ? 2 * count : 4096;
  seen->slots = lap_allocate((int64_t)seen->slot_count, sizeof *seen->slots);
  seen->used = 0;
  for (size_t i = 0; i < count; ++i)
    if (before[i].used) put(seen, before[i].hash, before[i].document);
  free(before);
}

static bool is_repeated(const lap_near_duplicates *seen, const signature *s) {
  for (int band = 0; band < BANDS && seen->slot_count; ++band) {
    const uint64_t hash = band_of(s, band);
    for (size_t at = hash & (seen->slot_count - 1); seen->slots[at].used;
         at = (at + 1) & (seen->slot_count - 1))
      if (seen->slots[at].hash == hash &&
          agreement(s, &seen->document[seen->slots[at].document]) >= seen->similarity)
        return true;
  }
  return false;
}

bool lap_near_duplicates_repeats(lap_near_duplicates *seen, const char *text, size_t bytes) {
  const signature s = signature_of(text, bytes);
  if (is_repeated(seen, &s)) return true;
  if (seen->count == seen->capacity) {
    seen->capacity = seen->capacity ? 2 * seen->capacity : 1024;
    seen->document =
        lap_reallocate(seen->document, (int64_t)seen->capacity, sizeof *seen->document);
  }
  seen->document[seen->count] = s;
  make_room(seen);
  for (int band = 0; band < BANDS; ++band) put(seen, band_of(&s, band), (uint32_t)seen->count);
  ++seen->count;
  return false;
}
