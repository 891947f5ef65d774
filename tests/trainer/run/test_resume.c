/* resume: where a run starts, from its directory and what it was told. Looking for rank 0's file is
 * given up soon (--wrap). */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/scratch.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/world.h"
#include "trainer/cli/nonce.h"
#include "trainer/config/load.h"
#include "trainer/run/directory.h"
#include "trainer/run/resume.h"

lap_code __real_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status);
lap_code __wrap_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status);

lap_code __wrap_lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                                lap_status *status) {
  assert_true(patience_seconds >= 10); /* network file systems */
  return __real_lap_nonce_check(path, nonce, 0.1, status);
}

/* --- one start --- */

enum { UNTOUCHED = 77777 }; /* the step of a state into which nothing has been read */
typedef struct {
  lap_config *given, config;
  lap_session session;
  lap_inputs inputs;
  lap_resume_options options;
  lap_run_parent parent;
  bool fresh; /* the state is zeroed, as a run's is; else as at step UNTOUCHED */
  lap_state *state;
  lap_directory_lock *lock;
  lap_code code;
  lap_status status;
  char *said; /* on rank 0 */
} start;

/* The start unless a test says otherwise: a fresh run in W/run from random weights. */
static start start_of(world *w, const char *run, const char *resume) {
  start s = {.session = {.comm = w->comm, .root = world_root(w)},
             .inputs = {.numbers = w->numbers, .total_steps = 1000},
             .options = {.from = resume},
             .fresh = !strcmp(resume, "none")};
  assert_int_equal(lap_config_parse("tiny", fixture_config, strlen(fixture_config), NULL, 0,
                                    &s.given, &s.status),
                   LAP_OK);
  s.config = *s.given;
  s.config.seed = 5;
  s.config.init = (char *)"random";
  s.config.run_dir = lap_format("%s/%s", w->directory, run);
  s.config.blas_core = (char *)"auto";
  return s;
}

static void begin(start *s, fixture_layout layout) {
  size_t bytes;
  FILE *stream = open_memstream(&s->said, &bytes);
  s->session.console =
      lap_console_create((lap_console_options){.stream = stream, .silent = !s->session.root});
  s->state = s->fresh ? fixture_place("tiny", s->session.comm, layout, true)
                      : fixture_state("tiny", s->session.comm, layout, UNTOUCHED);
  s->lock = (lap_directory_lock *)"untouched";
  s->code = lap_resume_or_start(&s->config, &s->session, &s->inputs, &s->options, s->state,
                                &s->lock, &s->parent, &s->status);
  lap_console_destroy(s->session.console);
  fclose(stream);
}

static void end(start *s) {
  if (s->code == LAP_OK) { /* whatever was found: the lock is held, the nonce is gone */
    assert_int_equal(s->lock != NULL, s->session.root);
    char *lock = lap_format("%s/.lock", s->config.run_dir);
    char *nonce = lap_format("%s/.same-file-system", s->config.run_dir);
    char *checkpoints = lap_format("%s/checkpoints", s->config.run_dir);
    assert_true(lap_file_exists(lock));
    assert_true(lap_file_exists(checkpoints));
    if (s->session.root) assert_false(lap_file_exists(nonce));
    free(lock);
    free(nonce);
    free(checkpoints);
  }
  lap_barrier(s->session.comm);
  lap_directory_lock_release(s->lock);
  lap_state_destroy(s->state);
  free(s->config.run_dir);
  lap_config_destroy(s->given);
  free(s->parent.checkpoint);
  free(s->said);
}

static void assert_says(const start *s, const char *text) {
  if (s->session.root && !strstr(s->said, text))
    fail_msg("'%s' was not said, but: %s", text, s->said);
}

/* Everything is as the fixture has it at this step. */
static void assert_step(const start *s, uint64_t step) {
  if (s->code != LAP_OK) fail_msg("%s", s->status.message);
  assert_int_equal(s->state->step, step);
  assert_int_equal(fixture_differences(s->state, step), 0);
}

static void assert_refused(const start *s, lap_code code, const char *text) {
  assert_int_equal(s->code, code);
  assert_int_equal(s->status.code, code);
  if (!strstr(s->status.message, text)) fail_msg("'%s' does not say '%s'", s->status.message, text);
}

