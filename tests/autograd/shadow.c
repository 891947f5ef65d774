#include "tests/autograd/shadow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"

typedef enum { NOTHING, VALUE, GRADIENT, SAVED, SCRATCH } thing;

/* One operand of a step: an interval of the arena and what should lie, or will lie, there. */
typedef struct {
  thing what;
  int index; /* of the value or op */
  int64_t offset, size;
  bool read, written;
} region;

enum { MAX_REGIONS = 2 * LAP_MAX_INPUTS + 4 };

typedef struct {
  const lap_tape *tape;
  const lap_op_extent *extent;
  int64_t *owner; /* [arena_size]: thing and index, 0: nobody */
  int *parts;     /* gradients written into each value's gradient so far */
  region regions[MAX_REGIONS];
  int count;
  int step;
  lap_step_kind kind;
  char *problem;
} shadow;

static int64_t tag(const region *r) { return (int64_t)r->index * 8 + r->what; }

static void complain(shadow *s, const char *fault, const region *r) {
  const char *things[] = {"nothing", "value", "gradient", "saved", "scratch"};
  if (!s->problem)
    s->problem = lap_format("step %d: %s %d at [%" PRId64 ", %" PRId64 "): %s", s->step,
                            things[r->what], r->index, r->offset, r->offset + r->size, fault);
}

static void add(shadow *s, thing what, int index, int64_t offset, int64_t size, bool read,
                bool written) {
  if (size > 0) s->regions[s->count++] = (region){what, index, offset, size, read, written};
}

static bool is_parameter(const shadow *s, lap_value v) { return s->tape->values[v].bucket >= 0; }

static void add_value(shadow *s, lap_value v, bool read, bool written) {
  const tape_value *value = &s->tape->values[v];
  if (!is_parameter(s, v))
    add(s, VALUE, v, lap_tape_slot(s->tape, v, s->kind)->offset, value->rows * value->columns, read,
        written);
}

static void add_gradient(shadow *s, lap_value v, bool read, bool written) {
  const tape_value *value = &s->tape->values[v];
  if (!is_parameter(s, v))
    add(s, GRADIENT, v, value->gradient.offset, value->gradient_rows * value->columns, read,
        written);
}

static void add_memory_of_op(shadow *s, int op) {
  const bool backward = s->kind == LAP_STEP_BACKWARD;
  const tape_op *recorded = &s->tape->ops[op];
  const lap_op_call call = lap_tape_shape_call(s->tape, recorded);
  if (recorded->op->saved_size)
    add(s, SAVED, op, recorded->saved[lap_tape_life(recorded, s->kind)].offset,
        recorded->op->saved_size(&call, s->extent), backward, !backward);
  if (recorded->op->scratch_size)
    add(s, SCRATCH, op, recorded->scratch[s->kind].offset,
        recorded->op->scratch_size(&call, s->extent, backward), false, true);
}

static void collect_forward(shadow *s, int op) {
  const tape_op *recorded = &s->tape->ops[op];
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i)
    add_value(s, recorded->input[i], true, false);
  add_value(s, recorded->output, false, true);
  add_memory_of_op(s, op);
}

static void collect_backward(shadow *s, int op) {
  const tape_op *recorded = &s->tape->ops[op];
  const lap_op *kind = recorded->op;
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i) {
    const lap_value input = recorded->input[i];
    if (kind->backward_reads & LAP_READS_INPUT(i)) add_value(s, input, true, false);
    add_gradient(s, input, s->parts[input] > 0, true);
    if (!is_parameter(s, input) && recorded->accumulate[i] != (s->parts[input] > 0))
      complain(s, "accumulate is wrong", &s->regions[s->count - 1]);
    ++s->parts[input];
  }
  if (kind->fused_loss) add_value(s, recorded->output, false, true);
  if (!kind->fused_loss) add_gradient(s, recorded->output, true, false);
  add_memory_of_op(s, op);
}

/* In place: input 0 and the output, values forward and gradients backward, are one; or their values
 * alone. A gradient that passes through may be, where it is the first part. */
