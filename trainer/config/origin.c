#include "trainer/config/origin.h"

#include <stdarg.h>
#include <stdio.h>

#include "trainer/config/schema.h"

bool lap_config_is_given(const lap_config *config, const char *key) {
  const int origin = config->origin[lap_config_find(key)];
  return origin > 0 || origin == LAP_ORIGIN_COMMAND_LINE;
}

lap_code lap_config_fail(const lap_config *config, const char *key, lap_status *status,
                         const char *format, ...) {
  char message[LAP_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  const int origin = config->origin[lap_config_find(key)];
  if (origin > 0)
    return lap_fail(status, LAP_USAGE, "%s:%d: %s: %s", config->file, origin, key, message);
  return lap_fail(status, LAP_USAGE, "%s: %s: %s",
                  origin == LAP_ORIGIN_COMMAND_LINE ? "command line" : config->file, key, message);
}
