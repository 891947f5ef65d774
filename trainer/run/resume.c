#include "trainer/run/resume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/paths.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/shared_directory.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"
#include "trainer/model/source.h"
#include "trainer/run/directory.h"
#include "trainer/run/input_list.h"
#include "trainer/run/length.h"
#include "trainer/step/schedule.h"

/* What rank 0 sees of the run that is gone on with, besides `init`. */
typedef struct {
  char core[LAP_RESUME_CORE]; /* "" : no run */
  lap_schedule_kind kind;
  int64_t warmup_steps;
} resumed_ends;

/* Whether a checkpoint is `from`, or of the run directory `from`, by their paths alone: it may be
 * gone. */
static bool is_of_path(const char *checkpoint, const char *from) {
  static const char below[] = "/checkpoints/";
  size_t length = strlen(from);
  while (length > 1 && from[length - 1] == '/') --length;
  return strncmp(checkpoint, from, length) == 0 &&
         (checkpoint[length] == '\0' || strncmp(checkpoint + length, below, strlen(below)) == 0);
}

static resumed_ends ends_of_run(const lap_config *config, const lap_resume_options *options,
                                char **init) {
  resumed_ends ends = {.warmup_steps = -1};
  lap_model_source source;
  lap_status ignored; /* what is wrong with the checkpoint is said when it is loaded */
  const char *path = !strcmp(options->from, "auto") ? config->run_dir : options->from;
  if (lap_model_open(path, LAP_MODEL_NO_WEIGHTS, &source, &ignored) != LAP_OK) return ends;
  snprintf(ends.core, sizeof ends.core, "%s", source.config->blas_core);
  ends.kind = source.config->schedule.kind;
  ends.warmup_steps = source.config->schedule.warmup_steps;
  const char *settled = source.config->init;
  if (strcmp(settled, config->init) != 0 && is_of_path(settled, config->init))
    *init = lap_copy_string(settled);
  lap_model_close(&source);
  return ends;
}

void lap_resume_open_ends(lap_config *config, const lap_session *session,
                          const lap_resume_options *options, char core[LAP_RESUME_CORE]) {
  memset(core, 0, LAP_RESUME_CORE);
  snprintf(core, LAP_RESUME_CORE, "%s", config->blas_core);
  if (!strcmp(options->from, "none") || options->fork) return;
  resumed_ends ends;
  char *init = NULL;
  memset(&ends, 0, sizeof ends);
  if (session->root) ends = ends_of_run(config, options, &init);
  lap_broadcast(session->comm, &ends, sizeof ends, 0);
  init = lap_broadcast_text(session->comm, init);
  if (init) {
    free(config->init);
    config->init = init;
  }
  if (!ends.core[0]) return;
  if (!strcmp(core, "auto")) memcpy(core, ends.core, LAP_RESUME_CORE);
  if (!lap_schedule_is_level(ends.kind) || ends.kind != config->schedule.kind ||
      ends.warmup_steps < 0)
    return;
  lap_config_settle_warmup(config, ends.warmup_steps);
}

/* --- a fork that has begun --- */

/* The path from the root: run.json is read from anywhere. */
static char *full_path(const char *path) {
  char *full = realpath(path, NULL);
  return full ? full : lap_copy_string(path);
}

/* `from` is the checkpoint, or its run: this one may have newer checkpoints by now. */
static bool is_of(const char *checkpoint, const char *from) {
  char *full = full_path(from);
  const bool same = is_of_path(checkpoint, full);
  free(full);
  return same;
}

static bool fork_has_begun(const char *run_dir, const char *from) {
  lap_run_parent parent;
  lap_checkpoint *newest;
  lap_status ignored;
  if (lap_run_json_parent(run_dir, &parent, &ignored) != LAP_OK || !parent.checkpoint) return false;
  bool begun = is_of(parent.checkpoint, from);
  free(parent.checkpoint);
  if (!begun || lap_checkpoint_open(run_dir, &newest, &ignored) != LAP_OK) return false;
  lap_checkpoint_close(newest);
  return true;
}

void lap_resume_settle_fork(const lap_config *config, const lap_session *session,
                            lap_resume_options *options) {
  if (!options->fork) return;
  bool begun = session->root && fork_has_begun(config->run_dir, options->from);
  lap_broadcast(session->comm, &begun, sizeof begun, 0);
  if (!begun) return;
  lap_console_say(session->console, "fork of    %s has already begun in %s: going on with it",
                  options->from, config->run_dir);
  *options = (lap_resume_options){.from = "auto"};
}

