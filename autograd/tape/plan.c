#include "autograd/tape/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* --- lifetimes --- */

static void use(tape_slot *place, int64_t size, int step) {
  if (place->born < 0) place->born = step;
  if (step > place->last) place->last = step;
  place->size = size;
}

static void use_value(lap_tape *tape, lap_value index, int step) {
  const tape_value *value = &tape->values[index];
  if (value->bucket >= 0) return;
  use(lap_tape_slot(tape, index, tape->steps[step].kind), value->rows * value->columns, step);
}

static void use_gradient(lap_tape *tape, lap_value index, int step) {
  tape_value *value = &tape->values[index];
  if (value->bucket < 0) use(&value->gradient, value->gradient_rows * value->columns, step);
}

/* Also of a step that makes its output again. */
static void plan_forward_step(lap_tape *tape, tape_op *recorded, int step) {
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i)
    use_value(tape, recorded->input[i], step);
  use_value(tape, recorded->output, step);
  if (recorded->op->in_place || recorded->op->shares_value)
    lap_tape_slot(tape, recorded->output, tape->steps[step].kind)->shares = recorded->input[0];
}

static void plan_backward_step(lap_tape *tape, tape_op *recorded, int step) {
  /* A value that nothing consumes has no gradient: only a loss may end a recording. */
  assert(recorded->op->fused_loss || tape->values[recorded->output].gradient.born >= 0);
  use_gradient(tape, recorded->output, step);
  if (recorded->op->fused_loss) use_value(tape, recorded->output, step);
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i) {
    const lap_value input = recorded->input[i];
    tape_slot *gradient = &tape->values[input].gradient;
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
  const tape_step_kind kind = tape->steps[step].kind;
  const bool backward = kind == STEP_BACKWARD;
  const int64_t saved = op->saved_size ? op->saved_size(&call, extent) : 0;
  const int64_t scratch = op->scratch_size ? op->scratch_size(&call, extent, backward) : 0;
  if (saved) use(&recorded->saved[lap_tape_life(recorded, kind)], saved, step);
  if (scratch) use(&recorded->scratch[kind], scratch, step);
}

static void forget(tape_slot *places, int count) {
  for (int i = 0; i < count; ++i)
    places[i] = (tape_slot){.born = -1, .last = -1, .shares = LAP_NO_VALUE};
}

static void find_lifetimes(lap_tape *tape, const lap_op_extent *extent) {
  for (int i = 0; i < tape->value_count; ++i) {
    forget(tape->values[i].value, LIVES);
    forget(&tape->values[i].gradient, 1);
  }
  for (int i = 0; i < tape->op_count; ++i) {
    forget(tape->ops[i].saved, LIVES);
    forget(tape->ops[i].scratch, STEP_KINDS);
  }
  for (int step = 0; step < tape->step_count; ++step) {
    tape_op *recorded = &tape->ops[tape->steps[step].op];
    if (tape->steps[step].kind == STEP_BACKWARD)
      plan_backward_step(tape, recorded, step);
    else
      plan_forward_step(tape, recorded, step);
    plan_memory_of_op(tape, recorded, extent, step);
  }
}

/* --- places --- */

enum { ALIGN = LAP_ALIGNMENT / sizeof(real) };

/* What of a value: its lives, or its gradient. */
enum { GRADIENT = LIVES, SLOTS_OF_VALUE };

static tape_slot *slot_of(const lap_tape *tape, lap_value index, int which) {
  tape_value *value = &tape->values[index];
  return which == GRADIENT ? &value->gradient : &value->value[which];
}

/* Shared places become one: the owner lives as long as all that share it. Returns the owner. */
static tape_slot *owner(const lap_tape *tape, lap_value index, int which) {
  tape_slot *place = slot_of(tape, index, which);
  while (place->shares != LAP_NO_VALUE) place = slot_of(tape, place->shares, which);
  return place;
}

static int largest_first(const void *a, const void *b) {
  const tape_slot *x = *(tape_slot *const *)a, *y = *(tape_slot *const *)b;
  if (x->size != y->size) return x->size < y->size ? 1 : -1;
  return x->born - y->born;
}

/* The lowest offset where the place fits beside those already set whose lifetimes meet its own. */
static int64_t lowest_offset(tape_slot *const *set, int count, const tape_slot *place) {
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

static void collect(tape_slot **places, int *count, tape_slot *place) {
  if (place->born < 0) return;
  place->size = (place->size + ALIGN - 1) / ALIGN * ALIGN;
  places[(*count)++] = place;
}

static void merge_shared(const lap_tape *tape) {
  for (int i = 0; i < tape->value_count; ++i)
    for (int which = 0; which < SLOTS_OF_VALUE; ++which) {
      const tape_slot *place = slot_of(tape, i, which);
      tape_slot *shared = owner(tape, i, which);
      if (place->born < 0 || place == shared) continue;
      assert(place->size == shared->size);
      if (place->born < shared->born) shared->born = place->born;
      if (place->last > shared->last) shared->last = place->last;
    }
}

static void set_slots(lap_tape *tape) {
  const int most = tape->value_count * SLOTS_OF_VALUE + tape->op_count * (LIVES + STEP_KINDS);
  tape_slot **places = lap_allocate(most, sizeof(tape_slot *));
  int count = 0;
  merge_shared(tape);
  for (int i = 0; i < tape->value_count; ++i)
    for (int which = 0; which < SLOTS_OF_VALUE; ++which)
      if (slot_of(tape, i, which)->shares == LAP_NO_VALUE)
        collect(places, &count, slot_of(tape, i, which));
  for (int i = 0; i < tape->op_count; ++i) {
    for (int life = 0; life < LIVES; ++life) collect(places, &count, &tape->ops[i].saved[life]);
    for (int kind = 0; kind < STEP_KINDS; ++kind)
      collect(places, &count, &tape->ops[i].scratch[kind]);
  }
  qsort(places, (size_t)count, sizeof *places, largest_first);
  tape->arena_size = 0;
  for (int i = 0; i < count; ++i) {
    places[i]->offset = lowest_offset(places, i, places[i]);
    const int64_t end = places[i]->offset + places[i]->size;
    if (end > tape->arena_size) tape->arena_size = end;
  }
  free(places);
  for (int i = 0; i < tape->value_count; ++i)
    for (int which = 0; which < SLOTS_OF_VALUE; ++which)
      slot_of(tape, i, which)->offset = owner(tape, i, which)->offset;
}

int64_t lap_tape_layout(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent) {
  tape->threads = extent->threads;
  lap_tape_schedule(tape, mode);
  find_lifetimes(tape, extent);
  if (mode == LAP_FORWARD) {
    /* The last value is what the caller came for. */
    tape_slot *last = &tape->values[tape->value_count - 1].value[0];
    last->last = tape->step_count;
  }
  set_slots(tape);
  return lap_tape_bytes(tape);
}
