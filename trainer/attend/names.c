#include "trainer/attend/names.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* A run of letters. */
typedef struct {
  const char *text;
  size_t begin, bytes;
  bool within; /* it follows another word of its clause */
} word;

static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_letter(char c) { return is_upper(c) || (c >= 'a' && c <= 'z') || (c & 0x80); }

/* Whether only spaces are between another word and the one that begins at `begin`. */
static bool follows_word(const char *text, size_t begin) {
  while (begin > 0 && text[begin - 1] == ' ') --begin;
  return begin > 0 && is_letter(text[begin - 1]);
}

static word *find_words(const char *text, size_t bytes, size_t *count) {
  word *words = NULL;
  size_t capacity = 0;
  *count = 0;
  for (size_t i = 0; i < bytes;) {
    if (!is_letter(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < bytes && is_letter(text[i])) ++i;
    if (*count == capacity) {
      capacity = 2 * capacity + 64;
      words = lap_reallocate(words, (int64_t)capacity, sizeof *words);
    }
    words[(*count)++] = (word){text + begin, begin, i - begin, follows_word(text, begin)};
  }
  return words;
}

static bool same(const word *a, const word *b) {
  return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
}

static bool same_written_small(const word *small, const word *a) {
  return small->bytes == a->bytes && small->text[0] == (a->text[0] | 0x20) &&
         memcmp(small->text + 1, a->text + 1, a->bytes - 1) == 0;
}

static bool looks_like_a_name(const word *words, size_t count, const word *candidate) {
  if (candidate->bytes < 2 || !is_upper(candidate->text[0])) return false;
  bool within = false;
  for (size_t i = 0; i < count; ++i) {
    if (same_written_small(&words[i], candidate)) return false;
    within |= same(&words[i], candidate) && words[i].within;
  }
  return within;
}

static bool is_listed(const char *names, const word *candidate) {
  for (const char *name = names; *name;) {
    const size_t bytes = strcspn(name, ",");
    if (bytes == candidate->bytes && memcmp(name, candidate->text, bytes) == 0) return true;
    name += bytes + (name[bytes] == ',');
  }
  return false;
}

/* Tokens that have bytes of the word: [*first, *first + return value). `start` [length + 1]: of
 * each token, the bytes before it. */
static int64_t tokens_of(const word *w, const size_t *start, int64_t length, int64_t *first) {
  int64_t begin = 0;
  while (begin < length && start[begin + 1] <= w->begin) ++begin;
  int64_t end = begin;
  while (end < length && start[end] < w->begin + w->bytes) ++end;
  *first = begin;
  return end - begin;
}

static void add_pair(lap_name_pairs *pairs, const word *words, size_t before, size_t repeated,
                     const size_t *start, int64_t length) {
  int64_t first, again;
  const int64_t count = tokens_of(&words[before], start, length, &first);
  const int64_t repetition = tokens_of(&words[repeated], start, length, &again);
  const int64_t query = again + repetition - 1;
  if (first + count > query) return; /* one token has both */
  pairs->pair = lap_reallocate(pairs->pair, pairs->count + 1, sizeof *pairs->pair);
  pairs->pair[pairs->count++] =
      (lap_name_pair){.name = lap_format("%.*s", (int)words[repeated].bytes, words[repeated].text),
                      .query = query,
                      .first = first,
                      .count = count};
}

lap_name_pairs lap_name_pairs_find(const char *text, size_t bytes, const size_t *piece_bytes,
                                   int64_t length, const char *names) {
  lap_name_pairs pairs = {0};
  size_t *start = lap_allocate(length + 1, sizeof *start), count;
  for (int64_t i = 0; i < length; ++i) start[i + 1] = start[i] + piece_bytes[i];
  word *words = find_words(text, bytes, &count);
  for (size_t i = 0; i < count && start[length] == bytes; ++i) {
    if (names ? !is_listed(names, &words[i]) : !looks_like_a_name(words, count, &words[i]))
      continue;
    size_t before = i;
    while (before > 0 && !same(&words[before - 1], &words[i])) --before;
    if (before > 0) add_pair(&pairs, words, before - 1, i, start, length);
  }
  free(words);
  free(start);
  return pairs;
}

void lap_name_pairs_release(lap_name_pairs *pairs) {
  for (int64_t i = 0; i < pairs->count; ++i) free(pairs->pair[i].name);
  free(pairs->pair);
  *pairs = (lap_name_pairs){0};
}
