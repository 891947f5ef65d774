#include "trainer/cli/step_progress.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "trainer/cli/human.h"

static const double show_after_seconds = 1, say_every_seconds = 10;

/* What a bar counts in: bytes in MiB where there are more than ten. */
static bool in_mebibytes(const lap_progress_state *state) {
  return strcmp(state->unit, "bytes") == 0 && state->total > (10 << 20);
}

static int64_t scaled(const lap_progress_state *state, uint64_t count) {
  return (int64_t)(in_mebibytes(state) ? count >> 20 : count);
}

static void begin_step(lap_step_progress *progress, const lap_progress_state *state) {
  const bool follows = progress->shown; /* what follows a long step is long too */
  lap_step_progress_end(progress);
  progress->at_once = follows;
  snprintf(progress->step, sizeof progress->step, "%s", state->step);
  progress->begun = progress->said = lap_clock_seconds();
}

static void say_done(lap_step_progress *progress, const lap_progress_state *state, double now) {
  char text[LAP_HUMAN_TEXT], elapsed[LAP_HUMAN_TEXT];
  if (now - progress->said < say_every_seconds) return;
  progress->said = now;
  if (strcmp(state->unit, "bytes") == 0)
    lap_human_bytes((double)state->done, text);
  else
    snprintf(text, sizeof text, "%" PRIu64 " %s", state->done, state->unit);
  lap_console_say(progress->console, "%s: %s in %s%s%s", state->step, text,
                  lap_human_seconds(now - progress->begun, elapsed), state->detail ? ", " : "",
                  state->detail ? state->detail : "");
}

static void show(void *context, const lap_progress_state *state) {
  lap_step_progress *progress = context;
  const double now = lap_clock_seconds();
  if (strcmp(progress->step, state->step) != 0) begin_step(progress, state);
  if (state->total == 0) {
    say_done(progress, state, now);
    return;
  }
  if (!progress->at_once && now - progress->begun < show_after_seconds) return;
  const uint64_t done = state->done < state->total ? state->done : state->total;
  if (!progress->shown)
    lap_console_progress_begin(progress->console, state->step,
                               in_mebibytes(state) ? "MiB" : state->unit,
                               scaled(state, state->total), scaled(state, done));
  progress->shown = true;
  lap_console_progress(progress->console, scaled(state, done), state->detail ? state->detail : "");
}

lap_progress_hook lap_step_progress_begin(lap_step_progress *progress, lap_console *console) {
  *progress = (lap_step_progress){.console = console};
  return (lap_progress_hook){show, progress};
}

void lap_step_progress_end(lap_step_progress *progress) {
  if (progress->shown) lap_console_progress_end(progress->console);
  progress->shown = false;
  progress->step[0] = '\0';
}
