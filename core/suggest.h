/* suggest: "did you mean" for keys, commands and flags. */
#ifndef LAP_CORE_SUGGEST_H
#define LAP_CORE_SUGGEST_H

#include <stddef.h>

/* The candidate nearest to `word` by edit distance (insert, delete, replace, swap), or NULL where
 * none is near enough to be meant: one edit for three letters, two for five, three for eight. For
 * dotted names the part after the last dot is compared as well, so that a key in the wrong section
 * finds its way home; but first comes a name of the same section that has the part as a word of its
 * own: for eval.steps it is eval.every_steps, not schedule.steps. */
const char *lap_suggest(const char *word, const char *const *candidates, size_t count);

#endif
