/* evaluate: what each rank adds for itself is compared. tests/system/test_evaluation.py checks the
 * figures.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mpi/transport/agree.h"
#include "tests/trainer/step/small_run.h"
#include "trainer/model/evaluate.h"

/* --- a rank whose memory is wrong --- */

static bool spoils; /* what has arrived of rank 0's windows */

void __real_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all);
void __wrap_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all);
void __wrap_lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all) {
  __real_lap_gather_all(comm, mine, count, all);
  if (spoils) ((lap_position_sums *)all)->nats += 1;
}

static const char config_text[] =
    "model: {vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2,\n"
    "  num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 8,\n"
    "  query_pre_attn_scalar: 8}\n"
    "mesh: {data: 4}\nbatch: {sequences: 4}\ndata: {sequence_length: 9}\nschedule: {steps: 1}\n";

static void a_total_that_one_rank_adds_wrongly_is_no_evaluation(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm);
  const lap_synthetic synthetic = {.vocab_size = 40, .windows = 7};
  const lap_data data = {.sequence_length = 9, .synthetic = &synthetic};
  small_run r;
  small_run_start(&r, comm, small_run_config(config_text, NULL, 0), &data);
  const lap_evaluate_request request = {.model = &r.config->model,
                                        .state = r.state,
                                        .weights = r.weights,
                                        .data = &r.data,
                                        .threads = 1};
  for (int wrong = 0; wrong < 2; ++wrong) {
    lap_evaluation evaluation;
    lap_status status = {0};
    spoils = wrong && lap_comm_rank(comm) == ranks - 1;
    const lap_code code = lap_evaluate(&request, &evaluation, &status);
    spoils = false;
    assert_int_equal(code, wrong && ranks > 1 ? LAP_NONFINITE : LAP_OK);
    if (code == LAP_OK)
      assert_true(isfinite(evaluation.loss) && evaluation.windows == 7);
    else
      assert_non_null(strstr(status.message, "work out different sums of an evaluation"));
  }
  small_run_end(&r);
}

/* What a cache of the model itself may be off by, in either direction, is no lead. */
static void a_model_is_not_better_than_itself(void **state) {
  (void)state;
  const double off[] = {0, 3e-8, -3e-8};
  for (size_t i = 0; i < sizeof off / sizeof *off; ++i)
    assert_true(lap_evaluation_lead(&(lap_evaluation){.loss = 4, .teacher_loss = 4 + off[i]}) == 0);
  assert_true(lap_evaluation_lead(&(lap_evaluation){.loss = 4, .teacher_loss = 4.0001}) > 0);
  assert_true(lap_evaluation_lead(&(lap_evaluation){.loss = 4, .teacher_loss = 3.9999}) < 0);
  assert_true(isnan(lap_evaluation_lead(&(lap_evaluation){.loss = 4, .teacher_loss = NAN})));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_total_that_one_rank_adds_wrongly_is_no_evaluation),
      cmocka_unit_test(a_model_is_not_better_than_itself),
  };
  return cmocka_run_group_tests_name("evaluate", tests, small_run_world_start,
                                     small_run_world_finish);
}