/* Checkpoints of run W/RUN, as trained with these numbers. */
static void write_step(world *w, const char *run, uint64_t step, const lap_numbers *numbers) {
  char *directory = lap_format("%s/%s/checkpoints", w->directory, run), hex[LAP_SHA256_HEX];
  lap_state *state = fixture_state("tiny", w->comm, fixture_sharded, step);
  const lap_checkpoint_extras extras = {.config_text = fixture_config, .numbers = numbers};
  lap_status status = {0};
  if (world_root(w)) assert_int_equal(lap_file_make_directories(directory, &status), LAP_OK);
  lap_barrier(w->comm);
  if (lap_checkpoint_write(directory, state, &extras, hex, &status) != LAP_OK)
    fail_msg("%s", status.message);
  lap_state_destroy(state);
  free(directory);
}

static lap_numbers *other_numbers(const char *size) {
  json_t *object = json_pack("{s:s, s:s}", "seed", "1", "model.hidden_size", size);
  lap_numbers *numbers;
  lap_status status;
  assert_int_equal(lap_numbers_from_json(object, "test", &numbers, &status), LAP_OK);
  json_decref(object);
  return numbers;
}

static const fixture_layout *const layouts[] = {&fixture_replicated, &fixture_sharded,
                                                &fixture_full};

/* --- fresh starts --- */

/* Random weights of the seed, in whatever part of them is held here. */
static void assert_random(const start *s, uint64_t seed) {
  if (s->code != LAP_OK) fail_msg("%s", s->status.message);
  const lap_parameters *parameters = s->state->parameters;
  float *expected = lap_allocate_aligned(parameters->elements, sizeof *expected);
  lap_parameters_initialise(parameters, seed, 0, parameters->elements, expected);
  for (int b = 0; b < parameters->bucket_count; ++b) {
    const lap_range held = lap_state_held(s->state, LAP_WEIGHT, b);
    if (lap_range_count(held))
      assert_memory_equal(lap_state_at(s->state, LAP_WEIGHT, b, held.begin), expected + held.begin,
                          (size_t)lap_range_count(held) * sizeof *expected);
  }
  lap_release_aligned(expected);
  assert_int_equal(s->state->step, 0);
  assert_int_equal(s->state->applied_updates, 0);
}

static void a_run_without_checkpoints_starts_at_random(void **context) {
  for (int l = 0; l < 3; ++l)
    for (int64_t seed = 5; seed <= 6; ++seed) {
      char *name = lap_format("deep/%d-%d", l, (int)seed);
      start s = start_of(*context, name, "none");
      s.config.seed = seed;
      begin(&s, *layouts[l]);
      assert_random(&s, (uint64_t)seed);
      end(&s);
      free(name);
    }
}

static void asking_for_the_newest_of_none_is_a_fresh_start(void **context) {
  for (int there = 0; there < 2; ++there) { /* the second time the directory is there */
    start s = start_of(*context, "run", "auto");
    s.fresh = true;
    begin(&s, fixture_sharded);
    assert_random(&s, 5);
    end(&s);
  }
}

/* It was killed before its first checkpoint. */
static void a_run_that_began_with_the_state_of_another_is_not_begun_anew(void **context) {
  world *w = *context;
  static const char json[] =
      "{\"parent\": {\"checkpoint\": \"/a/step-00000007\", \"step\": 7, \"state_sha256\": \"ab\"}}";
  if (world_root(w)) scratch_write(w->directory, "run.json", json, sizeof json - 1);
  lap_barrier(w->comm);
  start s = start_of(w, ".", "auto");
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_USAGE, "no checkpoint, and began with the state of /a/step-00000007; ");
  assert_refused(&s, LAP_USAGE, "--fork --resume /a/step-00000007");
  end(&s);
  s = start_of(w, ".", "none"); /* whoever says so */
  begin(&s, fixture_sharded);
  assert_random(&s, 5);
  assert_false(s.parent.resumed);
  end(&s);
}

