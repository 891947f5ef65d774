#include "core/suggest.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

enum { LONGEST_WORD = 64 };

static int smaller(int a, int b) { return a < b ? a : b; }

/* Insert, delete, replace, or swap two neighbours (the optimal string alignment distance). */
static int edit_distance(const char *a, const char *b) {
  const size_t rows = strlen(a), columns = strlen(b);
  if (rows > LONGEST_WORD || columns > LONGEST_WORD) return INT_MAX;
  int edits[LONGEST_WORD + 1]
           [LONGEST_WORD + 1]; /* of the first i letters of a to the first j of b */
  for (size_t j = 0; j <= columns; ++j) edits[0][j] = (int)j;
  for (size_t i = 1; i <= rows; ++i) {
    edits[i][0] = (int)i;
    for (size_t j = 1; j <= columns; ++j) {
      const int replaced = edits[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
      edits[i][j] = smaller(replaced, 1 + smaller(edits[i - 1][j], edits[i][j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        edits[i][j] = smaller(edits[i][j], 1 + edits[i - 2][j - 2]);
    }
  }
  return edits[rows][columns];
}

static const char *last_part(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot ? dot + 1 : name;
}

/* Whether a candidate of the word's own section has the word among its own, as eval.every_steps has
 * eval.steps. */
static bool has_word(const char *candidate, const char *word) {
  const char *part = last_part(word);
  const size_t section = (size_t)(part - word), length = strlen(part);
  if (section == 0 || length == 0 || strncmp(candidate, word, section) != 0) return false;
  for (const char *at = candidate + section; at; at = strchr(at, '_') ? strchr(at, '_') + 1 : NULL)
    if (strncmp(at, part, length) == 0 && (at[length] == '_' || at[length] == '\0')) return true;
  return false;
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
    if (edits > 0 && has_word(candidates[i], word)) edits = 0;
    if (edits < fewest) {
      fewest = edits;
      best = candidates[i];
    }
  }
  return best;
}
