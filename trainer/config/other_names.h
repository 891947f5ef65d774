/* other_names: what other trainers call our keys, for "did you mean". Private to this folder. */
#ifndef LAP_TRAINER_CONFIG_OTHER_NAMES_H
#define LAP_TRAINER_CONFIG_OTHER_NAMES_H

#include <stddef.h>

typedef struct {
  const char *key;
  const char *names; /* words with blanks between them */
} lap_config_other_names;

const lap_config_other_names *lap_config_other_names_table(size_t *count);

/* The key that an unknown dotted name means elsewhere, whatever its section is: lr,
 * optimizer.lr and training.max_lr are optimizer.learning_rate. NULL: none is known. */
const char *lap_config_by_other_name(const char *name);

#endif