static void a_run_can_start_from_weights_of_another(void **context) {
  world *w = *context;
  write_step(w, "teacher", 12, w->numbers);
  for (int l = 0; l < 3; ++l) {
    char *name = lap_format("run-%d", l);
    start s = start_of(w, name, "none");
    char *init = lap_format("%s/teacher", w->directory);
    s.config.init = init;
    begin(&s, *layouts[l]);
    if (s.code != LAP_OK) fail_msg("%s", s.status.message);
    assert_says(&s, "weights from ");
    lap_state *expected = fixture_state("tiny", w->comm, *layouts[l], 12);
    const size_t held = (size_t)(expected->whole[LAP_WEIGHT] ? expected->parameters->elements
                                                             : expected->owned_elements);
    assert_memory_equal(s.state->values[LAP_WEIGHT], expected->values[LAP_WEIGHT],
                        held * sizeof(float));
    for (int64_t i = 0; i < s.state->owned_elements; ++i)
      assert_true(s.state->values[LAP_EXP_AVG][i] == 0 && s.state->values[LAP_EXP_AVG_SQ][i] == 0);
    assert_int_equal(s.state->step, 0);
    lap_state_destroy(expected);
    free(init);
    free(name);
    end(&s);
  }
  start s = start_of(w, "another", "none");
  s.config.init = (char *)"/nowhere/at/all";
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_DATA, "/nowhere/at/all");
  end(&s);
}

static void a_run_with_checkpoints_is_not_begun_anew(void **context) {
  world *w = *context;
  write_step(w, "run", 4, w->numbers);
  for (int fork = 0; fork < 2; ++fork) {
    start s = start_of(w, "run", fork ? "auto" : "none");
    s.options.fork = fork;
    begin(&s, fixture_sharded);
    assert_refused(&s, LAP_USAGE, "--resume auto");
    assert_null(s.lock);
    end(&s);
  }
}

/* --- the newest checkpoint --- */

static void the_newest_checkpoint_is_resumed(void **context) {
  world *w = *context;
  write_step(w, "run", 100, w->numbers);
  write_step(w, "run", 9, w->numbers);
  for (int l = 0; l < 3; ++l) {
    start s = start_of(w, "run", "auto");
    s.config.init = (char *)"/not/looked/at";
    begin(&s, *layouts[l]);
    assert_step(&s, 100);
    assert_says(&s, "resumed ");
    assert_says(&s, "step-00000100 at step 100");
    end(&s);
  }
}

static int flip_middle(const char *path) {
  const int file = open(path, O_RDWR);
  char byte;
  const bool done = pread(file, &byte, 1, 100) == 1 &&
                    (byte = (char)(byte ^ 8), pwrite(file, &byte, 1, 100) == 1);
  close(file);
  return done ? 0 : -1;
}

/* Where payload is damaged this shows while it is loaded, elsewhere before. */
static void a_damaged_newest_checkpoint_is_passed_over_with_a_warning(void **context) {
  world *w = *context;
  static const struct {
    const char *file, *what;
    int (*damage)(const char *path);
  } damages[] = {{"rank-00000.bin", "the file is damaged", flip_middle},
                 {"manifest.json", "does not end with the checksum", world_cut}};
  write_step(w, "run", 9, w->numbers);
  write_step(w, "run", 10, w->numbers);
  for (size_t i = 0; i < sizeof damages / sizeof *damages; ++i) {
    world_damage(w, "run/checkpoints/step-00000010", damages[i].file, damages[i].damage);
    start s = start_of(w, "run", "auto");
    begin(&s, fixture_sharded);
    assert_step(&s, 9);
    assert_says(&s, "warning: step 10 is passed over: ");
    assert_says(&s, damages[i].file);
    assert_says(&s, damages[i].what);
    assert_says(&s, "step-00000009 at step 9");
    end(&s);
  }
}

static void without_a_whole_checkpoint_the_run_does_not_start_anew(void **context) {
  world *w = *context;
  write_step(w, "run", 9, w->numbers);
  write_step(w, "run", 10, w->numbers);
  world_damage(w, "run/checkpoints/step-00000009", "rank-00000.bin", world_cut);
  world_damage(w, "run/checkpoints/step-00000010", "rank-00000.bin", flip_middle);
  start s = start_of(w, "run", "auto");
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_DATA, "none of 2 checkpoints can be used");
  end(&s);
}

