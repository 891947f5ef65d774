/* corpus: the files of text that a command line names.
 *
 * An input is a file, a folder (all files below it, without hidden ones), a glob or "-" for
 * standard input. Globs and braces are those of core/paths.h: a path that exists is that path
 * before it is a glob, and each text of braces and each glob must match something. So must a link
 * in a folder. The files keep the order of the inputs; those of a folder or glob are in byte order
 * of their paths, not the locale's, none twice.
 *
 * Opening a corpus looks at the beginning of every file, so that what is missing, unreadable or no
 * text at all is found before hours of work: other formats (Parquet, zip, UTF-16, ...) are refused
 * by name, and so is a file of which more than a hundredth of the first 64 KiB, and more than 16
 * bytes, are not UTF-8. Less than that is damage, which dataset/documents.h repairs and counts.
 */
#ifndef LAP_DATASET_CORPUS_H
#define LAP_DATASET_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/progress.h"
#include "core/status.h"
#include "dataset/text_reader.h"

typedef struct {
  char **paths; /* [count]; "-": standard input */
  size_t count;
  uint64_t bytes; /* of all files as they are on disk; 0: not known */
  bool once;      /* some input is a pipe: it can be read only once */
  char *pipe;     /* which one, NULL: none */
} lap_corpus;

/* LAP_USAGE: no input, or standard input twice. LAP_DATA naming the input and the reason. */
lap_code lap_corpus_open(const char *const *inputs, size_t count, lap_corpus *corpus,
                         const lap_progress_hook *hook, lap_status *status);
void lap_corpus_close(lap_corpus *corpus);

/* The same look at a file that has just been opened: for pipes, which lap_corpus_open leaves alone.
 * Nothing is taken. */
lap_code lap_corpus_examine(lap_text_reader *reader, lap_status *status);

#endif
