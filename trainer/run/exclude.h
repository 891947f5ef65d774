/* exclude: hosts that have computed wrongly (integrity.policy), and the checkpoints that they may
 * have spoilt.
 *
 *   RUN/excluded_hosts   one host a line; a run refuses to start on any of them
 *   RUN/unconfirmed      there since a host was excluded: the newest checkpoints may hold what it
 *                        did in steps that nobody checked. `train --resume auto` first makes the
 *                        steps between checkpoints again, on the hosts that remain, goes on from
 *                        the newest that has the same bits, and takes this file away
 *
 * Who has repaired a host deletes its line.
 */
#ifndef LAP_TRAINER_RUN_EXCLUDE_H
#define LAP_TRAINER_RUN_EXCLUDE_H

#include "trainer/run/inputs.h"
#include "trainer/step/step.h"

/* Collective. After a step that has failed as `status` says; `verdict` is lap_stepper_verdict. With
 * policy stop, without a verdict, and where it is not decided who is wrong: as it was. With policy
 * exclude the suspects' hosts are written into RUN/excluded_hosts; then LAP_STOPPED, or the old
 * code where no host of this job is left. */
lap_code lap_exclude_suspects(const lap_config *config, const lap_session *session,
                              const lap_recheck_verdict *verdict, lap_status *status);

/* Collective. LAP_USAGE where a rank runs on an excluded host. */
lap_code lap_exclude_check(const lap_config *config, const lap_session *session,
                           lap_status *status);

/* Collective, before the run is resumed with auto. Does nothing unless RUN/unconfirmed is there.
 * Else checkpoints whose steps are not confirmed lose their name: step-N becomes step-N.wrong.
 * One that is damaged cannot be confirmed, which a warning says; LAP_DATA where all are.
 * LAP_USAGE where the numbers of the newest differ from this run's. LAP_NONFINITE where not even
 * the first one is confirmed; LAP_USAGE or LAP_DATA where that would be, but what the run began
 * with is gone, or not known. A host that computes wrongly in the replay is excluded too, as by
 * lap_exclude_suspects. */
lap_code lap_exclude_confirm(const lap_config *config, const lap_session *session,
                             const lap_inputs *inputs, lap_status *status);

/* Not collective. What else is resumed from or forked is confirmed by nobody: rank 0 warns where
 * `from`, a run directory or a checkpoint in one, is of a run with RUN/unconfirmed. */
void lap_exclude_warn(const lap_session *session, const char *from);

#endif
