/* near_duplicates: whether a document repeats, but for a few words, one that came before.
 *
 * Two documents are compared as sets of shingles: all runs of 5 words, where a word is a run of
 * letters, digits and bytes that are not ASCII, without regard to case. A character of a script
 * that has no spaces between words, as Chinese, Japanese and Thai, is a word. Their similarity is
 * the Jaccard index of these sets, estimated by MinHash (Broder, "On the resemblance and
 * containment of documents", SEQUENCES 1997): 128 minima of independent hashes, whose share of
 * agreement has the index as its mean, with a standard deviation of at most .045. So of pairs
 * whose index is the threshold half are found, of those .1 above it 97 of 100 or more, of those .1
 * below it 3 of 100 or fewer. Candidates are found by bands (Leskovec, Rajaraman, Ullman, "Mining
 * of Massive Datasets", chapter 3): 32 bands of 4 minima, of which one must be equal. By these
 * alone a pair of similarity .8 is missed in one of 10^7 cases, one of .6 in one of 85, one of .5
 * in one of eight, one of .3 in three of four. A document of fewer than 5 words is one shingle.
 *
 * The answer depends on the documents and their order alone. Memory: 1.5 KiB a kept document.
 */
#ifndef LAP_DATASET_NEAR_DUPLICATES_H
#define LAP_DATASET_NEAR_DUPLICATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lap_near_duplicates lap_near_duplicates;

#define LAP_LEAST_SIMILARITY 0.5 /* below it bands miss many pairs, see above */

/* `similarity` from which a document repeats another: LAP_LEAST_SIMILARITY to 1. */
lap_near_duplicates *lap_near_duplicates_create(double similarity);
void lap_near_duplicates_destroy(lap_near_duplicates *seen);

/* Whether the document is a near-duplicate of one that was added; where not, it is added itself. */
bool lap_near_duplicates_repeats(lap_near_duplicates *seen, const char *text, size_t bytes);

/* The estimated similarity of two documents. */
double lap_near_duplicates_similarity(const char *one, size_t one_bytes, const char *other,
                                      size_t other_bytes);

#endif
