/* checkpoint and state_hash, on however many ranks the job has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/core/file.h"
#include "autograd/core/memory.h"
#include "checkpoint_fixture.h"
#include "mpi/agree.h"
#include "trainer/checkpoint_manifest.h"
#include "trainer/state_hash.h"

/* A directory for each test, the same on all ranks. */
typedef struct {
  lap_comm *comm;
  lap_numbers *numbers;
  char directory[64];
  char notices[4096]; /* of the last load, on rank 0 */
} world;

static bool root(const world *w) { return lap_comm_rank(w->comm) == 0; }

static int start(void **state) {
  static world w;
  lap_status status;
  if (lap_comm_start(&w.comm, &status) != LAP_OK) return -1;
  lap_comm_set_watchdog(w.comm, 60);
  w.numbers = fixture_numbers();
  signal(SIGXFSZ, SIG_IGN);
  *state = &w;
  return 0;
}

static int finish(void **state) {
  world *w = *state;
  lap_numbers_destroy(w->numbers);
  lap_comm_finish(w->comm);
  return 0;
}

static int make_directory(void **state) {
  world *w = *state;
  strcpy(w->directory, "/tmp/lapidary_test_checkpoint_XXXXXX");
  if (root(w) && !mkdtemp(w->directory)) return -1;
  lap_broadcast(w->comm, w->directory, sizeof w->directory, 0);
  return 0;
}

static int remove_directory(void **state) {
  world *w = *state;
  lap_status status;
  lap_barrier(w->comm);
  return root(w) ? lap_file_remove_tree(w->directory, &status) != LAP_OK : 0;
}

static lap_code try_write(world *w, const lap_state *state, lap_status *status) {
  char hex[LAP_SHA256_HEX];
  const lap_checkpoint_extras extras = {"seed: 1\n", NULL, w->numbers};
  return lap_checkpoint_write(w->directory, state, w->comm, &extras, hex, status);
}

static void write_step(world *w, uint64_t step) {
  lap_state *state = fixture_state("small", w->comm, false, step);
  lap_status status;
  const lap_code code = try_write(w, state, &status);
  if (code != LAP_OK) fail_msg("%s", status.message);
  lap_state_destroy(state);
}

static void take_notice(void *context, const char *text) {
  world *w = context;
  strncat(w->notices, text, sizeof w->notices - strlen(w->notices) - 2);
  strcat(w->notices, "\n");
}

static lap_code load_newest(world *w, lap_state *state, bool *found, lap_status *status) {
  lap_checkpoint *loaded;
  w->notices[0] = '\0';
  const lap_code code = lap_checkpoint_load_newest(w->directory, state, w->comm, take_notice, w,
                                                   found, &loaded, status);
  assert_int_equal(loaded != NULL, code == LAP_OK && *found);
  if (loaded) assert_string_equal(lap_numbers_value(loaded->numbers, "seed"), "1");
  lap_checkpoint_close(loaded);
  return code;
}

/* The newest whole one is that of `step`, and `notice` (NULL: none) is said of newer ones. */
static void expect_newest(world *w, uint64_t step, const char *notice) {
  lap_state *state = fixture_state("small", w->comm, false, 77777);
  lap_status status;
  bool found;
  if (load_newest(w, state, &found, &status) != LAP_OK) fail_msg("%s", status.message);
  assert_true(found);
  assert_int_equal(state->step, step);
  assert_int_equal(fixture_differences(state, step), 0);
  if (root(w) && !notice) assert_string_equal(w->notices, "");
  if (root(w) && notice && !strstr(w->notices, notice))
    fail_msg("expected a notice with '%s', found '%s'", notice, w->notices);
  lap_state_destroy(state);
}

/* Everything in the directory with sizes and inodes, in order: equal texts, nothing has changed. */
static char *listing(const char *directory) {
  char *command = lap_format("cd %s && find . -printf '%%p %%s %%i\\n' | LC_ALL=C sort", directory);
  FILE *pipe = popen(command, "r");
  char *text = lap_allocate(1 << 16, 1);
  const size_t bytes = fread(text, 1, (1 << 16) - 1, pipe);
  text[bytes] = '\0';
  pclose(pipe);
  free(command);
  return text;
}

/* --- the hash --- */