/* --- numbers --- */

static void other_numbers_are_refused_before_anything_is_loaded(void **context) {
  world *w = *context;
  lap_numbers *other = other_numbers("32");
  write_step(w, "run", 9, other);
  char *path = lap_format("%s/run/checkpoints/step-00000009", w->directory);
  const char *const how[] = {"auto", path};
  for (int i = 0; i < 2; ++i) {
    start s = start_of(w, "run", how[i]);
    begin(&s, fixture_sharded);
    assert_refused(&s, LAP_USAGE, "step-00000009: model.hidden_size differs");
    assert_refused(&s, LAP_USAGE, "trained with 32, this run has 16");
    assert_refused(&s, LAP_USAGE, "--fork");
    s.code = LAP_OK; /* nothing has changed */
    assert_step(&s, UNTOUCHED);
    end(&s);
  }
  /* A new run may begin from that state. */
  start s = start_of(w, "new", path);
  s.options.fork = true;
  begin(&s, fixture_sharded);
  assert_step(&s, 9);
  assert_says(&s, "forked ");
  assert_int_equal(s.parent.step, 9);
  assert_non_null(strstr(s.parent.checkpoint, "/step-00000009"));
  end(&s);
  /* Which has steps to make. */
  s = start_of(w, "short", path);
  s.options.fork = true;
  s.inputs.total_steps = 8;
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_USAGE, "has made 9 steps already, this run ends after 8; the schedule");
  end(&s);
  free(path);
  lap_numbers_destroy(other);
}

/* Numbers of a lapidary before the last change of the arithmetic. */
static void other_arithmetic_is_refused_and_can_be_forked(void **context) {
  world *w = *context;
  lap_status status;
  lap_numbers *before, *now;
  json_t *object = json_pack("{s:s, s:s}", "numerics_version", "2", "seed", "1");
  assert_int_equal(lap_numbers_from_json(object, "test", &before, &status), LAP_OK);
  json_object_set_new(object, "numerics_version", json_string("3"));
  assert_int_equal(lap_numbers_from_json(object, "test", &now, &status), LAP_OK);
  json_decref(object);
  write_step(w, "old", 9, before);
  start s = start_of(w, "old", "auto");
  s.inputs.numbers = now;
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_USAGE, "step-00000009: numerics_version differs");
  assert_refused(&s, LAP_USAGE, "version 2 of the arithmetic, this one has version 3");
  assert_refused(&s, LAP_USAGE, "--fork");
  end(&s);
  char *path = lap_format("%s/old", w->directory);
  start forked = start_of(w, "forked", path);
  forked.inputs.numbers = now;
  forked.options.fork = true;
  begin(&forked, fixture_sharded);
  assert_step(&forked, 9);
  end(&forked);
  free(path);
  lap_numbers_destroy(before);
  lap_numbers_destroy(now);
}

/* What was corrected for a few runs has a version that numbers of before do not have. */
static void a_corrected_teacher_is_other_arithmetic_too(void **context) {
  world *w = *context;
  lap_numbers *before = other_numbers("16"), *now = other_numbers("16");
  lap_numbers_append(now, "objective.teacher_version", "2");
  write_step(w, "old", 9, before);
  start s = start_of(w, "old", "auto");
  s.inputs.numbers = now;
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_USAGE, "step-00000009: objective.teacher_version differs");
  assert_refused(&s, LAP_USAGE, "version 1 of the arithmetic, this one has version 2");
  end(&s);
  lap_numbers_destroy(before);
  lap_numbers_destroy(now);
}

/* --- a checkpoint by name --- */

static void a_checkpoint_or_run_can_be_named(void **context) {
  world *w = *context;
  write_step(w, "run", 9, w->numbers);
  write_step(w, "run", 12, w->numbers);
  write_step(w, "behind", 11, w->numbers);
  static const struct {
    const char *run, *from;
    uint64_t step;
  } cases[] = {{"run", "run/checkpoints/step-00000012", 12},
               {"run", "run", 12},
               {"new", "run/checkpoints/step-00000009", 9},
               {"behind", "run/checkpoints", 12}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char *from = lap_format("%s/%s", w->directory, cases[i].from);
    start s = start_of(w, cases[i].run, from);
    begin(&s, *layouts[i % 3]);
    assert_step(&s, cases[i].step);
    assert_says(&s, "resumed ");
    assert_int_equal(s.parent.checkpoint != NULL, strcmp(cases[i].run, "run") != 0);
    assert_int_equal(s.parent.resumed, strcmp(cases[i].run, "run") == 0);
    end(&s);
    free(from);
  }
}

