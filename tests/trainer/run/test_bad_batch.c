/* bad_batch: a record is on disk, with its name, before the run goes on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/memory.h"
#include "tests/scratch.h"
#include "trainer/run/bad_batch.h"

/* The linker puts this in the place of fsync. */
int __real_fsync(int descriptor);
int __wrap_fsync(int descriptor);

/* One letter a call: f and d for fsync of a file and of a directory. */
static char journal[16];

int __wrap_fsync(int descriptor) {
  struct stat facts;
  const bool is_directory = fstat(descriptor, &facts) == 0 && S_ISDIR(facts.st_mode);
  const size_t called = strlen(journal);
  if (called + 1 < sizeof journal) journal[called] = is_directory ? 'd' : 'f';
  return __real_fsync(descriptor);
}

/* A later checkpoint counts the step as a bad one: what it had read must not be lost with the
 * machine. */
static void a_record_is_on_disk(void **state) {
  (void)state;
  static const char expected[] =
      "{\"step\": 8, \"loss\": null, \"grad_norm\": 2.0, \"lanes\": [{\"lane\": 0, \"loss\": null, "
      "\"sequences\": []}]}\n";
  char *folder = scratch_create();
  lap_config config = {.run_dir = folder, .mesh = {.pods = 1, .data = 1, .model = 1}};
  const lap_inputs inputs = {0};
  const lap_step_result result = {.loss = NAN, .grad_norm = 2, .bad = true};
  const double losses[] = {INFINITY};
  lap_status status;
  size_t count;
  assert_int_equal(lap_bad_batch_append(&config, &inputs, 7, &result, losses, &status), LAP_OK);
  assert_string_equal(journal, "fd");
  char *text = scratch_read(scratch_path(folder, "bad_batches.jsonl"), &count);
  assert_string_equal(text, expected);
  free(text);
  scratch_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_record_is_on_disk)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
