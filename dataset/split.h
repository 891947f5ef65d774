/* split: the documents of a corpus, each on its side: for training, or held out for evaluation.
 *
 * Holdout is by whole documents where there are at least 20 of them. Where there are fewer, the
 * text is cut into contiguous blocks of 64 KiB (or a twentieth of the text where that is less, but
 * not below 1 KiB), each block is a document of its own, on both sides, and blocks are held out.
 * Which ones: dataset/holdout.h, a function of the texts, the share and the seed alone. So whoever
 * asks with these finds the same documents: `tokenizer --holdout` leaves out what `tokenize
 * --holdout` puts aside.
 *
 * The texts are read two or three times where some are held out, else once. 16 bytes of memory a
 * document, besides what dataset/documents.h takes.
 */
#ifndef LAP_DATASET_SPLIT_H
#define LAP_DATASET_SPLIT_H

#include "dataset/corpus.h"
#include "dataset/documents.h"
#include "dataset/holdout.h"

/* What to read, as on the command line. The strings belong to the caller. */
typedef struct {
  const char *const *inputs; /* see dataset/corpus.h */
  size_t input_count;
  const char *documents;         /* "file" ...; NULL: file */
  double holdout;                /* share of the bytes that is held out, 0 to below 1 */
  uint64_t seed;                 /* of the holdout */
  bool strict;                   /* stop at the first finding that is a fault */
  bool in_parts;                 /* whole files are not needed at once: see lap_document_source */
  const lap_progress_hook *hook; /* NULL: no progress */
} lap_split_options;

typedef struct {
  lap_corpus corpus;
  lap_document_source source;
  lap_holdout holdout;
  double share;
  uint64_t block_bytes; /* where documents are cut into blocks, else 0 */
} lap_split;

/* Opens the corpus and chooses what is held out. LAP_USAGE: options out of range, too little text
 * to hold any out, a holdout from a pipe. LAP_DATA: as lap_corpus_open and lap_documents_visit. */
lap_code lap_split_open(const lap_split_options *options, lap_split *split, lap_status *status);
void lap_split_close(lap_split *split);

/* Called for each document (or block). */
typedef lap_code (*lap_split_visitor)(void *context, bool held_out, const char *text, size_t bytes,
                                      lap_status *status);

/* Visits all of them in order. `step` and *findings as in lap_documents_visit. */
lap_code lap_split_visit(const lap_split *split, const char *step, lap_split_visitor visit,
                         void *context, lap_findings *findings, lap_status *status);

#endif