static void the_state_hash_is_that_of_its_definition(void **context) {
  world *w = *context;
  const char *models[] = {"tiny", "small"};
  for (int m = 0; m < 2; ++m) {
    char expected[LAP_SHA256_HEX], found[LAP_SHA256_HEX];
    fixture_sha256(models[m], 30, expected);
    for (int replicated = 0; replicated < 2; ++replicated) {
      lap_state *state = fixture_state(models[m], w->comm, replicated, 30);
      lap_state_sha256(state, w->comm, found);
      assert_string_equal(found, expected);
      lap_state_destroy(state);
    }
  }
}

static void one_changed_bit_anywhere_changes_the_hash(void **context) {
  world *w = *context;
  char before[LAP_SHA256_HEX], after[LAP_SHA256_HEX];
  lap_state *state = fixture_state("small", w->comm, false, 30);
  lap_state_sha256(state, w->comm, before);
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    for (int64_t i = 0; i < 24000; i += 2999) { /* the embedding has 24,000 elements */
      const bool here = kind == LAP_WEIGHT || (i >= state->held_begin && i < state->held_end);
      uint32_t *bits = here ? (uint32_t *)lap_state_at(state, (lap_state_kind)kind, i) : NULL;
      if (here) *bits ^= 1;
      lap_state_sha256(state, w->comm, after);
      assert_string_not_equal(before, after);
      if (here) *bits ^= 1;
    }
  lap_state_sha256(state, w->comm, after);
  assert_string_equal(before, after);
  lap_state_destroy(state);
}

/* --- writing and loading --- */

static void what_is_written_is_loaded(void **context) {
  world *w = *context;
  write_step(w, 120);
  expect_newest(w, 120, NULL);
  lap_state *replicated = fixture_state("small", w->comm, true, 77777);
  lap_status status;
  bool found;
  assert_int_equal(load_newest(w, replicated, &found, &status), LAP_OK);
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
  lap_state *state = fixture_state("small", w->comm, true, 120);
  lap_status status;
  char hex[LAP_SHA256_HEX], expected[LAP_SHA256_HEX];
  const lap_checkpoint_extras extras = {"seed: 1\n", NULL, w->numbers};
  assert_int_equal(lap_checkpoint_write(w->directory, state, w->comm, &extras, hex, &status),
                   LAP_OK);
  fixture_sha256("small", 120, expected);
  assert_string_equal(hex, expected);
  expect_newest(w, 120, NULL);
  lap_state_destroy(state);
}

static void the_same_state_again_writes_nothing(void **context) {
  world *w = *context;
  write_step(w, 120);
  char *path = lap_format("%s/step-00000120", w->directory), *before = listing(path);
  lap_barrier(w->comm);
  write_step(w, 120);
  char *after = listing(path);
  assert_string_equal(before, after);
  lap_barrier(w->comm);
  free(path);
  free(before);
  free(after);
}

static void another_state_of_the_same_step_replaces_the_one_there(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("small", w->comm, false, 120);
  lap_status status;
  if (state->owned_begin < state->owned_end)
    *lap_state_at(state, LAP_EXP_AVG, state->owned_begin) = -1;
  assert_int_equal(try_write(w, state, &status), LAP_OK);
  lap_state_destroy(state);
  write_step(w, 120);
  expect_newest(w, 120, NULL);
  char **names;
  size_t count;
  assert_int_equal(lap_checkpoint_list(w->directory, &names, &count, &status), LAP_OK);
  assert_int_equal(count, 1);
  lap_checkpoint_list_destroy(names, count);
  char *all = listing(w->directory);
  assert_null(strstr(all, ".replaced"));
  assert_null(strstr(all, ".writing"));
  free(all);
  lap_barrier(w->comm);
}

