#include "trainer/run/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/stop.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/run/directory.h"
#include "trainer/run/length.h"
#include "trainer/run/resume.h"
#include "trainer/state/hash.h"
#include "trainer/step/step.h"

/* --- which checkpoints there are --- */

lap_code lap_replay_list(const char *run_dir, lap_comm *comm, uint64_t **steps, size_t *count,
                         lap_status *status) {
  *steps = NULL;
  *count = 0;
  lap_status own = {0};
  if (lap_comm_rank(comm) == 0) {
    char *directory = lap_run_directory_path(run_dir, "checkpoints"), **names = NULL;
    struct stat facts; /* a link that leads nowhere is no missing directory */
    if (lstat(directory, &facts) == 0 || errno != ENOENT)
      own.code = lap_checkpoint_list(directory, &names, count, &own);
    if (own.code == LAP_OK) *steps = lap_allocate((int64_t)*count, sizeof **steps);
    for (size_t i = 0; own.code == LAP_OK && i < *count; ++i)
      lap_checkpoint_is_step(names[*count - 1 - i], &(*steps)[i]);
    if (names) lap_checkpoint_list_destroy(names, *count);
    free(directory);
  }
  *status = own;
  LAP_TRY(lap_agree(comm, status));
  lap_broadcast(comm, count, sizeof *count, 0);
  if (!*steps) *steps = lap_allocate((int64_t)*count, sizeof **steps);
  lap_broadcast(comm, *steps, *count * sizeof **steps, 0);
  return LAP_OK;
}

/* --- the replay --- */

typedef struct {
  const lap_config *config;
  const lap_session *session;
  const lap_inputs *inputs;
  const lap_replay_request *request;
  lap_state *state;
  lap_block_weights *weights;
  lap_stepper *stepper;
  lap_replay_report *report;
  uint64_t last; /* step */
} replayer;

/* The length may have changed between checkpoints, where no number depended on it. */
static lap_code check_length(const replayer *r, const lap_checkpoint *checkpoint,
                             lap_status *status) {
  lap_length length;
  LAP_TRY(lap_length_open(checkpoint, r->config, r->inputs, &length, status));
  lap_code code = LAP_OK;
  if (length.matters)
    code =
        lap_fail(status, LAP_USAGE,
                 "%s: the length of the schedule was %" PRIu64 " steps there and would be %" PRIu64
                 " in this replay, and the learning rates of the %" PRIu64
                 " steps done depended on it; leave out schedule.steps, tokens and epochs",
                 checkpoint->path, length.total_then, r->inputs->total_steps, checkpoint->step);
  lap_length_close(&length);
  return code;
}

static lap_code check_numbers(const replayer *r, const lap_checkpoint *checkpoint,
                              lap_status *status) {
  lap_numbers_difference difference;
  if (!checkpoint->full)
    return lap_fail(status, LAP_DATA, "%s: holds weights only, which cannot be replayed",
                    checkpoint->path);
  const lap_numbers *then = checkpoint->numbers, *now = r->inputs->numbers;
  if (!lap_numbers_differ(then, now, &difference)) return LAP_OK;
  if (lap_length_is_key(difference.key)) {
    LAP_TRY(check_length(r, checkpoint, status));
    if (!lap_length_others_differ(then, now, &difference)) return LAP_OK;
  }
  return lap_fail(status, LAP_USAGE,
                  "%s: %s differs: the checkpoint was trained with %s, this replay would have %s; "
                  "leave out overrides that decide numbers, and give the data of the run",
                  checkpoint->path, difference.key, difference.then, difference.now);
}

/* Collective. The checkpoint of a step, open on every rank, of this replay's numbers; NULL after a
 * failure. */
static lap_code open_checkpoint(const replayer *r, uint64_t step, lap_checkpoint **checkpoint,
                                lap_status *status) {
  char *path = lap_format("%s/checkpoints/step-%08" PRIu64, r->request->run_dir, step);
  lap_status own = {0};
  own.code = lap_checkpoint_open(path, checkpoint, &own);
  if (own.code == LAP_OK) own.code = check_numbers(r, *checkpoint, &own);
  free(path);
  *status = own;
  const lap_code code = lap_agree(r->session->comm, status);
  if (code != LAP_OK && *checkpoint) {
    lap_checkpoint_close(*checkpoint);
    *checkpoint = NULL;
  }
  return code;
}

/* The checkpoint of another run that this one began with, as it was then. Its numbers are those of
 * the other run. */
static lap_code open_parent(const replayer *r, const lap_run_parent *parent,
                            lap_checkpoint **checkpoint, lap_status *status) {
  lap_status why;
  if (lap_checkpoint_open(parent->checkpoint, checkpoint, &why) == LAP_OK) {
    if (strcmp((*checkpoint)->state_sha256, parent->state_sha256) == 0) return LAP_OK;
    snprintf(why.message, sizeof why.message, "its state_sha256 is another now");
  }
  return lap_fail(status, LAP_USAGE,
                  "%s: the run began with the state of %s, step %" PRIu64
                  ", which is gone (%s), so its first steps cannot be replayed",
                  r->request->run_dir, parent->checkpoint, parent->step, why.message);
}

