/* availability: what docs/design.md promises and this version cannot do yet: the one list of it. */
#ifndef LAP_TRAINER_CONFIG_AVAILABILITY_H
#define LAP_TRAINER_CONFIG_AVAILABILITY_H

#include "core/status.h"
#include "trainer/config/config.h"

/* LAP_USAGE naming the first setting of the list. Called by lap_config_load. */
lap_code lap_config_check_availability(const lap_config *config, lap_status *status);

#endif
