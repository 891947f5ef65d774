#include "tests/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

void assert_refusal(lap_code code, lap_code expected, const lap_status *status, const char *name,
                    const char *reason) {
  if (code == LAP_OK) fail_msg("was accepted; expected '%s'", reason);
  if (code != expected || status->code != expected)
    fail_msg("code %d and %d, expected %d: %s", code, status->code, expected, status->message);
  if (!strstr(status->message, name)) fail_msg("'%s' lacks '%s'", status->message, name);
  if (!strstr(status->message, reason)) fail_msg("'%s' lacks '%s'", status->message, reason);
}