static void a_run_does_not_go_back_in_place(void **context) {
  world *w = *context;
  write_step(w, "run", 9, w->numbers);
  write_step(w, "run", 12, w->numbers);
  char *from = lap_format("%s/run/checkpoints/step-00000009", w->directory);
  start s = start_of(w, "run", from);
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_USAGE, "run has a checkpoint of step 12, which is past step 9 of ");
  end(&s);
  /* A newer one that is not whole does not count. */
  world_damage(w, "run/checkpoints/step-00000012", "manifest.json", world_cut);
  s = start_of(w, "run", from);
  begin(&s, fixture_sharded);
  assert_step(&s, 9);
  end(&s);
  free(from);
}

static void what_cannot_be_resumed_is_named(void **context) {
  world *w = *context;
  char *from = lap_format("%s/weights", w->directory);
  lap_state *state = fixture_state("tiny", w->comm, fixture_sharded, 9);
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n"};
  lap_status status = {0};
  assert_int_equal(lap_checkpoint_write_weights(from, state, &extras, &status), LAP_OK);
  lap_state_destroy(state);
  for (int fork = 0; fork < 2; ++fork) {
    start s = start_of(w, "run", from);
    s.options.fork = fork;
    begin(&s, fixture_sharded);
    assert_refused(&s, LAP_USAGE, "weights: holds weights only");
    assert_refused(&s, LAP_USAGE, "init=");
    end(&s);
  }
  start s = start_of(w, "run", "/nowhere/at/all");
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_DATA, "/nowhere/at/all");
  end(&s);
  /* Damage shows only when it is read; a named checkpoint has no other to fall back to. */
  write_step(w, "damaged", 9, w->numbers);
  world_damage(w, "damaged/checkpoints/step-00000009", "rank-00000.bin", flip_middle);
  char *damaged = lap_format("%s/damaged", w->directory);
  s = start_of(w, "run", damaged);
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_DATA, "the file is damaged; where its run has an older checkpoint, name");
  end(&s);
  free(damaged);
  free(from);
}

/* --- the directory --- */

static void a_directory_that_another_job_writes_is_left_alone(void **context) {
  world *w = *context;
  write_step(w, "run", 9, w->numbers);
  lap_directory_lock *theirs = NULL;
  lap_status status = {0};
  char *run = lap_format("%s/run", w->directory);
  if (world_root(w)) assert_int_equal(lap_directory_lock_take(run, &theirs, &status), LAP_OK);
  lap_barrier(w->comm);
  start s = start_of(w, "run", "auto");
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_USAGE, "another job is writing this directory");
  assert_null(s.lock);
  s.code = LAP_OK;
  assert_step(&s, UNTOUCHED);
  s.code = LAP_USAGE;
  end(&s);
  lap_directory_lock_release(theirs);
  lap_barrier(w->comm);
  s = start_of(w, "run", "auto");
  begin(&s, fixture_sharded);
  assert_step(&s, 9);
  end(&s);
  free(run);
}

static void a_directory_that_cannot_be_made_is_named(void **context) {
  world *w = *context;
  if (world_root(w)) scratch_write(w->directory, "file", "x", 1);
  lap_barrier(w->comm);
  start s = start_of(w, "file/run", "none");
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_DATA, "/file: cannot make the directory");
  assert_null(s.lock);
  end(&s);
}

