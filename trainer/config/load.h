/* load: a config from a YAML file and key=value overrides.
 *
 * Loading is strict: an unknown key, a wrong type, a value out of range, a key given twice are
 * LAP_USAGE with file, line, key, expected and found. `null` leaves a key at its default, except
 * the two soft-caps, where it switches them off.
 */
#ifndef LAP_TRAINER_CONFIG_LOAD_H
#define LAP_TRAINER_CONFIG_LOAD_H

#include "core/status.h"
#include "trainer/config/config.h"

/* Reads `path` (NULL: overrides alone) and then each of overrides [override_count],
 * "dotted.key=value" where a value that begins with [ { " or ' is YAML and any other is taken as it
 * stands. An override of steps, tokens or epochs replaces whichever of the three the file has.
 * LAP_USAGE where anything is wrong, an unreadable file too. *config is the caller's; NULL on
 * failure. */
lap_code lap_config_load(const char *path, const char *const *overrides, size_t override_count,
                         lap_config **config, lap_status *status);
/* As lap_config_load, from text; `name` stands for the file in messages. */
lap_code lap_config_parse(const char *name, const char *text, size_t bytes,
                          const char *const *overrides, size_t override_count, lap_config **config,
                          lap_status *status);
/* A config of defaults around a model whose shape something else than a config says; `name` as
 * above. LAP_USAGE where the shape is not valid. */
lap_code lap_config_for_model(const char *name, const lap_gemma2_config *model, lap_config **config,
                              lap_status *status);
void lap_config_destroy(lap_config *config);

/* The name that KEY=VALUE should have: `name` where it is a key, or a section, which takes a
 * mapping; else the key of this last part, or the one that other trainers call so (lr), whatever
 * stands before it. NULL: none is known. */
const char *lap_config_key_meant(const char *name);
/* The same, and where it knows none, the key or section of the nearest spelling. */
const char *lap_config_key_suggest(const char *name);

#endif
