#include "trainer/run/resume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/shared_directory.h"
#include "trainer/model/source.h"
#include "trainer/run/directory.h"

void lap_resume_blas_core(const lap_config *config, const lap_session *session,
                          const lap_resume_options *options, char core[LAP_RESUME_CORE]) {
  memset(core, 0, LAP_RESUME_CORE);
  snprintf(core, LAP_RESUME_CORE, "%s", config->blas_core);
  if (strcmp(core, "auto") || !strcmp(options->from, "none") || options->fork) return;
  lap_model_source source;
  lap_status ignored; /* what is wrong with the checkpoint is said when it is loaded */
  const char *path = !strcmp(options->from, "auto") ? config->run_dir : options->from;
  if (session->root && lap_model_open(path, false, &source, &ignored) == LAP_OK) {
    snprintf(core, LAP_RESUME_CORE, "%s", source.config->blas_core);
    lap_model_close(&source);
  }
  lap_broadcast(session->comm, core, LAP_RESUME_CORE, 0);
}

/* --- the run directory --- */

/* Rank 0 makes it; the others must see what rank 0 wrote. */
static lap_code open_directory(const lap_config *config, const lap_session *session, bool resume,
                               lap_directory_lock **lock, lap_status *status) {
  lap_status own = {0};
  if (session->root) {
    own.code = lap_run_directory_create(config->run_dir, resume, &own);
    if (own.code == LAP_OK) own.code = lap_directory_lock_take(config->run_dir, lock, &own);
  }
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  return lap_shared_directory_check(session->comm, config->run_dir, "run_dir", status);
}

/* --- starting points --- */

static lap_code compare_numbers(const lap_checkpoint *checkpoint, const lap_inputs *inputs,
                                lap_status *status) {
  lap_numbers_difference difference;
  if (!checkpoint->numbers ||
      !lap_numbers_differ(checkpoint->numbers, inputs->numbers, &difference))
    return LAP_OK;
  return lap_fail(
      status, LAP_USAGE,
      "%s: %s differs: the checkpoint was trained with %s, this run has %s; restore it, "
      "or start a new run from this state with --fork and another run_dir",
      checkpoint->path, difference.key, difference.then, difference.now);
}

/* Before anything is loaded: a checkpoint of another model could not be, and would look damaged.
 * That none can be opened is for the loader to say. */
static lap_code compare_newest(const lap_config *config, const lap_session *session,
                               const lap_inputs *inputs, lap_status *status) {
  lap_checkpoint *checkpoint;
  lap_status own = {0}, ignored;
  if (lap_checkpoint_open(config->run_dir, &checkpoint, &ignored) == LAP_OK) {
    own.code = compare_numbers(checkpoint, inputs, &own);
    lap_checkpoint_close(checkpoint);
  }
  *status = own;
  return lap_agree(session->comm, status);
}

static void say_notice(void *context, const char *text) { lap_console_warn(context, "%s", text); }

/* The first start of a run, or a run_dir that is not the one that was meant. */
static void say_that_nothing_was_found(const lap_config *config, const lap_session *session) {
  if (!session->root) return;
  char *near = lap_run_directory_near(config->run_dir);
  lap_console_say(
      session->console,
      "nothing to resume in %s, which has no checkpoint: the run starts at step 0%s%s%s",
      config->run_dir, *near ? " (near it are runs with checkpoints: " : "", near,
      *near ? ")" : "");
  free(near);
}

static lap_code resume_newest(const lap_config *config, const lap_session *session,
                              const lap_inputs *inputs, bool fork, lap_state *state, bool *found,
                              lap_status *status) {
  if (!fork) LAP_TRY(compare_newest(config, session, inputs, status));
  char *directory = lap_run_directory_path(config->run_dir, "checkpoints");
  lap_checkpoint *checkpoint = NULL;
  lap_code code = lap_checkpoint_load_newest(directory, state, say_notice, session->console, found,
                                             &checkpoint, status);
  if (code == LAP_OK && *found) {
    lap_console_say(session->console, "resumed %s at step %" PRIu64, checkpoint->path, state->step);
    lap_checkpoint_close(checkpoint);
  }
  if (code == LAP_OK && !*found) say_that_nothing_was_found(config, session);
  free(directory);
  return code;
}

/* Going back in place would write older steps beside newer ones, which would win next time. */
static lap_code check_not_behind(const lap_config *config, const lap_checkpoint *from,
                                 lap_status *status) {
  lap_checkpoint *newest;
  lap_status none;
  if (lap_checkpoint_open(config->run_dir, &newest, &none) != LAP_OK) return LAP_OK;
  const uint64_t step = newest->step;
  lap_checkpoint_close(newest);
  if (step <= from->step) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "run_dir %s has a checkpoint of step %" PRIu64 ", which is past step %" PRIu64
                  " of %s; go on with --resume auto, or give another run_dir",
                  config->run_dir, step, from->step, from->path);
}

static lap_code resume_from(const lap_config *config, const char *path, const lap_session *session,
                            const lap_inputs *inputs, bool fork, lap_state *state,
                            lap_status *status) {
  lap_checkpoint *checkpoint = NULL;
  lap_status own = {0};
  own.code = lap_checkpoint_open(path, &checkpoint, &own);
  if (own.code == LAP_OK && !checkpoint->full)
    own.code = lap_fail(&own, LAP_USAGE,
                        "%s: holds weights only and cannot be resumed; start from it with init=%s",
                        checkpoint->path, path);
  if (own.code == LAP_OK && !fork) own.code = compare_numbers(checkpoint, inputs, &own);
  if (own.code == LAP_OK) own.code = check_not_behind(config, checkpoint, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  if (code == LAP_OK) code = lap_checkpoint_load(checkpoint, state, status);
  if (code == LAP_OK)
    lap_console_say(session->console, "%s %s at step %" PRIu64, fork ? "forked" : "resumed",
                    checkpoint->path, state->step);
  if (checkpoint) lap_checkpoint_close(checkpoint);
  return code;
}

static lap_code start_fresh(const lap_config *config, const lap_session *session, lap_state *state,
                            lap_status *status) {
  if (!strcmp(config->init, "random")) {
    lap_state_initialise(state, (uint64_t)config->seed);
    return LAP_OK;
  }
  lap_weight_target target = lap_state_weight_target(state);
  lap_status own = {0};
  own.code = lap_model_read_weights(config->init, &target, &own);
  lap_weight_target_release(&target);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  lap_console_say(session->console, "weights from %s", config->init);
  return LAP_OK;
}

lap_code lap_resume_or_start(const lap_config *config, const lap_session *session,
                             const lap_inputs *inputs, const lap_resume_options *options,
                             lap_state *state, lap_directory_lock **lock, lap_status *status) {
  *lock = NULL;
  const bool newest = !strcmp(options->from, "auto"), none = !strcmp(options->from, "none");
  LAP_TRY(open_directory(config, session, !none && !options->fork, lock, status));
  bool found = false;
  if (newest)
    LAP_TRY(resume_newest(config, session, inputs, options->fork, state, &found, status));
  else if (!none)
    return resume_from(config, options->from, session, inputs, options->fork, state, status);
  return found ? LAP_OK : start_fresh(config, session, state, status);
}
