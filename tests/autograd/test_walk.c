/* walk: the description of a planned tape agrees with the tape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gemma2/model.h"
#include "autograd/tape/internal.h"
#include "autograd/tape/walk.h"
#include "core/memory.h"
#include "tests/autograd/batch.h"

static lap_gemma2 *plan_of(lap_gemma2_mode mode, lap_recompute recompute, lap_shard_range shards) {
  static const lap_objective objective = {0.7, 1, LAP_TAIL_GHOST, 0, 0};
  lap_gemma2_config config = test_small_model(3);
  config.vocab_size = 24, config.intermediate_size = 12;
  return lap_gemma2_record(&config, &(lap_gemma2_recording){.mode = mode,
                                                            .objective = &objective,
                                                            .sequences = 3,
                                                            .length = 17,
                                                            .teacher_k = 6,
                                                            .threads = 2,
                                                            .shards = shards,
                                                            .recompute = recompute});
}

/* Runs `check` for every mode, recomputation and cut. */
static void for_every_plan(void (*check)(const lap_tape *tape)) {
  static const lap_shard_range ranges[] = {{1, 0, 1}, {2, 0, 2}, {2, 1, 1}};
  for (int mode = LAP_GEMMA2_TRAIN; mode <= LAP_GEMMA2_HIDDEN; ++mode)
    for (int recompute = LAP_RECOMPUTE_NONE; recompute <= LAP_RECOMPUTE_ATTENTION; ++recompute)
      for (int r = 0; r < 3; ++r) {
        lap_gemma2 *model = plan_of((lap_gemma2_mode)mode, (lap_recompute)recompute, ranges[r]);
        check(model->tape);
        lap_gemma2_destroy(model);
      }
}

/* --- ops --- */

static void extend(const lap_tape_memory *memory, int64_t *end) {
  if (memory->offset + memory->bytes > *end) *end = memory->offset + memory->bytes;
}

static void check_memory(const lap_tape *tape) {
  int64_t end = 0;
  for (int op = 0; op < lap_tape_op_count(tape); ++op) {
    lap_tape_row row;
    lap_tape_describe(tape, op, &row);
    for (int life = 0; life < LAP_LIVES; ++life) {
      extend(&row.value[life], &end);
      extend(&row.saved[life], &end);
    }
    for (int kind = 0; kind < LAP_STEP_KINDS; ++kind) extend(&row.scratch[kind], &end);
    extend(&row.gradient, &end);
  }
  assert_int_equal(end, lap_tape_bytes(tape));
}

static void all_memory_together_is_the_arena(void **state) {
  (void)state;
  for_every_plan(check_memory);
}

/* Each step of the schedule belongs to one op, of that block. */
static void check_steps(const lap_tape *tape) {
  bool *taken = lap_allocate(tape->step_count, sizeof *taken);
  int steps = 0;
  for (int op = 0; op < lap_tape_op_count(tape); ++op) {
    lap_tape_row row;
    lap_tape_describe(tape, op, &row);
    assert_true(row.op == tape->ops[op].op && row.block == tape->ops[op].block);
    assert_int_equal(row.step[LAP_STEP_RECOMPUTE] >= 0, tape->ops[op].recomputed);
    for (int kind = 0; kind < LAP_STEP_KINDS; ++kind) {
      const int step = row.step[kind];
      if (step < 0) continue;
      assert_true(step < tape->step_count && !taken[step]);
      taken[step] = true;
      ++steps;
    }
  }
  assert_int_equal(steps, tape->step_count);
  free(taken);
}

static void every_step_is_one_of_an_op(void **state) {
  (void)state;
  for_every_plan(check_steps);
}

/* The geglu of the second layer, recomputed. */
static void an_op_is_described(void **state) {
  (void)state;
  lap_gemma2 *model =
      plan_of(LAP_GEMMA2_TRAIN, LAP_RECOMPUTE_ATTENTION, (lap_shard_range){2, 0, 2});
  lap_tape_row row = {0};
  int op = 0;
  while (row.op != &lap_op_geglu || row.block != 2) lap_tape_describe(model->tape, op++, &row);
  const int64_t bytes = 2 * 3 * 17 * 6 * (int64_t)sizeof(real); /* of both shards, half as wide */
  assert_int_equal(row.inputs, 2);
  for (int i = 0; i < 2; ++i) {
    lap_tape_row input;
    lap_tape_describe(model->tape, row.producer[i], &input);
    assert_true(input.op == &lap_op_column_linear);
    assert_int_equal(input.shapes.output.rows, row.shapes.input[i].rows);
    assert_int_equal(input.shapes.output.columns, row.shapes.input[i].columns);
    assert_int_equal(input.value[1].bytes, 0); /* kept */
  }
  for (int life = 0; life < LAP_LIVES; ++life)
    assert_in_range(row.value[life].bytes, bytes, bytes + LAP_ALIGNMENT - 1);
  assert_in_range(row.gradient.bytes, bytes, bytes + LAP_ALIGNMENT - 1);
  assert_int_equal(row.saved[0].bytes, 0);
  assert_true(row.step[LAP_STEP_FORWARD] < row.step[LAP_STEP_RECOMPUTE] &&
              row.step[LAP_STEP_RECOMPUTE] < row.step[LAP_STEP_BACKWARD]);
  lap_tape_describe(model->tape, 0, &row);
  assert_true(row.op == &lap_op_embedding && row.inputs == 2 && row.producer[0] == -1);
  lap_gemma2_destroy(model);
}

/* --- steps --- */

typedef struct {
  const lap_tape *tape;
  int step;
} progress;

static void compare_step(void *context, const lap_tape_visit *visit) {
  progress *p = context;
  const tape_step *step = &p->tape->steps[p->step++];
  const tape_op *recorded = &p->tape->ops[step->op];
  assert_true(visit->op == recorded->op && visit->kind == step->kind &&
              visit->block == recorded->block);
  assert_int_equal(visit->shapes->output.rows, p->tape->values[recorded->output].rows);
  assert_null(visit->shapes->output.value);
  assert_true(visit->extent->length == 17 && visit->extent->teacher_k == 6);
}

static void check_walk(const lap_tape *tape) {
  progress p = {.tape = tape};
  lap_tape_walk(tape, compare_step, &p);
  assert_int_equal(p.step, tape->step_count);
}

static void a_walk_visits_the_schedule(void **state) {
  (void)state;
  for_every_plan(check_walk);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_memory_together_is_the_arena),
      cmocka_unit_test(every_step_is_one_of_an_op),
      cmocka_unit_test(an_op_is_described),
      cmocka_unit_test(a_walk_visits_the_schedule),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
