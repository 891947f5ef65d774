/* replay: the steps between checkpoints of a run, computed once more from the first of them on
 * other ranks, and compared bit for bit (`lapidary verify`).
 *
 * A run's state is a function of its config, data and seed, whatever the ranks. So steps that are
 * replayed from the state before them end in the state_sha256 of the checkpoint behind them, or one
 * of the two was computed wrongly. Nothing is written.
 */
#ifndef LAP_TRAINER_RUN_REPLAY_H
#define LAP_TRAINER_RUN_REPLAY_H

#include "core/hash.h"
#include "trainer/run/inputs.h"
#include "trainer/step/recheck.h"

/* Collective. The steps of the finished checkpoints of a run directory, in increasing order, as
 * rank 0 sees them: malloc'ed. There may be none, as where there is no such directory; LAP_DATA
 * where not all of them can be listed. */
lap_code lap_replay_list(const char *run_dir, lap_comm *comm, uint64_t **steps, size_t *count,
                         lap_status *status);

typedef struct {
  uint64_t step;
  char stored[LAP_SHA256_HEX], replayed[LAP_SHA256_HEX]; /* state_sha256 */
} lap_replay_point;

enum { LAP_REPLAY_NAMED = 8, LAP_REPLAY_NAME = 160 };

typedef struct {
  const char *run_dir;
  const uint64_t *steps; /* [count] increasing; the first is that of the state to begin with */
  size_t count;          /* two at least */
  const char *advice;    /* what to do where step 0 is asked for and cannot be made; words */
  /* Of each checkpoint that is equal, on every rank; NULL: nobody is told. */
  void (*confirm)(void *context, uint64_t step);
  void *context;
} lap_replay_request;

typedef struct {
  uint64_t from;           /* step of the state that was begun with */
  lap_replay_point *point; /* compared, in order: all but the last are equal; malloc'ed */
  size_t count;
  bool equal;
  /* Where the last one differs: tensors of which values differ, in the order of the state hash:
   * "exp_avg of NAME, model shard 1". None: only the counts of steps and updates do. */
  char difference[LAP_REPLAY_NAMED][LAP_REPLAY_NAME];
  int named;     /* in the list */
  int differing; /* of all */
  /* Who computed wrongly in the replay, where it failed for that (lap_stepper_verdict); malloc'ed,
   * NULL: nobody. */
  lap_recheck_verdict *wrong;
} lap_replay_report;

/* Collective. Loads the checkpoint of steps[0] (0: what the run began with: random weights, those
 * of init, or the checkpoint of another run that run.json names as its parent), and replays steps
 * up to steps[count - 1]; at each of the others the state is compared with the checkpoint of that
 * step, up to the first that differs. The replay must have the numbers of the checkpoints:
 * LAP_USAGE naming the key. The length of the run may be another where no learning rate behind a
 * checkpoint depended on it (length.h). Where step 0 is asked for, and the parent has gone or
 * run.json does not say what the run began with, LAP_USAGE or LAP_DATA with the advice. LAP_DATA
 * where a checkpoint is damaged, LAP_NONFINITE where the replay itself was computed wrongly
 * (step.h), LAP_STOPPED where any rank is asked to stop. LAP_OK whether the states are equal or
 * not; the caller releases the report, after a failure too. */
lap_code lap_replay(const lap_config *config, const lap_session *session, const lap_inputs *inputs,
                    const lap_replay_request *request, lap_replay_report *report,
                    lap_status *status);
void lap_replay_release(lap_replay_report *report);

#endif
