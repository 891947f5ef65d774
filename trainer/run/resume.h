/* resume: where a run starts. */
#ifndef LAP_TRAINER_RUN_RESUME_H
#define LAP_TRAINER_RUN_RESUME_H

#include "core/directory_lock.h"
#include "trainer/run/directory.h"
#include "trainer/run/inputs.h"
#include "trainer/state/state.h"

typedef struct {
  const char *from; /* "none", "auto", or a checkpoint or run directory */
  bool fork;        /* numbers may differ from the checkpoint's: a new run from its state; `from`
                     * is a directory then */
} lap_resume_options;

/* Collective, before what follows. Where options->fork is set and the run directory holds a fork of
 * the same checkpoint or run that has begun, *options becomes "auto", and a line says so: the same
 * command again, as of a job that is back in the queue, goes on. */
void lap_resume_settle_fork(const lap_config *config, const lap_session *session,
                            lap_resume_options *options);

enum { LAP_RESUME_CORE = 64 };

/* Collective. What a config leaves open and the run that `options` go on with has settled, as rank
 * 0 sees it. *core is the blas_core to open before anything else is read: that of the config, and
 * where this is auto, that of the run ("auto" for a fresh start). schedule.warmup_steps, where it
 * is not given, becomes the run's, with the kinds constant and wsd: its default grows with the
 * length of the run, which these kinds may change. An init that is a run directory becomes the
 * checkpoint of it that the run began with. */
void lap_resume_open_ends(lap_config *config, const lap_session *session,
                          const lap_resume_options *options, char core[LAP_RESUME_CORE]);

/* Collective. The weights that a run begins with: random ones of config->seed, or those of
 * config->init; where these are of a model with another window, soft-cap and so on, that is said.
 * The outcome is agreed. */
lap_code lap_start_fresh(const lap_config *config, const lap_session *session, lap_state *state,
                         lap_status *status);

/* Collective, before anything is loaded or replayed: a checkpoint of another model could not be,
 * and would look damaged. LAP_USAGE where the numbers of the newest whole checkpoint differ, as
 * lap_resume_or_start says it. That none can be opened is for the loader to say. */
lap_code lap_resume_compare_newest(const lap_config *config, const lap_session *session,
                                   const lap_inputs *inputs, lap_status *status);

/* Collective, for a dry run. What lap_resume_or_start would refuse by the names in the run
 * directory and by what a checkpoint says of itself, with the same code and message; else it says
 * where the run would start, and *step (rank 0) is that step. Writes nothing, reads no state and
 * takes no lock. */
lap_code lap_resume_look(const lap_config *config, const lap_session *session,
                         const lap_inputs *inputs, const lap_resume_options *options,
                         uint64_t *step, lap_status *status);

/* Collective. Makes or checks the run directory and fills `state`: from the checkpoint that
 * options->from names, else from config->init, else at random. Opens log.txt, once nothing is left
 * to refuse, and says there where the run starts. LAP_USAGE where the directory has checkpoints and
 * nothing was said of resuming, or where the checkpoint's numbers differ, naming the first key with
 * both values (unless options->fork), or where it has made more steps than this run has. The length
 * of the run may differ where no learning rate behind the checkpoint depended on it
 * (lap_schedule_free_steps). LAP_USAGE too where there is no checkpoint to go on with, and run.json
 * says that the run began with the state of another. *lock keeps other jobs out of the
 * directory (rank 0; NULL elsewhere); the caller releases it, after a failure too. *parent is
 * what the run began with, for run.json; the caller frees its checkpoint. */
lap_code lap_resume_or_start(const lap_config *config, const lap_session *session,
                             const lap_inputs *inputs, const lap_resume_options *options,
                             lap_state *state, lap_directory_lock **lock, lap_run_parent *parent,
                             lap_status *status);

#endif
