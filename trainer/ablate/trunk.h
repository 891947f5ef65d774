/* trunk: runs that differ in nothing but their length share the steps that are the same in both.
 *
 * With the schedules wsd and constant a run of N steps does, up to its decay, what a longer one
 * does, bit for bit, where both warm up for as many steps. Of such runs the longest is the trunk:
 * it goes first and keeps checkpoints, and each other one, its branch, begins with the trunk's
 * newest whole checkpoint of a step that both have in common. Its directory then is that of a run
 * which was stopped there, so `train --resume auto` goes on with it, and its numbers, its
 * state_sha256 and its metrics are those of a run of its own. Where the trunk has diverged, failed
 * or left nothing, the branch makes all steps itself.
 *
 * Times are those of the steps that a branch has made itself. Not collective.
 */
#ifndef LAP_TRAINER_ABLATE_TRUNK_H
#define LAP_TRAINER_ABLATE_TRUNK_H

#include "trainer/ablate/task.h"
#include "trainer/config/config.h"

/* Notes in a run's task what its trunk is found by: `draft` is its identity, in which the config's
 * numbers are not, and `config` the rest. A run whose length depends on its data (epochs) shares
 * nothing. The draft is used up. */
void lap_trunk_note(lap_task *task, lap_task_draft *draft, const lap_config *config);

/* Once all runs are there: finds each run's trunk, and has trunks keep checkpoints, where their
 * config does not say otherwise. A trunk may stand behind its branches. */
void lap_trunks_settle(lap_tasks *tasks);

/* How many steps of this run its trunk makes; 0: it has none. */
uint64_t lap_trunk_steps(const lap_task *task);

/* Whether the run may begin: its trunk has ended, in whatever way, or it has none. */
bool lap_trunk_is_over(const lap_tasks *tasks, const lap_task *task);

/* Of a trunk that kept checkpoints for its branches alone, and whose branches have all ended, only
 * those stay that its config keeps. Some of the runs may be other processes'. */
void lap_trunks_prune(const lap_tasks *tasks);

/* {"step": N} in the directory of a branch: at which step of its trunk it began. */
#define LAP_TRUNK_FILE "trunk.json"

/* Makes the directory of a run that has no checkpoint yet that of one which was stopped at a
 * checkpoint of its trunk, and says so in LAP_TRUNK_FILE. Nothing is done where there is none to
 * begin with; LAP_DATA where the directory cannot be written. The checkpoint's files are shared
 * (hard links). */
lap_code lap_trunk_graft(const lap_tasks *tasks, const lap_task *task, lap_status *status);

#endif
