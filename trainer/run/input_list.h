/* input_list: inputs.json, which every checkpoint has: what the run reads, by path and hash, so
 * that a file that has changed can be named. What decides is numbers_sha256
 * (trainer/config/numbers.h), in which all of these are one hash each. Not collective.
 *
 *   {"tokenizer": [{"path", "sha256"}],           of the file
 *    "data.train": [{"path", "sha256"}, ...],     tokens_sha256, in the order of the run
 *    "teacher.cache": [{"path", "sha256"}, ...]}  of the content; only with a teacher
 */
#ifndef LAP_TRAINER_RUN_INPUT_LIST_H
#define LAP_TRAINER_RUN_INPUT_LIST_H

#include "trainer/config/config.h"
#include "trainer/run/inputs.h"

/* The text, malloc'ed. The rows of the cache have been read (lap_inputs_open does). */
char *lap_input_list_print(const lap_config *config, const lap_inputs *inputs);

/* "data.train: file 2 was a.h5 with SHA-256 123456789abc... (of 3), and is b.h5 with SHA-256
 * def012345678... (of 3)": the first difference between the list in `directory`, a checkpoint, and
 * `now`, in the list that the key (tokenizer_sha256, data.train_sha256 or teacher.cache_sha256)
 * stands for; malloc'ed. NULL where there is none: other keys, other documents of the same tokens,
 * checkpoints of versions without such a list. */
char *lap_input_list_difference(const char *directory, const char *now, const char *key);

#endif