static void weights_alone_are_written_and_read(void **context) {
  world *w = *context;
  const lap_gemma2_config model = fixture_model("small");
  lap_state *state = lap_state_create(&model, w->comm, false, false);
  fixture_fill(state, 0);
  lap_status status;
  char *path = lap_format("%s/new/init", w->directory), *slashes = lap_format("%s//", path);
  char *tokenizer = lap_format("%s/m.model", w->directory);
  if (root(w)) assert_int_equal(lap_file_write(tokenizer, "pieces", 6, &status), LAP_OK);
  lap_barrier(w->comm);
  const lap_checkpoint_extras extras = {"seed: 1\n", tokenizer, NULL};
  if (lap_checkpoint_write_weights(path, state, w->comm, &extras, &status) != LAP_OK)
    fail_msg("%s", status.message);
  assert_int_equal(lap_checkpoint_write_weights(slashes, state, w->comm, &extras, &status),
                   LAP_USAGE);
  lap_checkpoint *read;
  assert_int_equal(lap_checkpoint_open(slashes, &read, &status), LAP_OK);
  assert_false(read->full);
  assert_int_equal(lap_checkpoint_verify(read, &status), LAP_OK);
  float *weights = lap_allocate((size_t)state->parameters->elements, sizeof *weights);
  assert_int_equal(lap_checkpoint_read_weights(read, state->parameters, weights, &status), LAP_OK);
  assert_memory_equal(weights, state->weights, (size_t)state->parameters->elements * 4);
  lap_state *full = fixture_state("small", w->comm, false, 1);
  assert_int_equal(lap_checkpoint_load(read, full, w->comm, &status), LAP_DATA);
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
  lap_state *state = fixture_state("wide", w->comm, false, 5);
  lap_status status;
  assert_int_equal(try_write(w, state, &status), LAP_OK);
  fixture_fill(state, 6);
  bool found;
  assert_int_equal(load_newest(w, state, &found, &status), LAP_OK);
  assert_int_equal(fixture_differences(state, 5), 0);
  lap_state_destroy(state);
}

/* --- damage --- */

typedef struct {
  const char *what, *file, *notice;
  int (*damage)(const char *path);
} damage_case;

static int cut(const char *path) { return truncate(path, 1000); }
static int lengthen(const char *path) { return truncate(path, 10000000); }
static int empty(const char *path) { return truncate(path, 0); }

static int make_directory_of(const char *path) { return unlink(path) || mkdir(path, 0777); }

static int flip_at(const char *path, double where) {
  struct stat facts;
  unsigned char byte = 0;
  const int file = open(path, O_RDWR);
  if (file < 0 || fstat(file, &facts) != 0) return -1;
  const off_t place = (off_t)(where * (double)(facts.st_size - 1));
  const bool done =
      pread(file, &byte, 1, place) == 1 && (byte ^= 4, pwrite(file, &byte, 1, place) == 1);
  close(file);
  return done ? 0 : -1;
}
static int flip_first(const char *path) { return flip_at(path, 0); }
static int flip_middle(const char *path) { return flip_at(path, 0.5); }
static int flip_last(const char *path) { return flip_at(path, 1); }

static const damage_case damages[] = {
    {"cut", "rank-00000.bin", "rank-00000.bin: is 1000 bytes long, the manifest says", cut},
    {"lengthened", "rank-00000.bin", "rank-00000.bin: is 10000000 bytes long", lengthen},
    {"emptied", "rank-00000.bin", "rank-00000.bin: is 0 bytes long", empty},
    {"missing", "rank-00000.bin", "rank-00000.bin: cannot be examined: No such file", unlink},
    {"a directory", "rank-00000.bin", "rank-00000.bin: expected a regular", make_directory_of},
    {"first byte", "rank-00000.bin", "tensor model.embed_tokens.weight, weight", flip_first},
    {"middle byte", "rank-00000.bin", "the file is damaged", flip_middle},
    {"last byte", "rank-00000.bin", "the file is damaged", flip_last},
    {"missing", "manifest.json", "manifest.json: cannot be opened: No such file", unlink},
    {"cut", "manifest.json", "manifest.json: does not end with the checksum", cut},
    {"emptied", "manifest.json", "manifest.json: is 0 bytes long", empty},
    {"flipped", "manifest.json", "manifest.json: does not end with the checksum", flip_middle},
    {"flipped", "config.resolved.yaml", "config.resolved.yaml: checksum", flip_middle},
    {"missing", "config.resolved.yaml", "config.resolved.yaml: cannot", unlink},
};

/* Rank 0 damages, all see it. */
static void damage(world *w, const damage_case *one, const char *step) {
  lap_barrier(w->comm);
  char *path = lap_format("%s/%s/%s", w->directory, step, one->file);
  if (root(w)) assert_int_equal(one->damage(path), 0);
  free(path);
  lap_barrier(w->comm);
}

static void the_one_before_is_loaded_where_the_newest_is_damaged(void **context) {
  world *w = *context;
  write_step(w, 110);
  for (size_t i = 0; i < sizeof damages / sizeof *damages; ++i) {
    write_step(w, 120); /* which also replaces the damaged one */
    expect_newest(w, 120, NULL);
    damage(w, &damages[i], "step-00000120");
    expect_newest(w, 110, damages[i].notice);
    if (root(w)) assert_non_null(strstr(w->notices, "step 120 is passed over: "));
  }
}

