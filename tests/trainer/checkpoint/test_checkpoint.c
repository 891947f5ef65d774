/* checkpoint: what is written comes back, on however many ranks the job has, and a write that fails
 * changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/world.h"
#include "trainer/state/hash.h"

static void what_is_written_is_loaded(void **context) {
  world *w = *context;
  world_write_step(w, 120);
  world_expect_newest(w, 120, NULL);
  lap_state *replicated = fixture_state("small", w->comm, fixture_replicated, 77777);
  lap_status status;
  bool found;
  assert_int_equal(world_load_newest(w, replicated, &found, &status), LAP_OK);
  assert_int_equal(fixture_differences(replicated, 120), 0);
  lap_state_destroy(replicated);
  char *path = lap_format("%s/latest", w->directory), *text;
  lap_barrier(w->comm);
  assert_int_equal(lap_file_read(path, 100, &text, NULL, &status), LAP_OK);
  assert_string_equal(text, "step-00000120\n");
  free(text);
  free(path);
}

static void replicated_moments_write_the_same_checkpoint(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("small", w->comm, fixture_replicated, 120);
  lap_status status;
  char hex[LAP_SHA256_HEX], expected[LAP_SHA256_HEX];
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n", .numbers = w->numbers};
  assert_int_equal(lap_checkpoint_write(w->directory, state, &extras, hex, &status), LAP_OK);
  fixture_sha256("small", 1, 120, expected);
  assert_string_equal(hex, expected);
  world_expect_newest(w, 120, NULL);
  lap_state_destroy(state);
}

/* Written with any number of model shards over any ranks, in either precision, loaded with any
 * other; the hash is that of the writer's mesh, whatever its ranks. */
static void shards_come_and_go(void **context) {
  world *w = *context;
  const int ranks = lap_comm_size(w->comm), cuts[] = {1, 2, 4};
  const lap_sharding kinds[] = {LAP_SHARDING_NONE, LAP_SHARDING_OPTIMIZER, LAP_SHARDING_FULL};
  for (int from = 0; from < 3; ++from)
    for (int model_ranks = 1; model_ranks <= cuts[from]; model_ranks *= 2) {
      if (ranks % model_ranks) continue;
      const fixture_layout written = {kinds[(from + model_ranks) % 3], cuts[from], model_ranks,
                                      from == 1};
      lap_state *state = fixture_state("cut", w->comm, written, 120);
      char hex[LAP_SHA256_HEX], expected[LAP_SHA256_HEX];
      fixture_sha256("cut", cuts[from], 120, expected);
      lap_state_sha256(state, hex);
      assert_string_equal(hex, expected);
      lap_status status;
      if (world_try_write(w, state, &status) != LAP_OK) fail_msg("%s", status.message);
      lap_state_destroy(state);
      for (int i = 0; i < 6; ++i) {
        const int to = i / 2;
        const fixture_layout read = {kinds[to], cuts[to], ranks % cuts[to] != 0 ? 1 : cuts[to],
                                     i % 2 == 1};
        state = fixture_state("cut", w->comm, read, 77777);
        bool found;
        if (world_load_newest(w, state, &found, &status) != LAP_OK) fail_msg("%s", status.message);
        assert_int_equal(fixture_differences(state, 120), 0);
        lap_state_destroy(state);
      }
    }
}

static void the_same_state_again_writes_nothing(void **context) {
  world *w = *context;
  world_write_step(w, 120);
  char *path = lap_format("%s/step-00000120", w->directory), *before = world_listing(path);
  lap_barrier(w->comm);
  world_write_step(w, 120);
  char *after = world_listing(path);
  assert_string_equal(before, after);
  lap_barrier(w->comm);
  free(path);
  free(before);
  free(after);
}

static void another_state_of_the_same_step_replaces_the_one_there(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 120);
  lap_status status;
  if (lap_range_count(state->owned[0]) > 0)
    *lap_state_at(state, LAP_EXP_AVG, 0, state->owned[0].begin) = -1;
  assert_int_equal(world_try_write(w, state, &status), LAP_OK);
  lap_state_destroy(state);
  world_write_step(w, 120);
  world_expect_newest(w, 120, NULL);
  char **names;
  size_t count;
  assert_int_equal(lap_checkpoint_list(w->directory, &names, &count, &status), LAP_OK);
  assert_int_equal(count, 1);
  lap_checkpoint_list_destroy(names, count);
  char *all = world_listing(w->directory);
  assert_null(strstr(all, ".replaced"));
  assert_null(strstr(all, ".writing"));
  free(all);
  lap_barrier(w->comm);
}

static void weights_alone_are_written_and_read(void **context) {
  world *w = *context;
  lap_state *state = fixture_place("small", w->comm, fixture_sharded, false);
  fixture_fill(state, 0);
  lap_status status;
  char *path = lap_format("%s/new/init", w->directory), *slashes = lap_format("%s//", path);
  char *tokenizer = lap_format("%s/m.model", w->directory);
  if (world_root(w)) assert_int_equal(lap_file_write(tokenizer, "pieces", 6, &status), LAP_OK);
  lap_barrier(w->comm);
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n", .tokenizer_path = tokenizer};
  if (lap_checkpoint_write_weights(path, state, &extras, &status) != LAP_OK)
    fail_msg("%s", status.message);
  assert_int_equal(lap_checkpoint_write_weights(slashes, state, &extras, &status), LAP_USAGE);
  lap_checkpoint *read;
  assert_int_equal(lap_checkpoint_open(slashes, &read, &status), LAP_OK);
  assert_false(read->full);
  assert_int_equal(lap_checkpoint_verify(read, &status), LAP_OK);
  float *weights = lap_allocate(state->parameters->elements, sizeof *weights);
  lap_weight_target target = lap_weight_target_of_vector(state->parameters, weights);
  assert_int_equal(lap_checkpoint_read_weights(read, &target, &status), LAP_OK);
  lap_weight_target_release(&target);
  assert_memory_equal(weights, state->values[LAP_WEIGHT], (size_t)state->parameters->elements * 4);
  lap_state *full = fixture_state("small", w->comm, fixture_sharded, 1);
  assert_int_equal(lap_checkpoint_load(read, full, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "holds weights only"));
  lap_state_destroy(full);
  lap_checkpoint_close(read);
  free(weights);
  free(tokenizer);
  free(slashes);
  free(path);
  lap_state_destroy(state);
}

