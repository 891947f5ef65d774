#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/text.h"

lap_code(lap_fail)(lap_status *status, lap_code code, const char *format, ...) {
  /* Formatted aside first: an argument may point into the message that is being replaced. */
  char message[LAP_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  status->code = code;
  lap_text_show_controls(message, status->message, sizeof status->message);
  return code;
}

lap_code lap_fail_context(lap_status *status, const char *format, ...) {
  char message[LAP_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (length >= 0 && length < (int)sizeof message)
    snprintf(message + length, sizeof message - (size_t)length, ": %s", status->message);
  lap_text_show_controls(message, status->message, sizeof status->message);
  return status->code;
}