/* --- the run directory --- */

/* Collective. Once nothing is left to refuse, and before the line that says where the run starts.
 */
static lap_code open_log(const lap_config *config, const lap_session *session, lap_status *status) {
  lap_status own = {0};
  char *log = lap_run_directory_path(config->run_dir, "log.txt");
  if (session->root) own.code = lap_console_open_log(session->console, log, &own);
  free(log);
  *status = own;
  return lap_agree(session->comm, status);
}

/* Rank 0 makes it; the others must see what rank 0 wrote. To take over a lock of another host, and
 * to see a name of another, may last longer than the watchdog of a config allows. */
static lap_code open_directory(const lap_config *config, const lap_session *session, bool resume,
                               lap_directory_lock **lock, lap_status *status) {
  lap_status own = {0};
  lap_comm_set_patience(session->comm, LAP_SHARED_DIRECTORY_SECONDS);
  if (session->root) own.code = lap_run_directory_take(config->run_dir, resume, lock, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  if (code == LAP_OK)
    code = lap_shared_directory_check(session->comm, config->run_dir, "run_dir", status);
  lap_comm_set_patience(session->comm, 0);
  return code;
}

/* --- starting points --- */

static double rate_at(const lap_config *config, uint64_t step, uint64_t total) {
  return lap_schedule_learning_rate(config, step < total ? step : total - 1, total);
}

/* The length differs, and learning rates behind the checkpoint depended on it. */
static lap_code refuse_length(const lap_checkpoint *checkpoint, const lap_config *config,
                              const lap_inputs *inputs, const lap_length *length,
                              lap_status *status) {
  const uint64_t step = checkpoint->step, total = inputs->total_steps;
  if (step > total)
    return lap_fail(status, LAP_USAGE,
                    "%s: has made %" PRIu64 " steps already, this run ends after %" PRIu64
                    "; give it more (schedule.steps, tokens or epochs)",
                    checkpoint->path, step, total);
  return lap_fail(
      status, LAP_USAGE,
      "%s: the length of the schedule (schedule.steps, tokens or epochs) was %" PRIu64
      " steps there and is %" PRIu64 " here, and the learning rates of the %" PRIu64
      " steps done depended on it; restore it, or go on as a new run: --fork --resume %s "
      "run_dir=OTHER keeps weights, moments and step %" PRIu64
      ", and from there the learning rate follows the new schedule (%.3g, where the old one would "
      "have %.3g); that is not what %" PRIu64 " steps from the start would give",
      checkpoint->path, length->total_then, total, step, checkpoint->path, step,
      rate_at(config, step, total), rate_at(length->then, step, length->total_then), total);
}

static lap_code compare_length(const lap_checkpoint *checkpoint, const lap_config *config,
                               const lap_inputs *inputs, lap_status *status) {
  lap_length length;
  LAP_TRY(lap_length_open(checkpoint, config, inputs, &length, status));
  lap_code code = LAP_OK;
  if (length.matters) code = refuse_length(checkpoint, config, inputs, &length, status);
  lap_length_close(&length);
  return code;
}

static bool is_version_key(const char *key) {
  return strcmp(key, "numerics_version") == 0 || strcmp(key, "objective.teacher_version") == 0;
}

/* objective.teacher_version is only there from the second on. */
static const char *version_of(const char *value) {
  return strcmp(value, "absent") == 0 ? "1" : value;
}

/* What else differs is only worth a word where the length could have been another. */
static lap_code compare_numbers(const lap_checkpoint *checkpoint, const lap_config *config,
                                const lap_inputs *inputs, lap_status *status) {
  lap_numbers_difference difference;
  const lap_numbers *then = checkpoint->numbers, *now = inputs->numbers;
  if (!then || !lap_numbers_differ(then, now, &difference)) return LAP_OK;
  if (lap_length_is_key(difference.key)) {
    LAP_TRY(compare_length(checkpoint, config, inputs, status));
    if (!lap_length_others_differ(then, now, &difference)) return LAP_OK;
  }
  if (is_version_key(difference.key))
    return lap_fail(
        status, LAP_USAGE,
        "%s: %s differs: the checkpoint is of a lapidary that computes by version %s of the "
        "arithmetic, this one has version %s, so the run would not end in the same bits; resume "
        "with that lapidary, or start a new run from this state: --fork --resume %s run_dir=OTHER",
        checkpoint->path, difference.key, version_of(difference.then), version_of(difference.now),
        checkpoint->path);
  char *list = lap_input_list_print(config, inputs);
  char *file = lap_input_list_difference(checkpoint->path, list, difference.key);
  lap_fail(status, LAP_USAGE,
           "%s: %s differs: the checkpoint was trained with %s, this run has %s%s%s; restore it, "
           "or start a new run from this state: --fork --resume %s run_dir=OTHER",
           checkpoint->path, difference.key, difference.then, difference.now, file ? "; " : "",
           file ? file : "", checkpoint->path);
  free(file);
  free(list);
  return status->code;
}

/* After it was loaded. */
static void say_length(const lap_checkpoint *checkpoint, const lap_session *session,
                       const lap_inputs *inputs) {
  lap_numbers_difference difference;
  if (checkpoint->numbers &&
      lap_numbers_differ(checkpoint->numbers, inputs->numbers, &difference) &&
      lap_length_is_key(difference.key))
    lap_console_say(session->console,
                    "the run now ends after %" PRIu64 " steps; no number behind it depends on that",
                    inputs->total_steps);
}

lap_code lap_resume_compare_newest(const lap_config *config, const lap_session *session,
                                   const lap_inputs *inputs, lap_status *status) {
  lap_checkpoint *checkpoint;
  lap_status own = {0}, ignored;
  if (lap_checkpoint_open(config->run_dir, &checkpoint, &ignored) == LAP_OK) {
    own.code = compare_numbers(checkpoint, config, inputs, &own);
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

/* Collective. Where newer ones were passed over, it is not the one that was compared before; and
 * checkpoints of another run may lie among these. */
static lap_code compare_loaded(const lap_checkpoint *checkpoint, const lap_config *config,
                               const lap_session *session, const lap_inputs *inputs,
                               lap_status *status) {
  lap_status own = {0};
  own.code = compare_numbers(checkpoint, config, inputs, &own);
  *status = own;
  return lap_agree(session->comm, status);
}

static lap_code resume_newest(const lap_config *config, const lap_session *session,
                              const lap_inputs *inputs, lap_state *state, bool *found,
                              lap_status *status) {
  LAP_TRY(lap_resume_compare_newest(config, session, inputs, status));
  char *directory = lap_run_directory_path(config->run_dir, "checkpoints");
  lap_checkpoint *checkpoint = NULL;
  lap_code code = lap_checkpoint_load_newest(directory, state, say_notice, session->console, found,
                                             &checkpoint, status);
  if (code == LAP_OK && *found) code = compare_loaded(checkpoint, config, session, inputs, status);
  if (code == LAP_OK && *found) code = open_log(config, session, status);
  if (code == LAP_OK && *found) {
    lap_console_say(session->console, "resumed %s at step %" PRIu64, checkpoint->path, state->step);
    say_length(checkpoint, session, inputs);
  }
  if (checkpoint) lap_checkpoint_close(checkpoint);
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

/* Of a checkpoint that has been loaded, which may be one of this run's own. */
static void set_parent(const lap_config *config, const lap_checkpoint *checkpoint,
                       lap_run_parent *parent) {
  char *from = full_path(checkpoint->path), *run = full_path(config->run_dir);
  char *name = lap_format("%s/checkpoints/%s", run, lap_path_name(checkpoint->path));
  char *own = full_path(name); /* a link where checkpoints have moved to another disk */
  const size_t length = strlen(run);
  parent->resumed =
      (strncmp(from, run, length) == 0 && from[length] == '/') || strcmp(from, own) == 0;
  if (parent->resumed) {
    free(from);
  } else {
    parent->checkpoint = from;
    parent->step = checkpoint->step;
    memcpy(parent->state_sha256, checkpoint->state_sha256, sizeof parent->state_sha256);
  }
  free(own);
  free(name);
  free(run);
}

/* A new run from a state has steps to make with it. */
static lap_code check_fork_length(const lap_checkpoint *checkpoint, const lap_inputs *inputs,
                                  lap_status *status) {
  if (checkpoint->step <= inputs->total_steps) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: has made %" PRIu64 " steps already, this run ends after %" PRIu64
                  "; the schedule counts from step 0: give it more (schedule.steps, tokens or "
                  "epochs)",
                  checkpoint->path, checkpoint->step, inputs->total_steps);
}

/* What was named is one checkpoint, or the newest of a run: there is none to fall back to. */
static lap_code load_named(const lap_checkpoint *checkpoint, lap_state *state, lap_status *status) {
  const lap_code code = lap_checkpoint_load(checkpoint, state, status);
  lap_status ignored;
  if (code == LAP_OK ||
      lap_checkpoint_verify_together(checkpoint->path, state->placement.comm, &ignored) == LAP_OK)
    return code; /* its bytes are right: it is of another model */
  char *said = lap_copy_string(status->message);
  lap_fail(status, LAP_DATA,
           "%s; where its run has an older checkpoint, name that one: --resume "
           "RUN/checkpoints/step-N",
           said);
  free(said);
  return status->code;
}

/* What is named, to be closed by the caller where it is set. Whether a run can begin with it, by
 * what it says of itself. */
static lap_code open_named(const lap_config *config, const char *path, const lap_inputs *inputs,
                           bool fork, lap_checkpoint **checkpoint, lap_status *status) {
  const lap_code code = lap_checkpoint_open(path, checkpoint, status);
  if (code != LAP_OK && !lap_file_exists(path))
    return lap_fail(status, LAP_DATA,
                    "--resume: %s: is not there; expected auto, none, a checkpoint or a run "
                    "directory",
                    path);
  LAP_TRY(code);
  if (!(*checkpoint)->full)
    return lap_fail(status, LAP_USAGE,
                    "%s: holds weights only and cannot be resumed; start from it with init=%s",
                    (*checkpoint)->path, path);
  LAP_TRY(fork ? check_fork_length(*checkpoint, inputs, status)
               : compare_numbers(*checkpoint, config, inputs, status));
  return check_not_behind(config, *checkpoint, status);
}

static lap_code resume_from(const lap_config *config, const char *path, const lap_session *session,
                            const lap_inputs *inputs, bool fork, lap_state *state,
                            lap_run_parent *parent, lap_status *status) {
  lap_checkpoint *checkpoint = NULL;
  lap_status own = {0};
  own.code = open_named(config, path, inputs, fork, &checkpoint, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  if (code == LAP_OK) code = lap_checkpoint_agree(checkpoint, path, session->comm, status);
  if (code == LAP_OK) code = load_named(checkpoint, state, status);
  if (code == LAP_OK) code = open_log(config, session, status);
  if (code == LAP_OK) {
    lap_console_say(session->console, "%s %s at step %" PRIu64, fork ? "forked" : "resumed",
                    checkpoint->path, state->step);
    set_parent(config, checkpoint, parent);
    if (!fork) say_length(checkpoint, session, inputs);
  }
  if (checkpoint) lap_checkpoint_close(checkpoint);
  return code;
}

/* A run that was killed before its first checkpoint may have begun with a state that a fresh start
 * does not make. */
static lap_code refuse_parent(const lap_config *config, lap_status *status) {
  lap_run_parent before = {0};
  lap_status ignored;
  lap_code code = LAP_OK;
  lap_run_json_parent(config->run_dir, &before, &ignored);
  if (before.checkpoint)
    code = lap_fail(status, LAP_USAGE,
                    "%s: has no checkpoint, and began with the state of %s; start it again as "
                    "it began: --fork --resume %s",
                    config->run_dir, before.checkpoint, before.checkpoint);
  free(before.checkpoint);
  return code;
}

/* Collective. */
static lap_code check_no_parent(const lap_config *config, const lap_session *session,
                                lap_status *status) {
  lap_status own = {0};
  if (session->root) own.code = refuse_parent(config, &own);
  *status = own;
  return lap_agree(session->comm, status);
}

/* On rank 0. What the start would be refused for, and the step that it would begin at. */
static lap_code look(const lap_config *config, const lap_session *session, const lap_inputs *inputs,
                     const lap_resume_options *options, uint64_t *step, lap_status *status) {
  const bool newest = !strcmp(options->from, "auto"), none = !strcmp(options->from, "none");
  lap_checkpoint *checkpoint = NULL;
  lap_code code = LAP_OK;
  lap_status ignored;
  if (none || options->fork) code = lap_run_directory_check_new(config->run_dir, status);
  if (code == LAP_OK && newest && lap_checkpoint_open(config->run_dir, &checkpoint, &ignored)) {
    checkpoint = NULL; /* what is wrong with one that is there, its loader says */
    if (!lap_run_directory_has_checkpoints(config->run_dir)) code = refuse_parent(config, status);
  } else if (code == LAP_OK && newest)
    code = compare_numbers(checkpoint, config, inputs, status);
  else if (code == LAP_OK && !none)
    code = open_named(config, options->from, inputs, options->fork, &checkpoint, status);
  *step = code == LAP_OK && checkpoint ? checkpoint->step : 0;
  if (code == LAP_OK && checkpoint)
    lap_console_say(session->console, "start      from %s, at step %" PRIu64, checkpoint->path,
                    *step);
  else if (code == LAP_OK && newest)
    say_that_nothing_was_found(config, session);
  if (checkpoint) lap_checkpoint_close(checkpoint);
  return code;
}

lap_code lap_resume_look(const lap_config *config, const lap_session *session,
                         const lap_inputs *inputs, const lap_resume_options *options,
                         uint64_t *step, lap_status *status) {
  lap_status own = {0};
  *step = 0;
  if (session->root) own.code = look(config, session, inputs, options, step, &own);
  *status = own;
  return lap_agree(session->comm, status);
}

/* "model.rope_theta 500, here 10000": what decides numbers and no shape of a weight. NULL where
 * nothing differs; the caller's. */
static char *other_model(const lap_config *config, const lap_config *other) {
  json_t *here = lap_config_to_json(config), *there = lap_config_to_json(other), *value;
  const char *key;
  char *text = NULL;
  json_object_foreach(json_object_get(there, "model"), key, value) {
    const json_t *own = json_object_get(json_object_get(here, "model"), key);
    if (!strcmp(key, "max_position_embeddings") || json_equal(own, value)) continue;
    enum { FORM = JSON_ENCODE_ANY | JSON_REAL_PRECISION(9) };
    char *a = json_dumps(value, FORM), *b = json_dumps(own, FORM);
    char *longer =
        lap_format("%s%smodel.%s %s, here %s", text ? text : "", text ? "; " : "", key, a, b);
    free(text);
    free(a);
    free(b);
    text = longer;
  }
  json_decref(here);
  json_decref(there);
  return text;
}

/* A row of the embedding is that of a piece: with another tokenizer the weights fit, and mean
 * nothing. */
static void warn_of_other_tokenizer(const lap_config *config, const lap_model_source *source,
                                    lap_console *console) {
  char here[LAP_SHA256_HEX], there[LAP_SHA256_HEX];
  lap_status ignored;
  if (!config->tokenizer || !source->tokenizer_path ||
      lap_sha256_file(config->tokenizer, here, &ignored) != LAP_OK ||
      lap_sha256_file(source->tokenizer_path, there, &ignored) != LAP_OK ||
      strcmp(here, there) == 0)
    return;
  lap_console_warn(
      console,
      "init: %s was trained with another tokenizer, %.12s...; here it is %s, %.12s...: "
      "the rows of its embedding are those of other pieces",
      config->init, there, config->tokenizer, here);
}

/* Weights that fit the shapes were perhaps made for another rotation, window or cap. */
static void warn_of_other_model(const lap_config *config, const lap_session *session) {
  lap_model_source source;
  lap_status ignored; /* its weights have been read */
  if (!session->root || lap_model_open(config->init, LAP_MODEL_NO_WEIGHTS, &source, &ignored))
    return;
  char *differs = other_model(config, source.config);
  if (differs)
    lap_console_warn(
        session->console,
        "init: %s is of another model: %s; its weights compute other numbers here than "
        "there",
        config->init, differs);
  free(differs);
  warn_of_other_tokenizer(config, &source, session->console);
  lap_model_close(&source);
}

lap_code lap_start_fresh(const lap_config *config, const lap_session *session, lap_state *state,
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
  warn_of_other_model(config, session);
  return LAP_OK;
}

lap_code lap_resume_or_start(const lap_config *config, const lap_session *session,
                             const lap_inputs *inputs, const lap_resume_options *options,
                             lap_state *state, lap_directory_lock **lock, lap_run_parent *parent,
                             lap_status *status) {
  *lock = NULL;
  *parent = (lap_run_parent){0};
  const bool newest = !strcmp(options->from, "auto"), none = !strcmp(options->from, "none");
  LAP_TRY(open_directory(config, session, !none && !options->fork, lock, status));
  bool found = false;
  if (newest)
    LAP_TRY(resume_newest(config, session, inputs, state, &found, status));
  else if (!none)
    return resume_from(config, options->from, session, inputs, options->fork, state, parent,
                       status);
  parent->resumed = found;
  if (found) return LAP_OK;
  if (newest) LAP_TRY(check_no_parent(config, session, status));
  LAP_TRY(open_log(config, session, status));
  if (newest) say_that_nothing_was_found(config, session);
  return lap_start_fresh(config, session, state, status);
}
