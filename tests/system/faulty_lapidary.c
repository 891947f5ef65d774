/* faulty_lapidary: lapidary with a rank that computes wrongly, for tests of the whole program.
 * Linked from the same objects as lapidary itself, which has no such switch (--wrap).
 *
 *   LAPIDARY_TEST_HOSTS=a,b,c                the hosts of ranks 0, 1, 2
 *   LAPIDARY_TEST_FAULT=HOST:STEPS:PASSES    ranks on HOST flip a bit in a gradient of layer 1, in
 *                                            these passes of these steps, "7-7:1-1", both from 1
 *   LAPIDARY_TEST_FLIP=HOST:STEP:WHAT        after this step, in the memory of ranks on HOST, a bit
 *                                            of a moment flips (WHAT: moment), or several make a
 *                                            weight infinite (WHAT: weight)
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/model.h"
#include "trainer/step/step.h"

static const lap_state *state; /* of the stepper */
static lap_block_weights *weights;
static int passes; /* in the step so far */
static const lap_gemma2_pass *current;

const char *__real_lap_comm_host(const lap_comm *comm, int rank);
const char *__wrap_lap_comm_host(const lap_comm *comm, int rank);
lap_stepper *__real_lap_stepper_create(const lap_config *config, const lap_data *data,
                                       uint64_t total_steps, lap_state *of,
                                       lap_block_weights *its_weights);
lap_stepper *__wrap_lap_stepper_create(const lap_config *config, const lap_data *data,
                                       uint64_t total_steps, lap_state *of,
                                       lap_block_weights *its_weights);
lap_code __real_lap_stepper_run(lap_stepper *stepper, lap_step_requests requests,
                                lap_step_result *result, lap_status *status);
lap_code __wrap_lap_stepper_run(lap_stepper *stepper, lap_step_requests requests,
                                lap_step_result *result, lap_status *status);
void __real_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass);
void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass);

const char *__wrap_lap_comm_host(const lap_comm *comm, int rank) {
  enum { HOSTS = 16, NAME = 32 };
  static char hosts[HOSTS][NAME];
  const char *list = getenv("LAPIDARY_TEST_HOSTS");
  if (!list || rank >= HOSTS) return __real_lap_comm_host(comm, rank);
  for (int i = 0; i < rank && *list; ++i) {
    list += strcspn(list, ",");
    list += *list == ',';
  }
  snprintf(hosts[rank], NAME, "%.*s", (int)strcspn(list, ","), list);
  return hosts[rank];
}

lap_stepper *__wrap_lap_stepper_create(const lap_config *config, const lap_data *data,
                                       uint64_t total_steps, lap_state *of,
                                       lap_block_weights *its_weights) {
  state = of;
  weights = its_weights;
  return __real_lap_stepper_create(config, data, total_steps, of, its_weights);
}

static int is_on(const char *host) {
  const lap_comm *comm = state->placement.comm;
  return !strcmp(__wrap_lap_comm_host(comm, lap_comm_rank(comm)), host);
}

static void flip(float *value) {
  uint32_t bits;
  memcpy(&bits, value, sizeof bits);
  bits ^= 1U << 20;
  memcpy(value, &bits, sizeof bits);
}

static void flip_after_step(void) {
  enum { ELEMENT = 5 };
  char host[32] = "", what[32] = "";
  int step;
  const char *fault = getenv("LAPIDARY_TEST_FLIP");
  if (!fault || sscanf(fault, "%31[^:]:%d:%31s", host, &step, what) != 3 || !is_on(host) ||
      (int)state->step != step)
    return;
  lap_block_weights_wait_all(weights);
  const int bucket = state->parameters->block[1].bucket[0];
  if (strcmp(what, "weight") == 0) /* that this rank owns */
    *lap_state_at(state, LAP_WEIGHT, bucket, state->owned[bucket].begin) = INFINITY;
  else
    flip(&state->values[LAP_EXP_AVG][ELEMENT]);
}

lap_code __wrap_lap_stepper_run(lap_stepper *stepper, lap_step_requests requests,
                                lap_step_result *result, lap_status *status) {
  passes = 0;
  const lap_code code = __real_lap_stepper_run(stepper, requests, result, status);
  flip_after_step();
  return code;
}

static int is_faulty(void) {
  char host[32] = "";
  int first_step, last_step, first, last;
  const char *fault = getenv("LAPIDARY_TEST_FAULT");
  if (!state || !fault ||
      sscanf(fault, "%31[^:]:%d-%d:%d-%d", host, &first_step, &last_step, &first, &last) != 5)
    return 0;
  const int step = (int)state->step + 1;
  return is_on(host) && step >= first_step && step <= last_step && passes >= first &&
         passes <= last;
}

static void leave_and_spoil(void *context, int block, bool backward) {
  enum { BLOCK = 2, ELEMENT = 5 };
  if (backward && block == BLOCK && is_faulty())
    flip(current->gradients[state->parameters->block[BLOCK].bucket[0]] + ELEMENT);
  current->hooks->leave(context, block, backward);
}

void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass) {
  if (!pass->hooks || !pass->gradients) {
    __real_lap_gemma2_replay_float(model, pass);
    return;
  }
  ++passes;
  current = pass;
  const lap_block_hooks hooks = {pass->hooks->context, pass->hooks->enter, leave_and_spoil};
  lap_gemma2_pass spoilt = *pass;
  spoilt.hooks = &hooks;
  __real_lap_gemma2_replay_float(model, &spoilt);
}
