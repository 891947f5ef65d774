/* divide: the documents of a corpus on three sides, train, dev and test, without near-duplicates.
 *
 * First goes what repeats another document but for a few words (dataset/near_duplicates.h), or one
 * of the texts `apart`, which are other held-out text: of documents that repeat each other the
 * first stays. Then whole documents are held out for test, and of the others for dev, by the rule
 * of dataset/holdout.h: a function of the documents, the shares and the seed. So no two sides have
 * near-duplicates of each other. OUT/train.jsonl, OUT/dev.jsonl and OUT/test.jsonl have one
 * document a line, as {"file": N, "text": "..."}, where N counts the files of the corpus from 0;
 * each appears whole, train.jsonl last. Nothing is overwritten, but for what is left of a split
 * that was killed between two names. Memory: 1.5 KiB and 36 bytes a document.
 */
#ifndef LAP_DATASET_DIVIDE_H
#define LAP_DATASET_DIVIDE_H

#include "dataset/documents.h"
#include "dataset/split.h"

typedef enum { LAP_SIDE_TRAIN, LAP_SIDE_DEV, LAP_SIDE_TEST, LAP_SIDES } lap_side;

/* "train", "dev", "test". */
const char *lap_side_name(lap_side side);

typedef struct {
  lap_split_options text;   /* inputs, documents, seed, strict and hook; holdout does not count */
  const char *const *apart; /* [apart_count] files of {"text": ...} lines */
  size_t apart_count;
  double dev, test; /* shares of the bytes, 0 to below 1 together; 0: no such side */
  /* similarity, LAP_LEAST_SIMILARITY to 1; 0: all documents stay, and there are no texts apart */
  double near_duplicates;
  uint64_t limit;  /* no document that begins behind so many bytes of text; 0: all */
  const char *out; /* a directory */
} lap_divide_options;

typedef struct {
  struct {
    uint64_t documents, bytes;
  } side[LAP_SIDES];
  uint64_t repeated, repeated_bytes; /* near-duplicates that were left out */
  uint64_t beyond;                   /* documents behind the limit */
  lap_findings findings;
} lap_divide_counts;

enum { LAP_FEWEST_DOCUMENTS = 20 };

/* LAP_USAGE: options out of range, a pipe, fewer than LAP_FEWEST_DOCUMENTS documents where some are
 * to be held out, or one of the three files is there already. LAP_DATA: as lap_documents_visit,
 * texts apart without a document or with a line that has none, a text that changes while it is
 * read (its documents are not as many, or not of as much text), or a disk that is full. */
lap_code lap_divide(const lap_divide_options *options, lap_divide_counts *counts,
                    lap_status *status);

#endif
