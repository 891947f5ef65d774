/* sbatch: a suite as jobs of Slurm: what the runs share, an array of a task for each run, and a
 * last call that does what is left.
 *
 * The array waits until the first job has ended well, the last job until the array has ended. Each
 * job hands the queue's notice on to `ablate` and puts itself back into the queue where that ended
 * with 75 (docs/ablations.md#under-slurm). The script is OUT/job.sh.
 */
#ifndef LAP_TRAINER_ABLATE_SBATCH_H
#define LAP_TRAINER_ABLATE_SBATCH_H

#include <jansson.h>

#include "trainer/ablate/suite.h"

/* `options`: words for every sbatch, such as "--time=08:00:00 -n 2"; `suite_path` as it was given;
 * `steps_beside`: steps of one rank that each job runs beside each other.
 * *jobs: {"shared": ID, "runs": ID, "rest": ID}, a new reference. LAP_DATA where sbatch cannot be
 * run or refuses, with what it said. */
lap_code lap_sbatch_submit(const lap_suite *suite, const char *suite_path, const char *out,
                           const char *options, int64_t steps_beside, json_t **jobs,
                           lap_status *status);

#endif
