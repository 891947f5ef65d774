/* saver: the checkpoints of a run, written behind its steps.
 *
 * One is in flight at a time. What it costs the steps is measured: the time in which they were held
 * up, and how much longer the steps beside it took than the others.
 */
#ifndef LAP_TRAINER_RUN_SAVER_H
#define LAP_TRAINER_RUN_SAVER_H

#include <jansson.h>

#include "core/directory_lock.h"
#include "trainer/cli/session.h"
#include "trainer/config/config.h"
#include "trainer/run/inputs.h"
#include "trainer/state/state.h"

typedef struct lap_saver lap_saver;

/* Of this rank. */
typedef struct {
  int64_t written, behind;     /* checkpoints; those of them behind the steps */
  double held_seconds;         /* that those behind held steps up */
  double wait_seconds;         /* that the others did, and one that had to be waited for */
  double seconds;              /* until all ranks knew their names, summed over those behind */
  double thread_seconds;       /* of a core, that their threads took */
  int64_t steps, steps_beside; /* without one in flight but the first; with one */
  double step_seconds, step_seconds_beside; /* of all of these */
} lap_saver_report;

/* Not collective. Everything given must outlive the saver; `lock` is NULL but on rank 0. */
lap_saver *lap_saver_create(const lap_config *config, const lap_session *session,
                            const lap_inputs *inputs, const char *config_text,
                            const lap_directory_lock *lock);
/* Not collective; what is in flight has ended (lap_saver_finish). NULL is fine. */
void lap_saver_destroy(lap_saver *saver);
/* Adds the copy of the state, where the config asks for checkpoints between steps. */
void lap_saver_bytes(const lap_config *config, const lap_state *state, lap_memory_table *memory);

/* Collective. Begins the checkpoint of `state`, after the one in flight has ended. With `behind`,
 * and where the config does not forbid it, it returns when the state has been copied; else when the
 * checkpoint has its name. `best_step` as in lap_checkpoint_keep. */
lap_code lap_saver_save(lap_saver *saver, const lap_state *state, int64_t best_step, bool behind,
                        lap_status *status);
/* Not collective. Whether this rank still works at one: for the step's requests. */
bool lap_saver_is_busy(const lap_saver *saver);
/* Collective. Ends the one in flight, if there is one, and no rank was busy with it (`busy`: the
 * step has told that one was). */
lap_code lap_saver_after_step(lap_saver *saver, bool busy, lap_status *status);
/* Collective. Waits for the one in flight, if there is one. */
lap_code lap_saver_finish(lap_saver *saver, lap_status *status);

/* Not collective. Notes a step for the report. */
void lap_saver_count_step(lap_saver *saver, double seconds);
const lap_saver_report *lap_saver_report_of(const lap_saver *saver);
/* state_sha256 of the newest one that was published by this process; "". */
const char *lap_saver_state_sha256(const lap_saver *saver);

/* The share of the time of steps that those behind cost; 0 where there were none. */
double lap_saver_cost(const lap_saver_report *report);
json_t *lap_saver_report_to_json(const lap_saver_report *report);

#endif
