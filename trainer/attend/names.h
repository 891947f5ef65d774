/* names: where a text repeats a name, as pairs of token positions.
 *
 * A name is a word that the caller gives, or else one that looks like a name: of two letters or
 * more, beginning with A to Z, never written small in the text, and at least once right behind
 * another word, where no sentence begins. Letters are those of ASCII and all that is not ASCII.
 * Each occurrence but the first makes a pair with the one before.
 */
#ifndef LAP_TRAINER_ATTEND_NAMES_H
#define LAP_TRAINER_ATTEND_NAMES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  char *name;
  int64_t query; /* the last token of the repeated name */
  int64_t first; /* the first token of the occurrence before, its antecedent */
  int64_t count; /* tokens of the antecedent */
} lap_name_pair;

typedef struct {
  lap_name_pair *pair; /* [count], by query */
  int64_t count;
} lap_name_pairs;

/* `piece_bytes` [length] is how many bytes of `text` [bytes] each token stands for, in order (0 of
 * BOS); where they do not add up to the text there are no pairs. `names`: separated by commas;
 * NULL: words that look like names. */
lap_name_pairs lap_name_pairs_find(const char *text, size_t bytes, const size_t *piece_bytes,
                                   int64_t length, const char *names);
void lap_name_pairs_release(lap_name_pairs *pairs);

#endif
