/* choices_file: questions with several answers to choose from, as JSON lines.
 *
 * Each line is one object: {"context": "text before", "choices": ["one", "another", ...],
 * "answer": index of the right one, from 0} and, of a planted canary, "seen": how often it stands
 * in the training text. Other keys are passed over. The text that a model scores is context +
 * choice, as they are: a space between them belongs to one of them.
 */
#ifndef LAP_TRAINER_MEASURE_CHOICES_FILE_H
#define LAP_TRAINER_MEASURE_CHOICES_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { LAP_MOST_CHOICES = 1024 };

typedef struct {
  char *context;
  char **choice; /* [choices] */
  size_t choices, answer;
  int64_t seen; /* -1: it does not say */
  size_t line;  /* of the file, from 1 */
} lap_choice_item;

typedef struct {
  char *path;
  lap_choice_item *item; /* [count] */
  size_t count;
} lap_choices;

/* Not collective. LAP_DATA naming file and line where a line is no such object: it is not JSON, a
 * key is missing or of another type, there are fewer than 2 or more than LAP_MOST_CHOICES choices,
 * one is empty or there twice, the answer is none of them, or `seen` is no count; and where there
 * is no line. */
lap_code lap_choices_read(const char *path, lap_choices *choices, lap_status *status);
void lap_choices_release(lap_choices *choices);

#endif