static bool may_share(const shadow *s, const tape_op *recorded, bool backward, const region *a,
                      const region *b) {
  if (a->what != b->what || a->what != (backward ? GRADIENT : VALUE)) return false;
  if (a->offset != b->offset || a->size != b->size) return false;
  const bool ends = (a->index == recorded->input[0] && b->index == recorded->output) ||
                    (b->index == recorded->input[0] && a->index == recorded->output);
  const bool first = s->parts[recorded->input[0]] == 1; /* this step's own */
  const lap_op *op = recorded->op;
  return ends && (op->in_place || (!backward && op->shares_value) ||
                  (backward && op->passes_gradient && first));
}

static void check_region(shadow *s, const region *r) {
  if (r->offset < 0 || r->offset + r->size > s->tape->arena_size) {
    complain(s, "lies outside of the arena", r);
    return;
  }
  if (r->offset * (int64_t)sizeof(real) % LAP_ALIGNMENT) complain(s, "is not aligned", r);
  for (int64_t i = r->offset; r->read && i < r->offset + r->size; ++i)
    if (s->owner[i] != tag(r)) {
      complain(s, "was overwritten before it is read", r);
      return;
    }
}

static void check_step(shadow *s, const tape_op *recorded, bool backward) {
  for (int a = 0; a < s->count; ++a) {
    check_region(s, &s->regions[a]);
    for (int b = 0; b < a; ++b) {
      const region *x = &s->regions[a], *y = &s->regions[b];
      const bool apart = x->offset + x->size <= y->offset || y->offset + y->size <= x->offset;
      if (!apart && !may_share(s, recorded, backward, x, y))
        complain(s, "meets another operand of its step", x);
    }
  }
  for (int a = 0; a < s->count && !s->problem; ++a) {
    const region *r = &s->regions[a];
    for (int64_t i = r->offset; r->written && i < r->offset + r->size; ++i) s->owner[i] = tag(r);
  }
}

/* Before the last op of a block goes backward, ops of the block may be recomputed, each once, in
 * order. Returns the first step after them. */
static int skip_recomputed(shadow *s, int step, int op) {
  const lap_tape *tape = s->tape;
  const bool first = op + 1 == tape->op_count || tape->ops[op + 1].block != tape->ops[op].block;
  for (int before = -1; tape->steps[step].kind == LAP_STEP_RECOMPUTE; ++step) {
    const int made = tape->steps[step].op;
    if (!first || made <= before || made > op || tape->ops[made].block != tape->ops[op].block)
      s->problem = lap_format("step %d recomputes op %d out of order", step, made);
    before = made;
  }
  return step;
}

/* Backward passes every op once, after all forward steps, from the last to the first. */
static void check_schedule(shadow *s, lap_tape_mode mode) {
  const lap_tape *tape = s->tape;
  int expected = 0;
  for (int op = 0; op < tape->op_count; ++op) {
    if (mode == LAP_TRAINING && tape->ops[op].op->fused_loss) continue;
    if (tape->steps[expected].op != op || tape->steps[expected].kind != LAP_STEP_FORWARD)
      s->problem = lap_format("step %d is not op %d forward", expected, op);
    ++expected;
  }
  for (int op = tape->op_count - 1; mode == LAP_TRAINING && op >= 0; --op, ++expected) {
    expected = skip_recomputed(s, expected, op);
    if (tape->steps[expected].op != op || tape->steps[expected].kind != LAP_STEP_BACKWARD)
      s->problem = lap_format("step %d is not op %d backward", expected, op);
  }
  if (expected != tape->step_count) s->problem = lap_format("%d steps", tape->step_count);
}

char *shadow_check(const lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent) {
  shadow s = {.tape = tape, .extent = extent};
  s.owner = lap_allocate(tape->arena_size, sizeof *s.owner);
  s.parts = lap_allocate(tape->value_count, sizeof *s.parts);
  check_schedule(&s, mode);
  for (s.step = 0; s.step < tape->step_count && !s.problem; ++s.step) {
    const tape_step *step = &tape->steps[s.step];
    s.count = 0;
    s.kind = step->kind;
    if (step->kind == LAP_STEP_BACKWARD)
      collect_backward(&s, step->op);
    else
      collect_forward(&s, step->op);
    check_step(&s, &tape->ops[step->op], step->kind == LAP_STEP_BACKWARD);
  }
  if (mode == LAP_FORWARD && !s.problem) { /* the value that the caller reads */
    s.count = 0;
    add_value(&s, tape->value_count - 1, true, false);
    check_region(&s, &s.regions[0]);
  }
  free(s.owner), free(s.parts);
  return s.problem;
}
