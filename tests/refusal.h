/* refusal: the check that something was refused, with a message that says why. */
#ifndef LAP_TESTS_REFUSAL_H
#define LAP_TESTS_REFUSAL_H

#include "core/status.h"

/* Fails the test, showing the message, unless `code` is `expected` and the message has both texts:
 * `name`, of the file or key that is wrong, and `reason`. */
void assert_refusal(lap_code code, lap_code expected, const lap_status *status, const char *name,
                    const char *reason);

#endif