static void where_all_are_damaged_nothing_is_loaded_and_the_newest_is_named(void **context) {
  world *w = *context;
  write_step(w, 110);
  write_step(w, 120);
  damage(w, &damages[6], "step-00000110");
  damage(w, &damages[3], "step-00000120");
  lap_state *state = fixture_state("small", w->comm, false, 1);
  lap_status status;
  bool found;
  assert_int_equal(load_newest(w, state, &found, &status), LAP_DATA);
  assert_true(found);
  assert_non_null(strstr(status.message, "none of 2 checkpoints can be used; the newest: "));
  assert_non_null(strstr(status.message, "step-00000120/rank-00000.bin"));
  lap_state_destroy(state);
}

static void no_directory_and_an_empty_one_are_no_failure(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("small", w->comm, false, 1);
  lap_status status;
  bool found = true;
  assert_int_equal(load_newest(w, state, &found, &status), LAP_OK);
  assert_false(found);
  if (root(w)) assert_int_equal(rmdir(w->directory), 0);
  lap_barrier(w->comm);
  found = true;
  assert_int_equal(load_newest(w, state, &found, &status), LAP_OK);
  assert_false(found);
  lap_state_destroy(state);
}

static void another_models_checkpoint_is_refused_by_tensor(void **context) {
  world *w = *context;
  write_step(w, 120);
  lap_state *state = fixture_state("tiny", w->comm, false, 1);
  lap_status status;
  bool found;
  assert_int_equal(load_newest(w, state, &found, &status), LAP_DATA);
  assert_non_null(strstr(status.message,
                         "tensor model.embed_tokens.weight is 1500 x 16, the "
                         "model's is 40 x 16"));
  lap_state_destroy(state);
}

static void a_state_that_is_not_the_one_that_was_hashed_is_refused(void **context) {
  world *w = *context;
  write_step(w, 110);
  write_step(w, 120);
  char *manifest = lap_format("%s/step-00000120/" LAP_MANIFEST_NAME, w->directory), *text;
  lap_barrier(w->comm);
  if (root(w)) { /* someone counts one update less and seals the manifest again */
    lap_status status;
    assert_int_equal(lap_file_read(manifest, 1 << 20, &text, NULL, &status), LAP_OK);
    char *number = strstr(text, "\"applied_updates\": 90"),
         *seal = strstr(text, "  \"manifest_sha");
    assert_non_null(number);
    memcpy(number, "\"applied_updates\": 89", 21);
    uint8_t digest[LAP_SHA256_SIZE];
    char hex[LAP_SHA256_HEX];
    lap_sha256(text, (size_t)(seal - text), digest);
    lap_sha256_hex(digest, hex);
    memcpy(strstr(seal, ": \"") + 3, hex, 64);
    assert_int_equal(lap_file_write(manifest, text, strlen(text), &status), LAP_OK);
    free(text);
  }
  lap_barrier(w->comm);
  expect_newest(w, 110, "step-00000120: the loaded state has state_sha256 ");
  free(manifest);
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
  write_step(w, 110);
  lap_state *state = fixture_state("small", w->comm, false, 120);
  int failures = 0;
  for (rlim_t limit = 0; limit <= 1 << 20; limit = limit * 5 / 3 + 1) {
    lap_barrier(w->comm);
    char *before = listing(w->directory);
    lap_barrier(w->comm);
    if (lap_comm_rank(w->comm) == (failures % 2 ? 0 : last)) limit_file_size(limit);
    lap_status status;
    const lap_code code = try_write(w, state, &status);
    limit_file_size(RLIM_INFINITY);
    if (code == LAP_OK) {
      free(before);
      continue;
    }
    ++failures;
    assert_int_equal(code, LAP_DATA);
    assert_non_null(strstr(status.message, "File too large"));
    char *after = listing(w->directory);
    assert_string_equal(before, after);
    lap_barrier(w->comm);
    free(before);
    free(after);
    expect_newest(w, 110, NULL);
  }
  assert_true(failures >= 8);
  lap_state_destroy(state);
  expect_newest(w, 120, NULL);
}

