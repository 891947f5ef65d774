/* changes: KEY=VALUE pairs that change a config, as one would type them.
 */
#ifndef LAP_TRAINER_ABLATE_CHANGES_H
#define LAP_TRAINER_ABLATE_CHANGES_H

#include <stddef.h>

typedef struct {
  char **key, **value; /* [count] */
  size_t count;
} lap_changes;

void lap_changes_add(lap_changes *changes, const char *key, const char *value);
/* Adds those of `more`; they win over earlier ones of the same key. */
void lap_changes_append(lap_changes *changes, const lap_changes *more);
/* The value of a key; NULL where it is not changed. */
const char *lap_changes_find(const lap_changes *changes, const char *key);
void lap_changes_release(lap_changes *changes);

#endif