static void a_tensor_larger_than_a_piece_is_cut(void **context) {
  world *w = *context;
  if (lap_comm_size(w->comm) > 2) return; /* nothing new, and 50 MB a rank */
  lap_state *state = fixture_state("wide", w->comm, fixture_sharded, 5);
  lap_status status;
  assert_int_equal(world_try_write(w, state, &status), LAP_OK);
  fixture_fill(state, 6);
  bool found;
  assert_int_equal(world_load_newest(w, state, &found, &status), LAP_OK);
  assert_int_equal(fixture_differences(state, 5), 0);
  lap_state_destroy(state);
}

/* --- a disk that is full --- */

static void limit_file_size(rlim_t bytes) {
  struct rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  setrlimit(RLIMIT_FSIZE, &limit);
}

static void after_a_failed_write_nothing_has_changed(void **context) {
  world *w = *context;
  const int last = lap_comm_size(w->comm) - 1;
  world_write_step(w, 110);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 120);
  int failures = 0;
  for (rlim_t limit = 0; limit <= 1 << 20; limit = limit * 5 / 3 + 1) {
    lap_barrier(w->comm);
    char *before = world_listing(w->directory);
    lap_barrier(w->comm);
    if (lap_comm_rank(w->comm) == (failures % 2 ? 0 : last)) limit_file_size(limit);
    lap_status status;
    const lap_code code = world_try_write(w, state, &status);
    limit_file_size(RLIM_INFINITY);
    if (code == LAP_OK) {
      free(before);
      continue;
    }
    ++failures;
    assert_int_equal(code, LAP_DATA);
    assert_non_null(strstr(status.message, "File too large"));
    char *after = world_listing(w->directory);
    assert_string_equal(before, after);
    lap_barrier(w->comm);
    free(before);
    free(after);
    world_expect_newest(w, 110, NULL);
  }
  assert_true(failures >= 8);
  lap_state_destroy(state);
  world_expect_newest(w, 120, NULL);
}

static void a_directory_that_cannot_be_made_is_a_failure_on_all_ranks(void **context) {
  world *w = *context;
  char *path = lap_format("%s/file", w->directory);
  lap_status status;
  if (world_root(w)) assert_int_equal(lap_file_write(path, "x", 1, &status), LAP_OK);
  lap_barrier(w->comm);
  lap_state *state = fixture_state("tiny", w->comm, fixture_sharded, 1);
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n", .numbers = w->numbers};
  char hex[LAP_SHA256_HEX];
  assert_int_equal(lap_checkpoint_write(path, state, &extras, hex, &status), LAP_DATA);
  assert_non_null(strstr(status.message, path));
  lap_state_destroy(state);
  free(path);
}

static void a_tokenizer_that_cannot_be_read_is_a_failure_on_all_ranks(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("tiny", w->comm, fixture_sharded, 1);
  const lap_checkpoint_extras extras = {
      .config_text = "seed: 1\n", .tokenizer_path = "/nowhere/t.model", .numbers = w->numbers};
  char hex[LAP_SHA256_HEX];
  lap_status status;
  assert_int_equal(lap_checkpoint_write(w->directory, state, &extras, hex, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "/nowhere/t.model"));
  char *all = world_listing(w->directory);
  assert_null(strstr(all, "step-"));
  free(all);
  lap_barrier(w->comm);
  lap_state_destroy(state);
}

static void a_state_that_could_not_be_read_back_is_not_written(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("tiny", w->comm, fixture_sharded, 4);
  state->applied_updates = 5;
  lap_status status;
  assert_int_equal(world_try_write(w, state, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "applied_updates: expected an integer from 0 to 4"));
  char *all = world_listing(w->directory);
  assert_null(strstr(all, "step-"));
  free(all);
  lap_barrier(w->comm);
  lap_state_destroy(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(what_is_written_is_loaded),
      IN_DIRECTORY(replicated_moments_write_the_same_checkpoint),
      IN_DIRECTORY(shards_come_and_go),
      IN_DIRECTORY(the_same_state_again_writes_nothing),
      IN_DIRECTORY(another_state_of_the_same_step_replaces_the_one_there),
      IN_DIRECTORY(weights_alone_are_written_and_read),
      IN_DIRECTORY(a_tensor_larger_than_a_piece_is_cut),
      IN_DIRECTORY(after_a_failed_write_nothing_has_changed),
      IN_DIRECTORY(a_directory_that_cannot_be_made_is_a_failure_on_all_ranks),
      IN_DIRECTORY(a_tokenizer_that_cannot_be_read_is_a_failure_on_all_ranks),
      IN_DIRECTORY(a_state_that_could_not_be_read_back_is_not_written),
  };
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
