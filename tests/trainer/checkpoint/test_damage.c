/* damage: a damaged checkpoint is passed over, saying why; nothing wrong is ever loaded. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/world.h"
#include "trainer/checkpoint/manifest.h"

typedef struct {
  const char *what, *file, *notice;
  int (*damage)(const char *path);
} damage_case;

static int lengthen(const char *path) { return truncate(path, 10000000); }
static int empty(const char *path) { return truncate(path, 0); }

static int make_directory_of(const char *path) { return unlink(path) || mkdir(path, 0777); }

static int flip_at(const char *path, double where) {
  struct stat facts;
  unsigned char byte = 0;
  const int file = open(path, O_RDWR);
  if (file < 0 || fstat(file, &facts) != 0) return -1;
  const off_t offset = (off_t)(where * (double)(facts.st_size - 1));
  const bool done =
      pread(file, &byte, 1, offset) == 1 && (byte ^= 4, pwrite(file, &byte, 1, offset) == 1);
  close(file);
  return done ? 0 : -1;
}
static int flip_first(const char *path) { return flip_at(path, 0); }
static int flip_middle(const char *path) { return flip_at(path, 0.5); }
static int flip_last(const char *path) { return flip_at(path, 1); }

static const damage_case damages[] = {
    {"cut", "rank-00000.bin", "rank-00000.bin: is 1000 bytes long, the manifest says", world_cut},
    {"lengthened", "rank-00000.bin", "rank-00000.bin: is 10000000 bytes long", lengthen},
    {"emptied", "rank-00000.bin", "rank-00000.bin: is 0 bytes long", empty},
    {"missing", "rank-00000.bin", "rank-00000.bin: cannot be examined: No such file", unlink},
    {"a directory", "rank-00000.bin", "rank-00000.bin: expected a regular", make_directory_of},
    {"first byte", "rank-00000.bin", "tensor model.embed_tokens.weight, weight", flip_first},
    {"middle byte", "rank-00000.bin", "the file is damaged", flip_middle},
    {"last byte", "rank-00000.bin", "the file is damaged", flip_last},
    {"missing", "manifest.json", "manifest.json: cannot be opened: No such file", unlink},
    {"cut", "manifest.json", "manifest.json: does not end with the checksum", world_cut},
    {"emptied", "manifest.json", "manifest.json: is 0 bytes long", empty},
    {"flipped", "manifest.json", "manifest.json: does not end with the checksum", flip_middle},
    {"flipped", "config.resolved.yaml", "config.resolved.yaml: checksum", flip_middle},
    {"missing", "config.resolved.yaml", "config.resolved.yaml: cannot", unlink},
};

static void the_one_before_is_loaded_where_the_newest_is_damaged(void **context) {
  world *w = *context;
  world_write_step(w, 110);
  for (size_t i = 0; i < sizeof damages / sizeof *damages; ++i) {
    world_write_step(w, 120); /* which also replaces the damaged one */
    world_expect_newest(w, 120, NULL);
    world_damage(w, "step-00000120", damages[i].file, damages[i].damage);
    world_expect_newest(w, 110, damages[i].notice);
    if (world_root(w)) assert_non_null(strstr(w->notices, "step 120 is passed over: "));
  }
}

static void where_all_are_damaged_nothing_is_loaded_and_the_newest_is_named(void **context) {
  world *w = *context;
  world_write_step(w, 110);
  world_write_step(w, 120);
  world_damage(w, "step-00000110", "rank-00000.bin", flip_middle);
  world_damage(w, "step-00000120", "rank-00000.bin", unlink);
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 1);
  lap_status status;
  bool found;
  assert_int_equal(world_load_newest(w, state, &found, &status), LAP_DATA);
  assert_true(found);
  assert_non_null(strstr(status.message, "none of 2 checkpoints can be used; the newest: "));
  assert_non_null(strstr(status.message, "step-00000120/rank-00000.bin"));
  lap_state_destroy(state);
}

static void a_missing_or_empty_directory_is_not_a_failure(void **context) {
  world *w = *context;
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 1);
  lap_status status;
  bool found = true;
  assert_int_equal(world_load_newest(w, state, &found, &status), LAP_OK);
  assert_false(found);
  if (world_root(w)) assert_int_equal(rmdir(w->directory), 0);
  lap_barrier(w->comm);
  found = true;
  assert_int_equal(world_load_newest(w, state, &found, &status), LAP_OK);
  assert_false(found);
  lap_state_destroy(state);
}

static void another_models_checkpoint_is_refused_by_tensor(void **context) {
  world *w = *context;
  world_write_step(w, 120);
  lap_state *state = fixture_state("tiny", w->comm, fixture_sharded, 1);
  lap_status status;
  bool found;
  assert_int_equal(world_load_newest(w, state, &found, &status), LAP_DATA);
  assert_non_null(strstr(status.message,
                         "tensor model.embed_tokens.weight is 1500 x 16, the "
                         "model's is 40 x 16"));
  lap_state_destroy(state);
}

static void a_state_that_is_not_the_one_that_was_hashed_is_refused(void **context) {
  world *w = *context;
  world_write_step(w, 110);
  world_write_step(w, 120);
  char *manifest = lap_format("%s/step-00000120/" LAP_MANIFEST_NAME, w->directory), *text;
  lap_barrier(w->comm);
  if (world_root(w)) { /* someone counts one update less and seals the manifest again */
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
  world_expect_newest(w, 110, "step-00000120: the loaded state has state_sha256 ");
  free(manifest);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(the_one_before_is_loaded_where_the_newest_is_damaged),
      IN_DIRECTORY(where_all_are_damaged_nothing_is_loaded_and_the_newest_is_named),
      IN_DIRECTORY(a_missing_or_empty_directory_is_not_a_failure),
      IN_DIRECTORY(another_models_checkpoint_is_refused_by_tensor),
      IN_DIRECTORY(a_state_that_is_not_the_one_that_was_hashed_is_refused),
  };
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
