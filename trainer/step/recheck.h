/* recheck: lanes that are computed again, to notice wrong arithmetic (integrity.recheck).
 *
 * A lane's gradients and losses are the same bits whoever computes them. So every `every` steps
 * some lanes, chosen at random, are computed a second time: by another replica, or by the same one
 * where there is no other; of several model ranks, each computes the shards that its counterpart
 * has computed. Compared are hashes (XXH128), one a tensor, taken while the lane's gradient is
 * whole, before it enters the sums, and one of what the lane's losses and counts add up to: nothing
 * but hashes travels, and nothing is kept of lanes that were not chosen. A NaN is a NaN in them,
 * whatever its bits.
 *
 * Where they differ, the lane is computed once more, and the majority is right: by a third replica;
 * of two, by both again; of one, by it. What that cannot decide stays open, and all who computed
 * the lane are suspects. The weights are still those of the step: no update is made.
 *
 * A step with a recheck is, for the stepper,
 *   lap_recheck_begin                  before the first lane
 *   lap_recheck_watch, _take...        in each lane
 *   lap_recheck_run                    after the last, before the update
 *
 * A step whose loss or gradient is not finite is made twice, whether a recheck is due or not:
 *   lap_recheck_doubt                  in the place of lap_recheck_begin
 *   lap_recheck_compare                what all lanes came to, when the rest is done
 */
#ifndef LAP_TRAINER_STEP_RECHECK_H
#define LAP_TRAINER_STEP_RECHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "trainer/config/config.h"
#include "trainer/state/memory_table.h"
#include "trainer/state/state.h"

typedef struct lap_recheck lap_recheck;

/* Not collective. Both outlive it. */
lap_recheck *lap_recheck_create(const lap_config *config, const lap_state *state);
void lap_recheck_destroy(lap_recheck *recheck);
/* Adds what create allocates; nothing where the config asks for no rechecks. An outline of the
 * state will do. */
void lap_recheck_bytes(const lap_config *config, const lap_state *state, lap_memory_table *memory);

/* Not collective. Chooses the lanes of the step that begins, if it is due. */
void lap_recheck_begin(lap_recheck *recheck);
/* Not collective. Chooses the lanes that are computed again when the step is made once more: those
 * whose loss, of `losses` [lanes], is not finite; where there are none, as lap_recheck_begin. */
void lap_recheck_doubt(lap_recheck *recheck, const double *losses);
/* Not collective. From here on `lane` is computed for the first time; -1: none is. */
void lap_recheck_watch(lap_recheck *recheck, int lane);
/* Not collective. The gradient of the block is whole: `gradients` [buckets] as the pass has them.
 * Does nothing unless the lane was chosen. */
void lap_recheck_take(lap_recheck *recheck, int block, float *const *gradients);
/* Not collective. The lane has been computed: what its losses and counts add up to. */
void lap_recheck_take_losses(lap_recheck *recheck, const double *sums, int count);
/* Not collective. While a lane is computed again: backward enters the block. */
void lap_recheck_open(lap_recheck *recheck, int block);

/* How a lane is computed again. Collective: every replica is called as often, with a lane of its
 * own or, where it has none, with -1 and no gradients, to join the passes of the others. A failure
 * to read is left in `own`, and LAP_STOPPED where `may_leave` and the step is left: once a lane
 * differs, who is wrong is found out first. */
typedef struct {
  void *context;
  void (*compute)(void *context, int lane, float *const *gradients, bool may_leave,
                  lap_status *own);
} lap_recheck_computer;

/* What was found, the same on every rank. */
typedef struct {
  bool decided;  /* the suspects have computed wrongly; else one of them has */
  bool *suspect; /* [ranks] */
} lap_recheck_verdict;

/* Collective. Computes the chosen lanes again and compares, where the step is due. LAP_NONFINITE
 * where a lane differs, with a message that names ranks, hosts, step, lane and tensor; then
 * lap_recheck_found has the verdict. LAP_DATA where the lane could not be read again, LAP_STOPPED
 * where a rank has left. Its messages are not counted as those of a step. */
lap_code lap_recheck_run(lap_recheck *recheck, const lap_recheck_computer *computer,
                         lap_status *status);
/* Not collective, the same on all ranks. Whether the same ranks have come twice to the same losses
 * [lanes] and gradient norm, where a NaN is a NaN; else LAP_NONFINITE. Who contradicts himself in a
 * lane is wrong. */
lap_code lap_recheck_compare(lap_recheck *recheck, const double *before, const double *after,
                             double norm_before, double norm_after, lap_status *status);
/* Not collective. NULL: no lane differed, or nobody knows whose. */
const lap_recheck_verdict *lap_recheck_found(const lap_recheck *recheck);

#endif