/* Collective. Ranks that see another run.json, or another parent, do not agree on the outcome. */
static lap_code begin_at_the_start(const replayer *r, lap_status *status) {
  lap_comm *comm = r->session->comm;
  lap_run_parent parent;
  lap_checkpoint *checkpoint = NULL;
  lap_status own = {0};
  own.code = lap_run_json_parent(r->request->run_dir, &parent, &own);
  if (own.code == LAP_OK && parent.checkpoint)
    own.code = open_parent(r, &parent, &checkpoint, &own);
  if (own.code != LAP_OK) {
    *status = own;
    lap_fail(&own, status->code, "%s; %s", status->message, r->request->advice);
  }
  *status = own;
  lap_code code = lap_agree(comm, status);
  const char *seen = parent.checkpoint ? parent.state_sha256 : "none";
  if (code == LAP_OK)
    code = lap_agree_same(comm, "parent in run.json", seen, "give every node the same run", status);
  if (code == LAP_OK)
    code = checkpoint ? lap_checkpoint_load(checkpoint, r->state, status)
                      : lap_start_fresh(r->config, r->session, r->state, status);
  lap_checkpoint_close(checkpoint);
  free(parent.checkpoint);
  return code;
}

static lap_code begin_at(const replayer *r, uint64_t step, lap_status *status) {
  if (step == 0) return begin_at_the_start(r, status);
  lap_checkpoint *checkpoint = NULL;
  LAP_TRY(open_checkpoint(r, step, &checkpoint, status));
  const lap_code code = lap_checkpoint_load(checkpoint, r->state, status);
  lap_checkpoint_close(checkpoint);
  return code;
}

/* Collective. Before hours are spent on steps that would be compared with others. */
static lap_code check_last(const replayer *r, lap_status *status) {
  lap_checkpoint *checkpoint = NULL;
  const lap_code code = open_checkpoint(r, r->last, &checkpoint, status);
  lap_checkpoint_close(checkpoint);
  return code;
}

static bool is_to_stop(void *context) {
  (void)context;
  return lap_stop_requested();
}

/* The stepper's does not outlive it. */
static lap_recheck_verdict *copy_verdict(const replayer *r) {
  const lap_recheck_verdict *found = lap_stepper_verdict(r->stepper);
  if (!found) return NULL;
  const int ranks = lap_comm_size(r->session->comm);
  lap_recheck_verdict *copy = lap_allocate(1, sizeof *copy);
  copy->decided = found->decided;
  copy->suspect = lap_allocate(ranks, sizeof *copy->suspect);
  memcpy(copy->suspect, found->suspect, (size_t)ranks * sizeof *copy->suspect);
  return copy;
}

static lap_code run_to(replayer *r, uint64_t step, lap_status *status) {
  double said = lap_clock_seconds();
  enum { SECONDS_OF_SILENCE = 10 };
  while (r->state->step < step) {
    char activity[64];
    snprintf(activity, sizeof activity, "replaying step %" PRIu64, r->state->step + 1);
    lap_comm_set_activity(r->session->comm, activity);
    lap_step_result result;
    const lap_step_requests requests = {.leave = is_to_stop};
    if (lap_stepper_run(r->stepper, requests, &result, status) != LAP_OK) {
      r->report->wrong = copy_verdict(r);
      return status->code;
    }
    if (result.left)
      return lap_fail(status, LAP_STOPPED, "stopped after step %" PRIu64 " of %" PRIu64,
                      r->state->step, r->last);
    if (lap_clock_seconds() - said < SECONDS_OF_SILENCE) continue;
    said = lap_clock_seconds();
    lap_console_say(r->session->console, "step %" PRIu64 "/%" PRIu64 "  replayed", r->state->step,
                    r->last);
  }
  return LAP_OK;
}

/* --- where two states differ --- */

/* Whether values of the parameter that are held in both differ. NaN equals NaN: bits count. */
static bool differs(const lap_state *a, const lap_state *b, lap_state_kind kind,
                    const lap_parameter *parameter) {
  const lap_range held = lap_state_held(a, kind, parameter->bucket);
  const lap_range all = {parameter->offset, parameter->offset + parameter->elements};
  const lap_range range = lap_range_overlap(held, all);
  const size_t bytes = (size_t)lap_range_count(range) * sizeof(float);
  return bytes > 0 && memcmp(lap_state_at(a, kind, parameter->bucket, range.begin),
                             lap_state_at(b, kind, parameter->bucket, range.begin), bytes) != 0;
}

/* Collective. Flags [parameters of all shards][kinds]: which differ on any rank. */
static uint8_t *find_differences(const lap_state *a, const lap_state *b, lap_comm *comm) {
  const int ranks = lap_comm_size(comm);
  const size_t size = (size_t)a->all->count * LAP_STATE_KINDS;
  uint8_t *mine = lap_allocate((int64_t)size, 1);
  for (int p = 0; p < a->parameters->count; ++p) {
    const lap_parameter *parameter = &a->parameters->parameter[p];
    if (parameter->is_copy) continue;
    const lap_parameter *named =
        lap_parameters_find_shard(a->all, parameter->name, parameter->model_shard);
    for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
      mine[(named - a->all->parameter) * LAP_STATE_KINDS + kind] =
          differs(a, b, (lap_state_kind)kind, parameter);
  }
  uint8_t *all = lap_allocate((int64_t)size * ranks, 1);
  lap_gather_all(comm, mine, size, all);
  for (int rank = 0; rank < ranks; ++rank)
    for (size_t i = 0; i < size; ++i) mine[i] |= all[(size_t)rank * size + i];
  free(all);
  return mine;
}

