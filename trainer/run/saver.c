#include "trainer/run/saver.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/run/directory.h"
#include "trainer/run/input_list.h"

struct lap_saver {
  const lap_config *config;
  const lap_session *session;
  uint64_t total_steps;
  char *directory, *inputs_text;
  lap_checkpoint_writer *writer;
  bool behind; /* the one in flight */
  bool counts; /* the first step is another one: memory is touched, caches fill */
  lap_saver_report report;
};

lap_saver *lap_saver_create(const lap_config *config, const lap_session *session,
                            const lap_inputs *inputs, const char *config_text,
                            const lap_directory_lock *lock) {
  lap_saver *s = lap_allocate(1, sizeof *s);
  *s = (lap_saver){.config = config,
                   .session = session,
                   .total_steps = inputs->total_steps,
                   .directory = lap_run_directory_path(config->run_dir, "checkpoints"),
                   .inputs_text = lap_input_list_print(config, inputs)};
  const lap_checkpoint_extras extras = {.config_text = config_text,
                                        .tokenizer_path = config->tokenizer,
                                        .numbers = inputs->numbers,
                                        .inputs_text = s->inputs_text,
                                        .lock = lock};
  s->writer = lap_checkpoint_writer_create(s->directory, session->comm, &extras);
  return s;
}

void lap_saver_destroy(lap_saver *s) {
  if (!s) return;
  lap_checkpoint_writer_destroy(s->writer);
  free(s->directory);
  free(s->inputs_text);
  free(s);
}

void lap_saver_bytes(const lap_config *config, const lap_state *state, lap_memory_table *memory) {
  const bool between = config->checkpoint.every_steps > 0 || config->checkpoint.every_minutes > 0 ||
                       (config->checkpoint.keep_best && config->eval.every_steps > 0);
  if (config->checkpoint.behind && between) lap_checkpoint_writer_bytes(state, memory);
}

/* --- one that has its name --- */

static void say_written(const lap_saver *s, const lap_checkpoint_result *result) {
  char how[96] = "";
  if (s->behind && !result->was_there)
    snprintf(how, sizeof how, "  (in %.2f s behind the steps, which it held up for %.3f s)",
             result->seconds, result->held_seconds);
  lap_console_say(
      s->session->console, "step %" PRIu64 "/%" PRIu64 "  checkpoint %s  state_sha256 %.16s...%s",
      result->step, s->total_steps, result->was_there ? "there already" : "written and read back",
      result->state_sha256, how);
  if (result->pruned.message[0])
    lap_console_warn(s->session->console, "%s", result->pruned.message);
}

static void note_written(lap_saver *s) {
  const lap_checkpoint_result *result = lap_checkpoint_last(s->writer);
  say_written(s, result);
  if (result->was_there) return;
  ++s->report.written;
  if (!s->behind) return;
  ++s->report.behind;
  s->report.seconds += result->seconds;
  s->report.thread_seconds += result->thread_seconds;
}

/* --- behind the steps --- */

/* Time that the steps wait, for the one that is written behind them or for another. */
static void add_held(lap_saver *s, double since, bool behind) {
  const double held = lap_clock_seconds() - since;
  if (behind)
    s->report.held_seconds += held;
  else
    s->report.wait_seconds += held;
}

bool lap_saver_is_busy(const lap_saver *s) { return lap_checkpoint_is_busy(s->writer); }

static lap_code finish(lap_saver *s, bool behind, lap_status *status) {
  if (!lap_checkpoint_in_flight(s->writer)) return LAP_OK;
  const double start = lap_clock_seconds();
  const lap_code code = lap_checkpoint_finish(s->writer, status);
  add_held(s, start, behind);
  if (code == LAP_OK) note_written(s);
  return code;
}

lap_code lap_saver_after_step(lap_saver *s, bool busy, lap_status *status) {
  return busy ? LAP_OK : finish(s, true, status);
}

lap_code lap_saver_finish(lap_saver *s, lap_status *status) { return finish(s, false, status); }

lap_code lap_saver_save(lap_saver *s, const lap_state *state, int64_t best_step, bool behind,
                        lap_status *status) {
  lap_comm_set_activity(s->session->comm, "writing a checkpoint");
  LAP_TRY(lap_saver_finish(s, status));
  const double start = lap_clock_seconds();
  const lap_checkpoint_keep keep = {.keep = s->config->checkpoint.keep,
                                    .keep_every = s->config->checkpoint.keep_every,
                                    .best_step = s->config->checkpoint.keep_best ? best_step : -1};
  s->behind = behind && s->config->checkpoint.behind;
  lap_code code = lap_checkpoint_begin(s->writer, state, &keep, s->behind, status);
  if (code == LAP_OK && !s->behind) code = lap_checkpoint_finish(s->writer, status);
  add_held(s, start, s->behind);
  if (code == LAP_OK && !lap_checkpoint_in_flight(s->writer)) note_written(s);
  return code;
}

/* --- what it costs --- */

void lap_saver_count_step(lap_saver *s, double seconds) {
  lap_saver_report *r = &s->report;
  if (lap_checkpoint_in_flight(s->writer)) {
    ++r->steps_beside;
    r->step_seconds_beside += seconds;
  } else if (s->counts) {
    ++r->steps;
    r->step_seconds += seconds;
  }
  s->counts = true;
}

const lap_saver_report *lap_saver_report_of(const lap_saver *s) { return &s->report; }

const char *lap_saver_state_sha256(const lap_saver *s) {
  return lap_checkpoint_last(s->writer)->state_sha256;
}

double lap_saver_cost(const lap_saver_report *r) {
  if (r->behind == 0) return 0;
  double longer = 0;
  if (r->steps > 0)
    longer = r->step_seconds_beside - (double)r->steps_beside * r->step_seconds / (double)r->steps;
  if (longer < 0) longer = 0;
  const double all = r->step_seconds + r->step_seconds_beside + r->held_seconds;
  return all > 0 ? (r->held_seconds + longer) / all : 0;
}

json_t *lap_saver_report_to_json(const lap_saver_report *r) {
  return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:f, s:I, s:f, s:f}", "written",
                   (json_int_t)r->written, "behind", (json_int_t)r->behind, "seconds_behind",
                   r->seconds, "thread_seconds", r->thread_seconds, "held_seconds", r->held_seconds,
                   "wait_seconds", r->wait_seconds, "steps", (json_int_t)r->steps, "step_seconds",
                   r->step_seconds, "steps_beside", (json_int_t)r->steps_beside,
                   "step_seconds_beside", r->step_seconds_beside, "cost_of_steps",
                   lap_saver_cost(r));
}
