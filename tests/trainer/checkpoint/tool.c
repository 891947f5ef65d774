/* tool: one act on a checkpoint directory, for tests over several jobs.
 *
 *   write DIR MODEL STEP     writes a checkpoint, prints its state_sha256
 *   load DIR MODEL [SHA256]  loads the newest, sharded, full and replicated; every element must be
 *                            right
 *   replace DIR MODEL STEP   writes one that differs from that of `write` in a count, prunes to it
 *   loop DIR MODEL SECONDS   writes step after step, each twice with another count, prunes to two;
 *                            one rank is killed at a random moment before SECONDS have passed
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mpi/transport/agree.h"
#include "tests/trainer/checkpoint/fixture.h"

typedef struct {
  const char *directory, *model, *argument;
  lap_comm *comm;
  lap_numbers *numbers;
} act;

static void report(void *context, const char *text) {
  (void)context;
  fprintf(stderr, "notice: %s\n", text);
}

static lap_code write_one(const act *a, const lap_state *state, char hex[LAP_SHA256_HEX],
                          lap_status *status) {
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n", .numbers = a->numbers};
  return lap_checkpoint_write(a->directory, state, &extras, hex, status);
}

static lap_code write_step(const act *a, lap_status *status) {
  lap_state *state =
      fixture_state(a->model, a->comm, fixture_sharded, strtoull(a->argument, NULL, 10));
  char hex[LAP_SHA256_HEX];
  const lap_code code = write_one(a, state, hex, status);
  if (code == LAP_OK && lap_comm_rank(a->comm) == 0) puts(hex);
  lap_state_destroy(state);
  return code;
}

static lap_code replace_step(const act *a, lap_status *status) {
  lap_state *state =
      fixture_state(a->model, a->comm, fixture_sharded, strtoull(a->argument, NULL, 10));
  char hex[LAP_SHA256_HEX];
  --state->applied_updates;
  lap_code code = write_one(a, state, hex, status);
  if (code == LAP_OK)
    code = lap_checkpoint_prune(a->directory, &(lap_checkpoint_keep){1, 0, -1}, a->comm, status);
  lap_state_destroy(state);
  return code;
}

static lap_code load_newest(const act *a, fixture_layout layout, lap_status *status) {
  lap_state *state = fixture_state(a->model, a->comm, layout, 9999);
  lap_checkpoint *loaded;
  bool found;
  lap_code code =
      lap_checkpoint_load_newest(a->directory, state, report, NULL, &found, &loaded, status);
  if (code == LAP_OK && !found) code = lap_fail(status, LAP_DATA, "there is none");
  /* Of what `loop` and `replace` leave, either of the two states of a step is right. */
  const int64_t allowed = a->argument ? 0 : 1;
  if (code == LAP_OK && fixture_differences(state, loaded->step) > allowed)
    code = lap_fail(status, LAP_DATA, "loaded, but not what was written");
  if (code == LAP_OK && a->argument && strcmp(loaded->state_sha256, a->argument) != 0)
    code = lap_fail(status, LAP_DATA, "another state: %s", loaded->state_sha256);
  lap_checkpoint_close(loaded);
  lap_state_destroy(state);
  return code;
}

static lap_code load_all_ways(const act *a, lap_status *status) {
  LAP_TRY(load_newest(a, fixture_sharded, status));
  LAP_TRY(load_newest(a, fixture_full, status));
  return load_newest(a, fixture_replicated, status);
}

static void *kill_later(void *seconds) {
  usleep((useconds_t)(1e6 * *(double *)seconds));
  kill(getpid(), SIGKILL);
  return NULL;
}

/* Arms the victim; which one and when comes from rank 0. */
static void arm(const act *a, double *seconds) {
  static pthread_t thread;
  int victim = 0;
  srand48(getpid());
  *seconds = strtod(a->argument, NULL) * drand48();
  victim = (int)(lrand48() % lap_comm_size(a->comm));
  lap_broadcast(a->comm, seconds, sizeof *seconds, 0);
  lap_broadcast(a->comm, &victim, sizeof victim, 0);
  if (lap_comm_rank(a->comm) == victim && pthread_create(&thread, NULL, kill_later, seconds) != 0)
    abort();
}

/* Goes on from the newest. Ends by being killed, or by a failure. */
static lap_code write_for_ever(const act *a, lap_status *status) {
  lap_state *state = fixture_state(a->model, a->comm, fixture_sharded, 0);
  lap_checkpoint *loaded;
  char hex[LAP_SHA256_HEX];
  double seconds;
  bool found;
  LAP_TRY(lap_checkpoint_load_newest(a->directory, state, report, NULL, &found, &loaded, status));
  arm(a, &seconds);
  for (uint64_t step = state->step + 1;; ++step) {
    /* Each step twice: what is there is replaced by a state with another count of updates. */
    fixture_fill(state, step);
    LAP_TRY(write_one(a, state, hex, status));
    --state->applied_updates;
    LAP_TRY(write_one(a, state, hex, status));
    LAP_TRY(lap_checkpoint_prune(a->directory, &(lap_checkpoint_keep){2, 0, -1}, a->comm, status));
  }
}

int main(int argc, char **argv) {
  lap_status status = {.code = LAP_OK};
  act a = {.numbers = fixture_numbers()};
  if (argc < 4 || lap_comm_start(&a.comm, LAP_WATCHDOG_SECONDS, &status) != LAP_OK)
    return LAP_USAGE;
  lap_comm_set_watchdog(a.comm, 60);
  a.directory = argv[2];
  a.model = argv[3];
  a.argument = argv[4];
  if (strcmp(argv[1], "write") == 0) status.code = write_step(&a, &status);
  if (strcmp(argv[1], "load") == 0) status.code = load_all_ways(&a, &status);
  if (strcmp(argv[1], "replace") == 0) status.code = replace_step(&a, &status);
  if (strcmp(argv[1], "loop") == 0) status.code = write_for_ever(&a, &status);
  if (status.code != LAP_OK) fprintf(stderr, "%s: %s\n", argv[1], status.message);
  lap_numbers_destroy(a.numbers);
  lap_comm_finish(a.comm);
  return status.code;
}