static void a_directory_that_cannot_be_made_is_a_failure_on_all_ranks(void **context) {
  world *w = *context;
  char *path = lap_format("%s/file", w->directory);
  lap_status status;
  if (root(w)) assert_int_equal(lap_file_write(path, "x", 1, &status), LAP_OK);
  lap_barrier(w->comm);
  lap_state *state = fixture_state("tiny", w->comm, false, 1);
  const lap_checkpoint_extras extras = {"seed: 1\n", NULL, w->numbers};
  char hex[LAP_SHA256_HEX];
  assert_int_equal(lap_checkpoint_write(path, state, w->comm, &extras, hex, &status), LAP_DATA);
  assert_non_null(strstr(status.message, path));
  lap_state_destroy(state);
  free(path);
}

static void a_tokenizer_that_cannot_be_read_is_a_failure_on_all_ranks(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("tiny", w->comm, false, 1);
  const lap_checkpoint_extras extras = {"seed: 1\n", "/nowhere/t.model", w->numbers};
  char hex[LAP_SHA256_HEX];
  lap_status status;
  assert_int_equal(lap_checkpoint_write(w->directory, state, w->comm, &extras, hex, &status),
                   LAP_DATA);
  assert_non_null(strstr(status.message, "/nowhere/t.model"));
  char *all = listing(w->directory);
  assert_null(strstr(all, "step-"));
  free(all);
  lap_barrier(w->comm);
  lap_state_destroy(state);
}

/* --- keeping and deleting --- */

/* The steps that are there, newest first, as text. */
static void expect_steps(world *w, const char *expected) {
  char **names, text[256] = "";
  size_t count;
  lap_status status;
  lap_barrier(w->comm);
  assert_int_equal(lap_checkpoint_list(w->directory, &names, &count, &status), LAP_OK);
  for (size_t i = 0; i < count; ++i)
    sprintf(text + strlen(text), "%s%ld", i ? " " : "", strtol(names[i] + 5, NULL, 10));
  assert_string_equal(text, expected);
  lap_checkpoint_list_destroy(names, count);
  lap_barrier(w->comm);
}

static void prune(world *w, int64_t keep, int64_t keep_every, int64_t best) {
  lap_status status;
  assert_int_equal(lap_checkpoint_prune(w->directory, keep, keep_every, best, w->comm, &status),
                   LAP_OK);
  assert_string_equal(status.message, "");
}

static void pruning_keeps_the_newest_the_multiples_and_the_best(void **context) {
  world *w = *context;
  for (uint64_t step = 1; step <= 8; ++step) write_step(w, step);
  expect_steps(w, "8 7 6 5 4 3 2 1");
  prune(w, 3, 4, 1);
  expect_steps(w, "8 7 6 4 1");
  prune(w, 2, 0, -1);
  expect_steps(w, "8 7");
  prune(w, 0, 0, -1);
  expect_steps(w, "8");
  prune(w, -5, 0, -1);
  expect_steps(w, "8");
  expect_newest(w, 8, NULL);
}

static void pruning_never_counts_one_that_is_not_whole(void **context) {
  world *w = *context;
  for (uint64_t step = 1; step <= 5; ++step) write_step(w, step);
  damage(w, &damages[0], "step-00000005");
  damage(w, &damages[8], "step-00000004");
  damage(w, &damages[0], "step-00000002");
  prune(w, 1, 0, -1);
  expect_steps(w, "5 4 3");
  expect_newest(w, 3, "step 4 is passed over");
}

static void leave(world *w, const char *name) {
  char *path = lap_format("%s/%s", w->directory, name);
  if (root(w)) assert_int_equal(mkdir(path, 0777), 0);
  free(path);
}

static void expect_entry(world *w, const char *name, bool there) {
  char *path = lap_format("%s/%s", w->directory, name);
  lap_barrier(w->comm);
  if (lap_file_exists(path) != there) fail_msg("%s: %s", name, there ? "gone" : "still there");
  free(path);
}