/* Ranks in directories of their own mean different ones by the same name. */
static void ranks_that_see_another_directory_are_noticed(void **context) {
  world *w = *context;
  if (lap_comm_size(w->comm) == 1) return;
  char before[4096];
  assert_non_null(getcwd(before, sizeof before));
  char *own = lap_format("%s/rank-%d", w->directory, lap_comm_rank(w->comm));
  lap_status status = {0};
  assert_int_equal(lap_file_make_directories(own, &status), LAP_OK);
  assert_int_equal(chdir(own), 0);
  start s = start_of(w, "", "none");
  free(s.config.run_dir);
  s.config.run_dir = lap_copy_string("run");
  begin(&s, fixture_sharded);
  assert_refused(&s, LAP_DATA, "file system that every node shares");
  assert_refused(&s, LAP_DATA, "rank 1 on ");
  assert_int_equal(s.lock != NULL, world_root(w)); /* the caller releases it */
  if (world_root(w)) assert_false(lap_file_exists("run/.same-file-system"));
  end(&s);
  assert_int_equal(chdir(before), 0);
  free(own);
}

/* --- the BLAS core --- */

static void expect_core(world *w, const char *run, const char *resume, bool fork, const char *told,
                        const char *expected) {
  start s = start_of(w, run, resume);
  s.options.fork = fork;
  s.config.gemm = LAP_GEMM_OPENBLAS;
  s.config.blas_core = (char *)told;
  char core[LAP_RESUME_CORE] = "not set";
  lap_resume_open_ends(&s.config, &s.session, &s.options, core);
  assert_string_equal(core, expected);
  lap_config_destroy(s.given);
  free(s.config.run_dir);
}

static void a_resumed_run_keeps_its_blas_core(void **context) {
  world *w = *context;
  char *path = lap_format("%s/run/checkpoints/step-00000009", w->directory);
  expect_core(w, "run", "auto", false, "auto", "auto"); /* nothing there yet */
  write_step(w, "run", 9, w->numbers);
  expect_core(w, "run", "auto", false, "auto", "PRESCOTT");
  expect_core(w, "new", path, false, "auto", "PRESCOTT");
  expect_core(w, "new", "auto", false, "auto", "auto");
  expect_core(w, "run", "none", false, "auto", "auto");
  expect_core(w, "new", path, true, "auto", "auto");
  expect_core(w, "run", "auto", false, "HASWELL", "HASWELL");
  expect_core(w, "new", "/nowhere/at/all", false, "auto", "auto");
  /* "none" does not name a directory, even where there is one of that name. */
  char before[4096];
  write_step(w, "none", 9, w->numbers);
  assert_non_null(getcwd(before, sizeof before));
  assert_int_equal(chdir(w->directory), 0);
  expect_core(w, "run", "none", false, "auto", "auto");
  assert_int_equal(chdir(before), 0);
  world_damage(w, "run/checkpoints/step-00000009", "config.resolved.yaml", unlink);
  expect_core(w, "run", "auto", false, "auto", "auto");
  free(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(a_run_without_checkpoints_starts_at_random),
      IN_DIRECTORY(asking_for_the_newest_of_none_is_a_fresh_start),
      IN_DIRECTORY(a_run_that_began_with_the_state_of_another_is_not_begun_anew),
      IN_DIRECTORY(a_run_can_start_from_weights_of_another),
      IN_DIRECTORY(a_run_with_checkpoints_is_not_begun_anew),
      IN_DIRECTORY(the_newest_checkpoint_is_resumed),
      IN_DIRECTORY(a_damaged_newest_checkpoint_is_passed_over_with_a_warning),
      IN_DIRECTORY(without_a_whole_checkpoint_the_run_does_not_start_anew),
      IN_DIRECTORY(other_numbers_are_refused_before_anything_is_loaded),
      IN_DIRECTORY(other_arithmetic_is_refused_and_can_be_forked),
      IN_DIRECTORY(a_corrected_teacher_is_other_arithmetic_too),
      IN_DIRECTORY(a_checkpoint_or_run_can_be_named),
      IN_DIRECTORY(a_run_does_not_go_back_in_place),
      IN_DIRECTORY(what_cannot_be_resumed_is_named),
      IN_DIRECTORY(a_directory_that_another_job_writes_is_left_alone),
      IN_DIRECTORY(a_directory_that_cannot_be_made_is_named),
      IN_DIRECTORY(ranks_that_see_another_directory_are_noticed),
      IN_DIRECTORY(a_resumed_run_keeps_its_blas_core),
  };
  return cmocka_run_group_tests_name("resume", tests, world_start, world_finish);
}
