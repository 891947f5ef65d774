/* value: one value of a config, from a YAML node into its field, and from its field to YAML text.
 */
#ifndef LAP_TRAINER_CONFIG_VALUE_H
#define LAP_TRAINER_CONFIG_VALUE_H

#include <jansson.h>

#include "core/status.h"
#include "trainer/config/config.h"
#include "trainer/config/schema.h"
#include "trainer/config/yaml_tree.h"

/* Sets the field from a node that is not null; on failure LAP_USAGE "expected ..., found ..."
 * without file and line, which the caller knows. */
lap_code lap_config_set(lap_config *config, const lap_config_key *key, const lap_yaml_node *node,
                        lap_status *status);

/* Puts the field to what it is in a config that says nothing, and releases what it held. */
void lap_config_clear(lap_config *config, const lap_config_key *key);

/* The value as YAML text on one line, malloc'ed; what has no value is null. */
char *lap_config_value_text(const lap_config *config, int index);

/* The whole config as YAML, every key, malloc'ed. Loading it gives an equal config: numbers keep
 * their bits, what is unsettled is null. */
char *lap_config_print(const lap_config *config);
/* The same as JSON: an object of sections and keys, a new reference. */
json_t *lap_config_to_json(const lap_config *config);

#endif
