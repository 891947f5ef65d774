/* hash: that of its definition on however many ranks, and of every bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/world.h"
#include "trainer/state/hash.h"

static void the_state_hash_is_that_of_its_definition(void **context) {
  world *w = *context;
  const char *models[] = {"tiny", "small"};
  for (int m = 0; m < 2; ++m) {
    char expected[LAP_SHA256_HEX], found[LAP_SHA256_HEX];
    fixture_sha256(models[m], 1, 30, expected);
    const fixture_layout layouts[] = {fixture_replicated, fixture_sharded, fixture_full};
    for (int i = 0; i < 3; ++i) {
      lap_state *state = fixture_state(models[m], w->comm, layouts[i], 30);
      lap_state_sha256(state, found);
      assert_string_equal(found, expected);
      lap_state_destroy(state);
    }
  }
}

static void one_changed_bit_anywhere_changes_the_hash(void **context) {
  world *w = *context;
  char before[LAP_SHA256_HEX], after[LAP_SHA256_HEX];
  lap_state *state = fixture_state("small", w->comm, fixture_sharded, 30);
  lap_state_sha256(state, before);
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    for (int64_t i = 0; i < 24000; i += 2999) { /* the embedding has 24,000 elements */
      const lap_range held = lap_state_held(state, (lap_state_kind)kind, 0);
      const bool here = i >= held.begin && i < held.end;
      uint32_t *bits = here ? (uint32_t *)lap_state_at(state, (lap_state_kind)kind, 0, i) : NULL;
      if (here) *bits ^= 1;
      lap_state_sha256(state, after);
      assert_string_not_equal(before, after);
      if (here) *bits ^= 1;
    }
  lap_state_sha256(state, after);
  assert_string_equal(before, after);
  lap_state_destroy(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_state_hash_is_that_of_its_definition),
      cmocka_unit_test(one_changed_bit_anywhere_changes_the_hash),
  };
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
