#include "autograd/tape/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"

/* --- the schedule --- */

static void make_schedule(lap_tape *tape, lap_tape_mode mode) {
  free(tape->steps);
  tape->steps = lap_allocate((size_t)tape->op_count * 2, sizeof *tape->steps);
  tape->step_count = 0;
  for (int i = 0; i < tape->op_count; ++i) {
    if (mode == LAP_TRAINING && tape->ops[i].op->fused_loss) continue;
    tape->steps[tape->step_count++] = (tape_step){.op = i, .backward = false};
  }
  if (mode == LAP_TRAINING)
    for (int i = tape->op_count - 1; i >= 0; --i)
      tape->steps[tape->step_count++] = (tape_step){.op = i, .backward = true};
}

/* --- lifetimes --- */

static void use(tape_place *place, int64_t size, int step) {
  if (place->born < 0) place->born = step;
  if (step > place->last) place->last = step;
  place->size = size;
}

static void use_value(lap_tape *tape, lap_value index, int step) {
  tape_value *value = &tape->values[index];
  if (value->parameter < 0) use(&value->value, value->rows * value->columns, step);
}

static void use_gradient(lap_tape *tape, lap_value index, int step) {
  tape_value *value = &tape->values[index];
  if (value->parameter < 0) use(&value->gradient, value->rows * value->columns, step);
}

static void plan_forward_step(lap_tape *tape, tape_op *recorded, int step) {
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i)
    use_value(tape, recorded->input[i], step);
  use_value(tape, recorded->output, step);
  if (recorded->op->in_place) tape->values[recorded->output].value.shares = recorded->input[0];
}

static void plan_backward_step(lap_tape *tape, tape_op *recorded, int step) {
  /* A value that nothing consumes has no gradient: only a loss may end a recording. */
  assert(recorded->op->fused_loss || tape->values[recorded->output].gradient.born >= 0);
  use_gradient(tape, recorded->output, step);
  if (recorded->op->fused_loss) use_value(tape, recorded->output, step);
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i) {
    const lap_value input = recorded->input[i];
    tape_place *gradient = &tape->values[input].gradient;
    if (recorded->op->backward_reads & LAP_READS_INPUT(i)) use_value(tape, input, step);
    recorded->accumulate[i] = gradient->born >= 0;
    const bool passes = recorded->op->in_place || recorded->op->passes_gradient;
    if (i == 0 && passes && gradient->born < 0) gradient->shares = recorded->output;
    use_gradient(tape, input, step);
  }
}

static void plan_memory_of_op(lap_tape *tape, tape_op *recorded, const lap_op_extent *extent,
                              int step) {
  const lap_op_call call = lap_tape_shape_call(tape, recorded);
  const lap_op *op = recorded->op;
  const bool backward = tape->steps[step].backward;
  const int64_t saved = op->saved_size ? op->saved_size(&call, extent) : 0;
  const int64_t scratch = op->scratch_size ? op->scratch_size(&call, extent, backward) : 0;
  if (saved) use(&recorded->saved, saved, step);
  if (scratch) use(&recorded->scratch[backward], scratch, step);
}

static void forget(tape_place *place) {
  *place = (tape_place){.born = -1, .last = -1, .shares = LAP_NO_VALUE};
}

static void find_lifetimes(lap_tape *tape, const lap_op_extent *extent) {
  for (int i = 0; i < tape->value_count; ++i) {
    forget(&tape->values[i].value);
    forget(&tape->values[i].gradient);
  }
  for (int i = 0; i < tape->op_count; ++i) {
    forget(&tape->ops[i].saved);
    for (int pass = 0; pass < 2; ++pass) forget(&tape->ops[i].scratch[pass]);
  }
  for (int step = 0; step < tape->step_count; ++step) {
    tape_op *recorded = &tape->ops[tape->steps[step].op];
    if (tape->steps[step].backward)
      plan_backward_step(tape, recorded, step);
    else
      plan_forward_step(tape, recorded, step);
    plan_memory_of_op(tape, recorded, extent, step);
  }
}

/* --- places --- */

enum { ALIGN = LAP_ALIGNMENT / sizeof(real) };

/* Shared places become one: the owner lives as long as all that share it. Returns the owner. */
static tape_place *owner(lap_tape *tape, lap_value index, bool gradient) {
  for (;;) {
    tape_value *value = &tape->values[index];
    tape_place *place = gradient ? &value->gradient : &value->value;
    if (place->shares == LAP_NO_VALUE) return place;
    index = place->shares;
  }
}

static int largest_first(const void *a, const void *b) {
  const tape_place *x = *(tape_place *const *)a, *y = *(tape_place *const *)b;
  if (x->size != y->size) return x->size < y->size ? 1 : -1;
  return x->born - y->born;
}

/* The lowest offset where the place fits beside those already set whose lifetimes meet its own. */
static int64_t lowest_offset(tape_place *const *set, int count, const tape_place *place) {
  int64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int i = 0; i < count; ++i) {
      const bool together = set[i]->born <= place->last && place->born <= set[i]->last;
      if (!together || set[i]->offset >= offset + place->size ||
          offset >= set[i]->offset + set[i]->size)
        continue;
      offset = set[i]->offset + set[i]->size;
      moved = true;
    }
  }
  return offset;
}

static void collect(tape_place **places, int *count, tape_place *place) {
  if (place->born < 0) return;
  place->size = (place->size + ALIGN - 1) / ALIGN * ALIGN;
  places[(*count)++] = place;
}

static void set_places(lap_tape *tape) {
  tape_place **places =
      lap_allocate((size_t)(tape->value_count * 2 + tape->op_count * 3), sizeof(tape_place *));
  int count = 0;
  for (int i = 0; i < tape->value_count; ++i)
    for (int gradient = 0; gradient < 2; ++gradient) {
      tape_value *value = &tape->values[i];
      tape_place *place = gradient ? &value->gradient : &value->value;
      tape_place *shared = owner(tape, i, gradient);
      if (place->born < 0 || place == shared) continue;
      if (place->born < shared->born) shared->born = place->born;
      if (place->last > shared->last) shared->last = place->last;
    }
  for (int i = 0; i < tape->value_count; ++i) {
    if (tape->values[i].value.shares == LAP_NO_VALUE)
      collect(places, &count, &tape->values[i].value);
    if (tape->values[i].gradient.shares == LAP_NO_VALUE)
      collect(places, &count, &tape->values[i].gradient);
  }
  for (int i = 0; i < tape->op_count; ++i) {
    collect(places, &count, &tape->ops[i].saved);
    for (int pass = 0; pass < 2; ++pass) collect(places, &count, &tape->ops[i].scratch[pass]);
  }
  qsort(places, (size_t)count, sizeof *places, largest_first);
  tape->arena_size = 0;
  for (int i = 0; i < count; ++i) {
    places[i]->offset = lowest_offset(places, i, places[i]);
    const int64_t end = places[i]->offset + places[i]->size;
    if (end > tape->arena_size) tape->arena_size = end;
  }
  free(places);
  for (int i = 0; i < tape->value_count; ++i) {
    tape->values[i].value.offset = owner(tape, i, false)->offset;
    tape->values[i].gradient.offset = owner(tape, i, true)->offset;
  }
}

int64_t lap_tape_layout(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent) {
  tape->threads = extent->threads;
  make_schedule(tape, mode);
  find_lifetimes(tape, extent);
  if (mode == LAP_FORWARD) {
    /* The last value is what the caller came for. */
    tape_place *last = &tape->values[tape->value_count - 1].value;
    last->last = tape->step_count;
  }
  set_places(tape);
  return lap_tape_bytes(tape);
}
