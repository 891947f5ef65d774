#include "tests/trainer/checkpoint/world.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/scratch.h"
#include "tests/trainer/checkpoint/fixture.h"

bool world_root(const world *w) { return lap_comm_rank(w->comm) == 0; }

int world_start(void **state) {
  static world w;
  lap_status status;
  if (lap_comm_start(&w.comm, LAP_WATCHDOG_SECONDS, &status) != LAP_OK) return -1;
  lap_comm_set_watchdog(w.comm, 60);
  w.numbers = fixture_numbers();
  signal(SIGXFSZ, SIG_IGN);
  *state = &w;
  return 0;
}

int world_finish(void **state) {
  world *w = *state;
  lap_numbers_destroy(w->numbers);
  lap_comm_finish(w->comm);
  return 0;
}

int world_make_directory(void **state) {
  world *w = *state;
  if (world_root(w)) {
    char *made = scratch_create();
    snprintf(w->directory, sizeof w->directory, "%s", made);
    free(made);
  }
  lap_broadcast(w->comm, w->directory, sizeof w->directory, 0);
  return 0;
}

int world_remove_directory(void **state) {
  world *w = *state;
  lap_status status;
  lap_barrier(w->comm);
  return world_root(w) ? lap_file_remove_tree(w->directory, &status) != LAP_OK : 0;
}

lap_code world_try_write(world *w, const lap_state *state, lap_status *status) {
  char hex[LAP_SHA256_HEX];
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n", .numbers = w->numbers};
  return lap_checkpoint_write(w->directory, state, &extras, hex, status);
}

void world_write_step(world *w, uint64_t step) {
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, step);
  lap_status status;
  const lap_code code = world_try_write(w, state, &status);
  if (code != LAP_OK) fail_msg("%s", status.message);
  lap_state_destroy(state);
}

static void take_notice(void *context, const char *text) {
  world *w = context;
  strncat(w->notices, text, sizeof w->notices - strlen(w->notices) - 2);
  strcat(w->notices, "\n");
}

lap_code world_load_newest(world *w, lap_state *state, bool *found, lap_status *status) {
  lap_checkpoint *loaded;
  w->notices[0] = '\0';
  const lap_code code =
      lap_checkpoint_load_newest(w->directory, state, take_notice, w, found, &loaded, status);
  assert_int_equal(loaded != NULL, code == LAP_OK && *found);
  if (loaded) assert_string_equal(lap_numbers_value(loaded->numbers, "seed"), "1");
  lap_checkpoint_close(loaded);
  return code;
}

void world_expect_newest(world *w, uint64_t step, const char *notice) {
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 77777);
  lap_status status;
  bool found;
  if (world_load_newest(w, state, &found, &status) != LAP_OK) fail_msg("%s", status.message);
  assert_true(found);
  assert_int_equal(state->step, step);
  assert_int_equal(fixture_differences(state, step), 0);
  if (world_root(w) && !notice) assert_string_equal(w->notices, "");
  if (world_root(w) && notice && !strstr(w->notices, notice))
    fail_msg("expected a notice with '%s', found '%s'", notice, w->notices);
  lap_state_destroy(state);
}

void world_damage(world *w, const char *step, const char *file, int (*damage)(const char *path)) {
  lap_barrier(w->comm);
  char *path = lap_format("%s/%s/%s", w->directory, step, file);
  if (world_root(w)) assert_int_equal(damage(path), 0);
  free(path);
  lap_barrier(w->comm);
}

int world_cut(const char *path) { return truncate(path, 1000); }

char *world_listing(const char *directory) {
  char *command = lap_format("cd %s && find . -printf '%%p %%s %%i\\n' | LC_ALL=C sort", directory);
  FILE *pipe = popen(command, "r");
  char *text = lap_allocate(1 << 16, 1);
  const size_t bytes = fread(text, 1, (1 << 16) - 1, pipe);
  text[bytes] = '\0';
  pclose(pipe);
  free(command);
  return text;
}
