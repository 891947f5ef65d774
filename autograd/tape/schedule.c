#include "autograd/tape/schedule.h"

#include <stdlib.h>

#include "core/memory.h"

/* --- which ops are recomputed --- */

static bool takes_memory(const lap_op *op) { return op->in_place || op->shares_value; }

/* Ops that the block asks for and no other block uses. An op that takes its input's memory goes
 * with the input: where that is kept, so is the output. */
static void find_candidates(const lap_tape *tape, bool *may) {
  for (int i = 0; i < tape->op_count; ++i) {
    const tape_op *recorded = &tape->ops[i];
    may[i] = recorded->recompute == LAP_RECOMPUTE_BLOCK ||
             (recorded->recompute == LAP_RECOMPUTE_ATTENTION && recorded->op->cheap);
  }
  for (int i = 0; i < tape->op_count; ++i) {
    const tape_op *recorded = &tape->ops[i];
    for (int j = 0; j < LAP_MAX_INPUTS && recorded->input[j] != LAP_NO_VALUE; ++j) {
      const int producer = tape->values[recorded->input[j]].producer;
      if (producer >= 0 && tape->ops[producer].block != recorded->block) may[producer] = false;
    }
  }
  for (int i = 0; i < tape->op_count; ++i)
    if (takes_memory(tape->ops[i].op)) {
      const int producer = tape->values[tape->ops[i].input[0]].producer;
      if (!may[producer]) may[i] = false;
    }
}

/* Of the candidates, those whose output is read by backward or by another recomputation. Consumers
 * come after producers, so one walk from the last to the first finds them all. */
static void mark_recomputed(lap_tape *tape) {
  bool *may = lap_allocate(tape->op_count, sizeof *may);
  bool *needed = lap_allocate(tape->value_count, sizeof *needed);
  find_candidates(tape, may);
  for (int i = tape->op_count - 1; i >= 0; --i) {
    tape_op *recorded = &tape->ops[i];
    const uint32_t reads = recorded->op->backward_reads;
    recorded->recomputed = may[i] && needed[recorded->output];
    for (int j = 0; j < LAP_MAX_INPUTS && recorded->input[j] != LAP_NO_VALUE; ++j)
      if (recorded->recomputed || reads & LAP_READS_INPUT(j)) needed[recorded->input[j]] = true;
  }
  free(may);
  free(needed);
}

/* --- the order of steps --- */

static void add_step(lap_tape *tape, int op, lap_step_kind kind) {
  tape->steps[tape->step_count++] = (tape_step){op, kind};
}

/* The block that ends with op `last`: recomputations in order, then backward in reverse. Returns
 * the op before the block. */
static int add_block_backward(lap_tape *tape, int last) {
  int first = last;
  while (first > 0 && tape->ops[first - 1].block == tape->ops[last].block) --first;
  for (int i = first; i <= last; ++i)
    if (tape->ops[i].recomputed) add_step(tape, i, LAP_STEP_RECOMPUTE);
  for (int i = last; i >= first; --i) add_step(tape, i, LAP_STEP_BACKWARD);
  return first - 1;
}

void lap_tape_schedule(lap_tape *tape, lap_tape_mode mode) {
  free(tape->steps);
  tape->steps = lap_allocate((int64_t)tape->op_count * LAP_STEP_KINDS, sizeof *tape->steps);
  tape->step_count = 0;
  if (mode == LAP_TRAINING)
    mark_recomputed(tape);
  else
    for (int i = 0; i < tape->op_count; ++i) tape->ops[i].recomputed = false;
  for (int i = 0; i < tape->op_count; ++i)
    if (mode != LAP_TRAINING || !tape->ops[i].op->fused_loss) add_step(tape, i, LAP_STEP_FORWARD);
  for (int i = tape->op_count - 1; mode == LAP_TRAINING && i >= 0;) i = add_block_backward(tape, i);
}
