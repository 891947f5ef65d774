/* bad_batch: bad_batches.jsonl, the texts of steps whose loss or gradient was not finite.
 *
 * One JSON object a line: {"step", "loss", "grad_norm", "lanes": [{"lane", "loss", "sequences":
 * [{"shard", "window", "row", "rows"}, ...]}, ...]}. `loss` of a lane is its mean over counted
 * positions; what is not finite is null. A sequence is `rows` tokens of the shard from `row` on,
 * behind a BOS. There is no file where no step was bad.
 */
#ifndef LAP_TRAINER_RUN_BAD_BATCH_H
#define LAP_TRAINER_RUN_BAD_BATCH_H

#include "trainer/run/inputs.h"
#include "trainer/step/step.h"

/* Not collective; rank 0. Appends the batch of step `step` (from 0), and brings it to disk.
 * `lane_losses` [lanes] are those of lap_stepper_lane_losses. LAP_DATA where it cannot be written.
 */
lap_code lap_bad_batch_append(const lap_config *config, const lap_inputs *inputs, uint64_t step,
                              const lap_step_result *result, const double *lane_losses,
                              lap_status *status);

/* Not collective; rank 0. Drops the lines past `last_step`, as lap_metrics_truncate does. */
lap_code lap_bad_batch_truncate(const lap_config *config, int64_t last_step, lap_status *status);

#endif
