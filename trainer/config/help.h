/* help: what the keys of a config are, told from the schema: to people in a terminal and to
 * programs. The same as a page is in page.h.
 */
#ifndef LAP_TRAINER_CONFIG_HELP_H
#define LAP_TRAINER_CONFIG_HELP_H

#include <jansson.h>
#include <stdio.h>

#include "core/status.h"

/* Each takes all keys (`name` NULL), those of a section, or the one of a dotted name. LAP_USAGE
 * where the name is neither, with the nearest one that is. */

/* Prints, by section, each key with its type, range and [default], and its meaning under it, in
 * lines of at most 100 characters. */
lap_code lap_config_help_print(const char *name, FILE *out, lap_status *status);

/* {"keys": [{"key", "section", "type", "default", "default_in_words", "required", "minimum",
 * "exclusive_minimum", "maximum", "exclusive_maximum", "words", "unit", "meaning"}, ...]}; null
 * where a key has no such thing. "default" is the text that one would write. A new reference. */
lap_code lap_config_help_json(const char *name, json_t **object, lap_status *status);

#endif
