/* world: what the tests of checkpoints do on all ranks of a job: a directory that all
 * see, checkpoints of the states of checkpoint_fixture in it, damage to them, and what is loaded
 * then. Collective where not said otherwise; a failure fails the test.
 */
#ifndef LAP_TESTS_TRAINER_CHECKPOINT_WORLD_H
#define LAP_TESTS_TRAINER_CHECKPOINT_WORLD_H

#include "trainer/checkpoint/checkpoint.h"

typedef struct {
  lap_comm *comm;
  lap_numbers *numbers;
  char directory[1024]; /* of the test that runs, the same on all ranks */
  char notices[4096];   /* of the last load, on rank 0 */
} world;

/* Whether this is rank 0. Not collective. */
bool world_root(const world *w);

/* Set-up and tear-down of a group: the job; of a test: the directory. *state is the world. */
int world_start(void **state);
int world_finish(void **state);
int world_make_directory(void **state);
int world_remove_directory(void **state);
#define IN_DIRECTORY(test) \
  cmocka_unit_test_setup_teardown(test, world_make_directory, world_remove_directory)

/* Writes `state`; writes the small model as it is at `step`, which must succeed. */
lap_code world_try_write(world *w, const lap_state *state, lap_status *status);
void world_write_step(world *w, uint64_t step);

/* Loads the newest whole checkpoint into `state` and keeps what is said of newer ones. */
lap_code world_load_newest(world *w, lap_state *state, bool *found, lap_status *status);
/* The newest whole one is that of `step`, and `notice` (NULL: none) is said of newer ones. */
void world_expect_newest(world *w, uint64_t step, const char *notice);

/* Rank 0 damages STEP/FILE in the directory, all see it. `damage` returns 0. */
void world_damage(world *w, const char *step, const char *file, int (*damage)(const char *path));
/* One kind of damage: leaves 1000 bytes. */
int world_cut(const char *path);

/* Everything below a path with sizes and inodes, in order: equal texts, nothing has changed. Not
 * collective. The caller frees it. */
char *world_listing(const char *directory);

#endif
