/* step: one training step over the logical mesh (docs/design.md#logical-mesh).
 *
 *   for each lane of this replica:          micro-batches forward and backward, gradients add up;
 *                                           blocks whose gradient is complete are sent to owners
 *   sum of the lanes' losses and counts     agreement point: a failure anywhere stops all alike
 *   some lanes again, where it is due       recheck.h; gradients that differ stop all alike
 *   sums of the gradients                   what is not there yet; the fixed tree over lanes
 *   norm of the gradient                    what all ranks have worked out is compared
 *   AdamW on what is owned here             one float32 factor for mean and clipping
 *   gather of the weights                   runs beside the next step, which waits block by block
 *
 * A step whose loss or gradient is not finite checks the whole state, where a bit may have flipped,
 * and with rechecks is made a second time; then it changes nothing but the step and bad-step
 * counts. A step without counted positions, which is not bad, changes nothing but the step.
 */
#ifndef LAP_TRAINER_STEP_STEP_H
#define LAP_TRAINER_STEP_STEP_H

#include "autograd/gemma2/model.h"
#include "trainer/config/config.h"
#include "trainer/state/block_weights.h"
#include "trainer/state/state.h"
#include "trainer/step/batches.h"
#include "trainer/step/recheck.h"
#include "trainer/step/record.h"

typedef struct {
  double loss, ce, kd, kl; /* means over counted positions; NaN where nothing was counted */
  double grad_norm;        /* of the mean gradient, before clipping */
  double learning_rate;
  uint64_t counted; /* positions */
  bool skipped;     /* no update was made */
  bool bad;         /* because loss or gradient was not finite */
  bool left;        /* before its end: nothing has changed, and nothing else here means anything */
  bool checkpoint;  /* some rank has asked for a checkpoint after this step */
  bool writing;     /* some rank was still writing one: see lap_step_requests */
} lap_step_result;

/* What this rank asks for; every rank learns of every request in the step's own exchange of losses.
 */
typedef struct {
  /* Asked before each micro-batch: whether to compute no more of this step, which is then left by
   * all ranks. NULL: never. */
  bool (*leave)(void *context);
  void *context;
  bool checkpoint;           /* after the step */
  const lap_status *failure; /* what went wrong on this rank since the last step; NULL: nothing */
  /* Whether this rank is still writing a checkpoint behind the steps, which asks for nothing. Asked
   * when its lanes are computed; where ranks share a replica, when the step begins, since they
   * speak for the same lanes. NULL: no. */
  bool (*writing)(void *context);
} lap_step_requests;

/* What a step sends besides gradients and weights: float64 values that are summed over lanes. The
 * ranks of a replica also tell each other their requests, once, and before each micro-batch
 * failures and whether they leave. */
enum { LAP_STEP_SUMS = 7 };

typedef struct lap_stepper lap_stepper;

/* Collective. Everything given must outlive the stepper. `weights` are those of `state`.
 * `total_steps` is for the schedule. */
lap_stepper *lap_stepper_create(const lap_config *config, const lap_data *data,
                                uint64_t total_steps, lap_state *state, lap_block_weights *weights);
void lap_stepper_destroy(lap_stepper *stepper);
/* What create would allocate with this state, of which an outline will do. `model` is the
 * stepper's, recorded without memory. */
void lap_stepper_bytes(const lap_config *config, const lap_state *state, const lap_gemma2 *model,
                       int64_t teacher_k, lap_memory_table *memory);

/* Collective. Does step `state->step` and counts it. The new weights may still be in flight when
 * it returns (block_weights.h). A failure on any rank (of data, or in its requests) is returned on
 * all of them, with the state as before the step; so is wrong arithmetic (LAP_NONFINITE): of a lane
 * that was computed again, of a loss or norm that not all ranks have worked out alike, or what a
 * rank has found in the step before. A step that is not finite is made twice where the config asks
 * for rechecks: a rank that made it so may have computed wrongly. A step that is left is finished
 * without computing, for those that wait for messages. */
lap_code lap_stepper_run(lap_stepper *stepper, lap_step_requests requests, lap_step_result *result,
                         lap_status *status);
/* Not collective, the same on all ranks. Who computed wrongly in the last step, which ended for
 * that; NULL: nobody. */
const lap_recheck_verdict *lap_stepper_verdict(const lap_stepper *stepper);

/* Collective, between steps. The loss of each lane of the last step, its mean over counted
 * positions, on every rank: `losses` [lanes]. */
void lap_stepper_lane_losses(const lap_stepper *stepper, double *losses);

/* Collective. Whether all that was checked up to now was right (integrity in the config): what a
 * step finds is brought to the next step, or here, before a checkpoint is written. Checks the whole
 * state once more. An agreement point (agree.h): `status` is this rank's outcome up to here, which
 * what was found (LAP_NONFINITE) replaces. */
lap_code lap_stepper_confirm(lap_stepper *stepper, lap_status *status);

/* Seconds by phase [LAP_PHASES] since creation, and the model's profile. */
const double *lap_stepper_seconds(const lap_stepper *stepper);
const lap_tape *lap_stepper_tape(const lap_stepper *stepper);
void lap_stepper_reset_profile(lap_stepper *stepper);

#endif
