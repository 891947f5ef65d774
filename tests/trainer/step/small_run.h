/* small_run: a run of the real trainer, from its config to its stepper, small enough for a unit
 * test. Whatever is refused on the way fails the test.
 */
#ifndef LAP_TESTS_TRAINER_STEP_SMALL_RUN_H
#define LAP_TESTS_TRAINER_STEP_SMALL_RUN_H

#include "trainer/config/config.h"
#include "trainer/step/step.h"

typedef struct {
  lap_comm *comm;
  lap_config *config;
  lap_synthetic synthetic;
  lap_data data;
  lap_state *state;
  lap_block_weights *weights;
  lap_stepper *stepper;
} small_run;

/* Group fixtures, as those of tests/mpi/world.h: the job, and our own products in float32. */
int small_run_world_start(void **state);
int small_run_world_finish(void **state);

/* Fixtures of a test: our own products in bfloat16, which runs must say too; float32 again. */
int small_run_in_bfloat16(void **state);
int small_run_in_float32(void **state);
/* A test in both precisions, in a list of tests. */
#define IN_BOTH(test)     \
  cmocka_unit_test(test), \
      cmocka_unit_test_setup_teardown(test, small_run_in_bfloat16, small_run_in_float32)

/* A config of three lanes with two micro-batches each, whose gradients are clipped. */
extern const char small_run_text[];
/* From the text of a config and "key=value" overrides. */
lap_config *small_run_config(const char *text, const char *const *overrides, size_t count);

/* Collective. A fresh run of as many steps as the config says, on one thread; it takes the config.
 * `data` NULL: made up, without a teacher. */
void small_run_start(small_run *run, lap_comm *comm, lap_config *config, const lap_data *data);
void small_run_end(small_run *run);

/* Collective. Of the state, once the weights have arrived. */
void small_run_sha256(small_run *run, char hex[LAP_SHA256_HEX]);

#endif
