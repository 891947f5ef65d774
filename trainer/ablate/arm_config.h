/* arm_config: the configs that a suite means, checked.
 */
#ifndef LAP_TRAINER_ABLATE_ARM_CONFIG_H
#define LAP_TRAINER_ABLATE_ARM_CONFIG_H

#include "core/hash.h"
#include "core/status.h"
#include "trainer/ablate/suite.h"
#include "trainer/config/config.h"

/* The config of an arm: base, changes of the suite, those of the arm, then `more` (NULL: none),
 * with a schedule token_multiple times as long. The inputs have names that stand for them.
 * *changes [released by the caller] gets all of what is changed. */
lap_code lap_arm_config(const lap_suite *suite, const lap_arm *arm, const lap_changes *more,
                        lap_changes *changes, lap_config **config, lap_status *status);

/* The config of a teacher that is trained; likewise. */
lap_code lap_teacher_config(const lap_suite *suite, const lap_suite_teacher *teacher,
                            lap_changes *changes, lap_config **config, lap_status *status);

/* The identity of an arm's config: without seed, paths, ranks. */
void lap_arm_config_sha256(const lap_config *config, char hex[LAP_SHA256_HEX]);

#endif
