#include "trainer/suggest.h"

#include <limits.h>
#include <string.h>

enum { LONGEST_WORD = 64 };

static int smaller(int a, int b) { return a < b ? a : b; }

/* Levenshtein distance, one row of the table at a time. */
static int edit_distance(const char *a, const char *b) {
  const size_t columns = strlen(b);
  if (strlen(a) > LONGEST_WORD || columns > LONGEST_WORD) return INT_MAX;
  int row[LONGEST_WORD + 1];
  for (size_t j = 0; j <= columns; ++j) row[j] = (int)j;
  for (size_t i = 0; a[i]; ++i) {
    int diagonal = row[0];
    row[0] = (int)i + 1;
    for (size_t j = 0; j < columns; ++j) {
      const int replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = smaller(replaced, 1 + smaller(row[j], row[j + 1]));
    }
  }
  return row[columns];
}

static const char *last_part(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot ? dot + 1 : name;
}

static int edits_allowed(const char *word) {
  const int third = ((int)strlen(word) + 1) / 3;
  return third > 1 ? third : 1;
}

const char *lap_suggest(const char *word, const char *const *candidates, size_t count) {
  const char *best = NULL;
  int fewest = INT_MAX;
  for (size_t i = 0; i < count; ++i) {
    const int whole = edit_distance(word, candidates[i]);
    int edits = whole <= edits_allowed(word) ? whole : INT_MAX;
    const char *part = last_part(word);
    if (strchr(candidates[i], '.')) {
      const int partial = edit_distance(part, last_part(candidates[i]));
      /* One more: the same last part in the right section is the better guess. */
      if (partial <= edits_allowed(part)) edits = smaller(edits, partial + 1);
    }
    if (edits < fewest) {
      fewest = edits;
      best = candidates[i];
    }
  }
  return best;
}