static void name_differences(const lap_parameters *all, const uint8_t *flags,
                             lap_replay_report *report) {
  for (int p = 0; p < all->count; ++p)
    for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) {
      if (!flags[p * LAP_STATE_KINDS + kind]) continue;
      if (report->named < LAP_REPLAY_NAMED)
        snprintf(report->difference[report->named++], LAP_REPLAY_NAME, "%s of %s, model shard %d",
                 lap_state_kind_name((lap_state_kind)kind), all->parameter[p].name,
                 all->parameter[p].model_shard);
      ++report->differing;
    }
}

/* Collective. Reads the checkpoint, checked as always, beside the replayed state. */
static lap_code compare_values(const replayer *r, const lap_checkpoint *checkpoint,
                               lap_status *status) {
  lap_state *stored = lap_state_create(&r->config->model, &r->state->placement, r->state->use);
  const lap_code code = lap_checkpoint_load(checkpoint, stored, status);
  if (code == LAP_OK) {
    uint8_t *flags = find_differences(r->state, stored, r->session->comm);
    name_differences(r->state->all, flags, r->report);
    free(flags);
  }
  lap_state_destroy(stored);
  return code;
}

/* Not before all is known that this replay has noticed of itself: else it would accuse a checkpoint
 * that is right. */
static lap_code compare(replayer *r, uint64_t step, lap_status *status) {
  lap_checkpoint *checkpoint = NULL;
  *status = (lap_status){.code = LAP_OK};
  LAP_TRY(lap_stepper_confirm(r->stepper, status));
  LAP_TRY(open_checkpoint(r, step, &checkpoint, status));
  lap_replay_point *point = &r->report->point[r->report->count++];
  point->step = step;
  memcpy(point->stored, checkpoint->state_sha256, sizeof point->stored);
  lap_block_weights_wait_all(r->weights);
  lap_state_sha256(r->state, point->replayed);
  r->report->equal = strcmp(point->stored, point->replayed) == 0;
  lap_code code = LAP_OK;
  if (!r->report->equal)
    code = compare_values(r, checkpoint, status);
  else if (r->request->confirm)
    r->request->confirm(r->request->context, step);
  lap_console_say(r->session->console,
                  "step %" PRIu64 "/%" PRIu64
                  "  %s  state_sha256 %.16s... of the checkpoint, "
                  "%.16s... replayed",
                  step, r->last, r->report->equal ? "equal" : "DIFFERENT", point->stored,
                  point->replayed);
  lap_checkpoint_close(checkpoint);
  return code;
}

lap_code lap_replay(const lap_config *config, const lap_session *session, const lap_inputs *inputs,
                    const lap_replay_request *request, lap_replay_report *report,
                    lap_status *status) {
  *report = (lap_replay_report){.equal = true};
  const uint64_t *steps = request->steps;
  const size_t count = request->count;
  if (steps[count - 1] > inputs->total_steps)
    return lap_fail(status, LAP_USAGE,
                    "%s: the run ends after %" PRIu64 " steps, there is no step %" PRIu64,
                    request->run_dir, inputs->total_steps, steps[count - 1]);
  lap_placement placement;
  LAP_TRY(lap_placement_create(&config->mesh, config->model_ranks, config->sharding, session->comm,
                               &placement, status));
  replayer r = {.config = config,
                .session = session,
                .inputs = inputs,
                .request = request,
                .report = report,
                .last = steps[count - 1]};
  report->point = lap_allocate((int64_t)count, sizeof *report->point);
  r.state = lap_state_create(&config->model, &placement, lap_state_use_of_training(config));
  lap_code code = check_last(&r, status);
  if (code == LAP_OK) code = begin_at(&r, steps[0], status);
  if (code == LAP_OK) {
    report->from = r.state->step;
    r.weights = lap_block_weights_create(r.state);
    lap_block_weights_changed(r.weights, true);
    r.stepper = lap_stepper_create(config, &inputs->train, inputs->total_steps, r.state, r.weights);
  }
  for (size_t i = 1; code == LAP_OK && i < count && report->equal; ++i) {
    code = run_to(&r, steps[i], status);
    if (code == LAP_OK) code = compare(&r, steps[i], status);
  }
  if (r.weights) lap_block_weights_wait_all(r.weights);
  lap_stepper_destroy(r.stepper);
  lap_block_weights_destroy(r.weights);
  lap_state_destroy(r.state);
  return code;
}

void lap_replay_release(lap_replay_report *report) {
  free(report->point);
  if (report->wrong) free(report->wrong->suspect);
  free(report->wrong);
  *report = (lap_replay_report){0};
}
