/* key_text: what a row of the schema says, in words that every form of help shares. Private to this
 * folder.
 */
#ifndef LAP_TRAINER_CONFIG_KEY_TEXT_H
#define LAP_TRAINER_CONFIG_KEY_TEXT_H

#include "trainer/config/schema.h"

/* "integer", "number", "boolean", "word", "text", "text or list", "list". */
const char *lap_config_type_text(const lap_config_key *key);

/* The values that the loader takes, with exact bounds: "1 to 512", "0 to below 1",
 * "above 0, at most 1000, or null", "ghost, drop, none", "true or false". Empty where any value of
 * the type will do. Allocated; owned by the caller. */
char *lap_config_range_text(const lap_config_key *key);

bool lap_config_is_required(const lap_config_key *key);
/* The default as it would be written, or in words; "required" where there is none. */
const char *lap_config_default_text(const lap_config_key *key);

/* The length of the first sentence of a meaning, without its full stop. */
size_t lap_config_first_sentence(const char *meaning);

#endif