static void leftovers_of_the_dead_are_removed_and_only_those(void **context) {
  world *w = *context;
  char host[200] = "", name[5][300];
  gethostname(host, sizeof host - 1);
  snprintf(name[0], sizeof name[0], "step-00000009.writing-%s-2147483646-0", host);
  snprintf(name[1], sizeof name[1], "step-00000009.writing-%s-1-0", host); /* runs */
  snprintf(name[2], sizeof name[2], "step-00000009.writing-other-host.net-17-3");
  snprintf(name[3], sizeof name[3], "step-00000009.writing-other-host.net-17-4");
  snprintf(name[4], sizeof name[4], "step-00000001.deleted-other-host.net-17-3");
  const char *foreign[] = {"notes", "step-9.writing-a-1-0", "x.writing-a-2147483646-0",
                           "step-00000009.writing-a-b-c", "step-00000009.writing-a-1-2.old"};
  write_step(w, 1);
  for (int i = 0; i < 5; ++i) leave(w, name[i]);
  for (int i = 0; i < 5; ++i) leave(w, foreign[i]);
  char *old = lap_format("%s/%s", w->directory, name[3]);
  const struct timespec long_ago[2] = {{1000000000, 0}, {1000000000, 0}};
  if (root(w)) assert_int_equal(utimensat(AT_FDCWD, old, long_ago, 0), 0);
  free(old);
  prune(w, 3, 0, -1);
  for (int i = 0; i < 5; ++i) expect_entry(w, name[i], i == 1 || i == 2);
  for (int i = 0; i < 5; ++i) expect_entry(w, foreign[i], true);
  expect_newest(w, 1, NULL);
}

static void a_kill_between_two_renames_loses_nothing(void **context) {
  world *w = *context;
  write_step(w, 5);
  lap_barrier(w->comm);
  char *path = lap_format("%s/step-00000005", w->directory);
  char *aside = lap_format("%s.replaced-other-host-17-0", path);
  if (root(w)) assert_int_equal(rename(path, aside), 0);
  lap_barrier(w->comm);
  expect_newest(w, 5, NULL);
  expect_entry(w, "step-00000005.replaced-other-host-17-0", false);
  free(path);
  free(aside);
}

static void a_run_directory_opens_as_its_newest_whole_checkpoint(void **context) {
  world *w = *context;
  char *run = lap_copy_string(w->directory);
  strcat(w->directory, "/checkpoints");
  write_step(w, 1);
  write_step(w, 2);
  damage(w, &damages[8], "step-00000002");
  const char *paths[] = {run, w->directory};
  for (int i = 0; i < 2; ++i) {
    lap_checkpoint *read;
    lap_status status;
    assert_int_equal(lap_checkpoint_open(paths[i], &read, &status), LAP_OK);
    assert_int_equal(read->step, 1);
    assert_int_equal(read->writing_ranks, lap_comm_size(w->comm));
    lap_checkpoint_close(read);
  }
  strcpy(w->directory, run);
  lap_checkpoint *read;
  lap_status status;
  assert_int_equal(lap_checkpoint_open("/nowhere", &read, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "/nowhere"));
  free(run);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_state_hash_is_that_of_its_definition),
      cmocka_unit_test(one_changed_bit_anywhere_changes_the_hash),
      IN_DIRECTORY(what_is_written_is_loaded),
      IN_DIRECTORY(replicated_moments_write_the_same_checkpoint),
      IN_DIRECTORY(the_same_state_again_writes_nothing),
      IN_DIRECTORY(another_state_of_the_same_step_replaces_the_one_there),
      IN_DIRECTORY(weights_alone_are_written_and_read),
      IN_DIRECTORY(a_tensor_larger_than_a_piece_is_cut),
      IN_DIRECTORY(the_one_before_is_loaded_where_the_newest_is_damaged),
      IN_DIRECTORY(where_all_are_damaged_nothing_is_loaded_and_the_newest_is_named),
      IN_DIRECTORY(no_directory_and_an_empty_one_are_no_failure),
      IN_DIRECTORY(another_models_checkpoint_is_refused_by_tensor),
      IN_DIRECTORY(a_state_that_is_not_the_one_that_was_hashed_is_refused),
      IN_DIRECTORY(after_a_failed_write_nothing_has_changed),
      IN_DIRECTORY(a_directory_that_cannot_be_made_is_a_failure_on_all_ranks),
      IN_DIRECTORY(a_tokenizer_that_cannot_be_read_is_a_failure_on_all_ranks),
      IN_DIRECTORY(pruning_keeps_the_newest_the_multiples_and_the_best),
      IN_DIRECTORY(pruning_never_counts_one_that_is_not_whole),
      IN_DIRECTORY(leftovers_of_the_dead_are_removed_and_only_those),
      IN_DIRECTORY(a_kill_between_two_renames_loses_nothing),
      IN_DIRECTORY(a_run_directory_opens_as_its_newest_whole_checkpoint),
  };
  return cmocka_run_group_tests(tests, start, finish);
}
