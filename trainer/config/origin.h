/* origin: where the value of a key comes from, for messages, and for defaults that other keys
 * decide.
 */
#ifndef LAP_TRAINER_CONFIG_ORIGIN_H
#define LAP_TRAINER_CONFIG_ORIGIN_H

#include "core/status.h"
#include "trainer/config/config.h"

/* What lap_config.origin holds for a key: a line of the file when positive. */
enum { LAP_ORIGIN_NONE = -2, LAP_ORIGIN_COMMAND_LINE = -1, LAP_ORIGIN_DEFAULT = 0 };

/* Whether file or command line set the key; false for defaults, resolved or not. */
bool lap_config_is_given(const lap_config *config, const char *key);

/* LAP_USAGE "FILE:LINE: KEY: MESSAGE" for a check that concerns this key. */
lap_code lap_config_fail(const lap_config *config, const char *key, lap_status *status,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
