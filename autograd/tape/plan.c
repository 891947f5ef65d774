#include "autograd/tape/plan.h"

#include <assert.h>
#include <stdlib.h>

#include "autograd/tape/internal.h"
#include "autograd/tape/schedule.h"
#include "core/memory.h"

/* --- lifetimes --- */

static void use(tape_slot *slot, int64_t size, int step) {
  if (slot->born < 0) slot->born = step;
  if (step > slot->last) slot->last = step;
  slot->size = size;
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

/* Also of a recomputation. */
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
  const lap_step_kind kind = tape->steps[step].kind;
  const bool backward = kind == LAP_STEP_BACKWARD;
  const int64_t saved = op->saved_size ? op->saved_size(&call, extent) : 0;
  const int64_t scratch = op->scratch_size ? op->scratch_size(&call, extent, backward) : 0;
  if (saved) use(&recorded->saved[lap_tape_life(recorded, kind)], saved, step);
  if (scratch) use(&recorded->scratch[kind], scratch, step);
}

static void forget(tape_slot *slots, int count) {
  for (int i = 0; i < count; ++i)
    slots[i] = (tape_slot){.born = -1, .last = -1, .shares = LAP_NO_VALUE};
}

static void find_lifetimes(lap_tape *tape, const lap_op_extent *extent) {
  for (int i = 0; i < tape->value_count; ++i) {
    forget(tape->values[i].value, LAP_LIVES);
    forget(&tape->values[i].gradient, 1);
  }
  for (int i = 0; i < tape->op_count; ++i) {
    forget(tape->ops[i].saved, LAP_LIVES);
    forget(tape->ops[i].scratch, LAP_STEP_KINDS);
  }
  for (int step = 0; step < tape->step_count; ++step) {
    tape_op *recorded = &tape->ops[tape->steps[step].op];
    if (tape->steps[step].kind == LAP_STEP_BACKWARD)
      plan_backward_step(tape, recorded, step);
    else
      plan_forward_step(tape, recorded, step);
    plan_memory_of_op(tape, recorded, extent, step);
  }
}

/* --- offsets --- */

enum { ALIGN = LAP_ALIGNMENT / sizeof(real) };

/* The slots of a value: of its lives, and of its gradient. */
enum { GRADIENT = LAP_LIVES, SLOTS_OF_VALUE };

static tape_slot *slot_of(const lap_tape *tape, lap_value index, int which) {
  tape_value *value = &tape->values[index];
  return which == GRADIENT ? &value->gradient : &value->value[which];
}

/* The slot that this one shares, or itself. */
static tape_slot *owner(const lap_tape *tape, lap_value index, int which) {
  tape_slot *slot = slot_of(tape, index, which);
  while (slot->shares != LAP_NO_VALUE) slot = slot_of(tape, slot->shares, which);
  return slot;
}

static int largest_first(const void *a, const void *b) {
  const tape_slot *x = *(tape_slot *const *)a, *y = *(tape_slot *const *)b;
  if (x->size != y->size) return x->size < y->size ? 1 : -1;
  return x->born - y->born;
}

/* The lowest offset where the slot fits beside those already set whose lifetimes meet its own. */
static int64_t lowest_offset(tape_slot *const *set, int count, const tape_slot *slot) {
  int64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int i = 0; i < count; ++i) {
      const bool together = set[i]->born <= slot->last && slot->born <= set[i]->last;
      if (!together || set[i]->offset >= offset + slot->size ||
          offset >= set[i]->offset + set[i]->size)
        continue;
      offset = set[i]->offset + set[i]->size;
      moved = true;
    }
  }
  return offset;
}

static void collect(tape_slot **slots, int *count, tape_slot *slot) {
  if (slot->born < 0) return;
  slot->size = (slot->size + ALIGN - 1) / ALIGN * ALIGN;
  slots[(*count)++] = slot;
}

/* Shared slots become one: the owner lives as long as all that share it. */
static void merge_shared(const lap_tape *tape) {
  for (int i = 0; i < tape->value_count; ++i)
    for (int which = 0; which < SLOTS_OF_VALUE; ++which) {
      const tape_slot *slot = slot_of(tape, i, which);
      tape_slot *shared = owner(tape, i, which);
      if (slot->born < 0 || slot == shared) continue;
      assert(slot->size == shared->size);
      if (slot->born < shared->born) shared->born = slot->born;
      if (slot->last > shared->last) shared->last = slot->last;
    }
}

static void set_offsets(lap_tape *tape) {
  const int most =
      tape->value_count * SLOTS_OF_VALUE + tape->op_count * (LAP_LIVES + LAP_STEP_KINDS);
  tape_slot **slots = lap_allocate(most, sizeof(tape_slot *));
  int count = 0;
  merge_shared(tape);
  for (int i = 0; i < tape->value_count; ++i)
    for (int which = 0; which < SLOTS_OF_VALUE; ++which)
      if (slot_of(tape, i, which)->shares == LAP_NO_VALUE)
        collect(slots, &count, slot_of(tape, i, which));
  for (int i = 0; i < tape->op_count; ++i) {
    for (int life = 0; life < LAP_LIVES; ++life) collect(slots, &count, &tape->ops[i].saved[life]);
    for (int kind = 0; kind < LAP_STEP_KINDS; ++kind)
      collect(slots, &count, &tape->ops[i].scratch[kind]);
  }
  qsort(slots, (size_t)count, sizeof *slots, largest_first);
  tape->arena_size = 0;
  for (int i = 0; i < count; ++i) {
    slots[i]->offset = lowest_offset(slots, i, slots[i]);
    const int64_t end = slots[i]->offset + slots[i]->size;
    if (end > tape->arena_size) tape->arena_size = end;
  }
  free(slots);
  for (int i = 0; i < tape->value_count; ++i)
    for (int which = 0; which < SLOTS_OF_VALUE; ++which)
      slot_of(tape, i, which)->offset = owner(tape, i, which)->offset;
}

int64_t lap_tape_layout(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent) {
  tape->extent = *extent;
  lap_tape_schedule(tape, mode);
  find_lifetimes(tape, extent);
  if (mode == LAP_FORWARD) {
    /* The caller reads the last value after the run. */
    tape_slot *last = &tape->values[tape->value_count - 1].value[0];
    last->last = tape->step_count;
  }
  set_offsets(tape);
  return lap_tape_bytes(tape);
}

void lap_tape_plan(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent) {
  lap_tape_layout(tape, mode, extent);
  tape->arena = lap_allocate_aligned(tape->arena_size, sizeof(real));
}

int64_t lap_tape_bytes(const lap_tape *tape) { return tape->arena_size * (int64_t)sizeof(real); }

int64_t lap_tape_scratch_bytes(const lap_tape *tape, const lap_op *op) {
  int64_t largest = 0;
  for (int i = 0; i < tape->op_count; ++i)
    for (int kind = 0; kind < LAP_STEP_KINDS; ++kind) {
      const tape_slot *scratch = &tape->ops[i].scratch[kind];
      if (tape->ops[i].op == op && scratch->born >= 0 && scratch->size > largest)
        largest = scratch->size;
    }
  return largest * (int64_t)sizeof(real);
}
