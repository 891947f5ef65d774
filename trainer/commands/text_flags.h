/* text_flags: how `tokenizer`, `tokenize` and `split` name their texts, and what they say of them.
 */
#ifndef LAP_TRAINER_COMMANDS_TEXT_FLAGS_H
#define LAP_TRAINER_COMMANDS_TEXT_FLAGS_H

#include "dataset/split.h"
#include "trainer/cli/command.h"
#include "trainer/cli/console.h"

/* --documents, --holdout, --seed and --strict, into a lap_split_options; for shared_flags (split
 * has its own). */
extern const lap_flag lap_text_flags[];
/* Their defaults. */
lap_split_options lap_text_options(void);

/* What inputs may be, for the description of a command. */
#define LAP_TEXT_INPUTS                                                                        \
  "TEXT is a file, a folder (all files below it), a glob or - for standard input; gzip and "   \
  "zstd files are told by their content. Lines end with LF, CRLF or CR. What is wrong in the " \
  "text is skipped or becomes U+FFFD, counted, and told at the end."

/* A line for each kind of finding; faults are warnings. */
void lap_text_say_findings(lap_console *console, const lap_findings *findings);
/* {"empty_files": 0, ...}: a new reference. */
json_t *lap_text_findings_json(const lap_findings *findings);

#endif
