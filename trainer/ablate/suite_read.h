/* suite_read: a suite from its YAML file.
 *
 * Reading is strict, as for a config: an unknown key, a wrong type, a value out of range are
 * LAP_USAGE with file, line and the nearest name.
 */
#ifndef LAP_TRAINER_ABLATE_SUITE_READ_H
#define LAP_TRAINER_ABLATE_SUITE_READ_H

#include "core/status.h"
#include "trainer/ablate/suite.h"

/* LAP_USAGE for anything wrong, an unreadable file too. *suite is the caller's to release; empty on
 * failure. */
lap_code lap_suite_load(const char *path, bool smoke, lap_suite *suite, lap_status *status);
/* The same from text; `name` stands for the file in messages. */
lap_code lap_suite_parse(const char *name, const char *text, size_t bytes, bool smoke,
                         lap_suite *suite, lap_status *status);

#endif
