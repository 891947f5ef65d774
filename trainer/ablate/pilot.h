/* pilot: what a named pilot says before the first run.
 *
 * A pilot is the folder of another suite: two arms that are compared, at least 8 seeds that this
 * suite does not use, evaluated on dev. Only the standard deviation of the paired difference of
 * their losses leaves it. `report` makes the minimum detectable effect of it, at its 80 % upper
 * limit.
 */
#ifndef LAP_TRAINER_ABLATE_PILOT_H
#define LAP_TRAINER_ABLATE_PILOT_H

#include <jansson.h>

#include "core/status.h"
#include "trainer/ablate/suite.h"

enum { LAP_PILOT_SEEDS = 8 };

/* {"pilot", "seeds", "documents", "standard_deviation", "upper_80", "effect"}, or null where the
 * suite names none. A new reference. LAP_DATA for a pilot that is no such folder, or whose runs are
 * not all there; LAP_USAGE for one with too few seeds, or seeds of the suite. */
lap_code lap_pilot_read(const lap_suite *suite, json_t **object, lap_status *status);

#endif
