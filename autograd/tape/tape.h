/* tape: a model recorded once, planned once, replayed each micro-batch.
 *
 * Recording, here, builds a list of ops over values; gemma2/model.c does it through tape/record.h
 * and reads like a forward pass on paper. Planning (tape/plan.h) turns the list into a schedule of
 * steps and gives each value a slot of memory. Replaying (tape/run.h) allocates nothing.
 *
 * Easy to get wrong, and decided once:
 * - Gradients of a value with several consumers add up in reverse order of recording; the first to
 *   come overwrites, the others accumulate. Gradients of parameters always accumulate (a lane's
 *   micro-batches add up), so the caller zeroes them before a lane.
 * - An op that passes its gradient through (residual) shares memory with its first input's
 *   gradient, if it is the first to come; an in-place op (rope) shares its input's value and
 *   gradient.
 * - Backward needs a value only where the op says so (backward_reads); everything else is freed at
 *   its last forward use.
 * - Ops belong to blocks. A block that recomputes frees values although backward needs them, and
 *   recomputes them just before its first backward step: such a value has two lives, each with a
 *   slot of its own. Only values that backward needs are recomputed, and never those that other
 *   blocks use.
 */
#ifndef LAP_AUTOGRAD_TAPE_TAPE_H
#define LAP_AUTOGRAD_TAPE_TAPE_H

#include <stddef.h>
#include <stdint.h>

#include "autograd/op/op.h"
#include "autograd/tape/recompute.h"
#include "autograd/tape/types.h"

#define lap_tape_create LAP_PRECISION(lap_tape_create)
#define lap_tape_destroy LAP_PRECISION(lap_tape_destroy)
#define lap_tape_block LAP_PRECISION(lap_tape_block)
#define lap_tape_parameter LAP_PRECISION(lap_tape_parameter)
#define lap_tape_record LAP_PRECISION(lap_tape_record)

lap_tape *lap_tape_create(void);
void lap_tape_destroy(lap_tape *tape);

/* Ops recorded from now on belong to `block` (0 before the first call); blocks come in increasing
 * order. `recompute` says which of their values training recomputes. */
void lap_tape_block(lap_tape *tape, int block, lap_recompute recompute);

/* A [rows, columns] matrix that lives outside: element `offset` of bucket `bucket` of the weights
 * given to run, its gradient at the same offset of the gradients. */
lap_value lap_tape_parameter(lap_tape *tape, int64_t rows, int64_t columns, int bucket,
                             int64_t offset);

/* Records an op with up to LAP_MAX_INPUTS different inputs (LAP_NO_VALUE ends them) and an output
 * of [rows, columns]. `attributes` are copied. An in-place op must be the only consumer of its
 * input. In training every output but the loss needs a consumer. Asserts that the op describes all
 * that it must (lap_op_missing). */
lap_value lap_tape_record(lap_tape *tape, const lap_op *op, const void *attributes,
                          size_t attributes_size, const lap_value inputs[LAP_MAX_INPUTS],
                          int64_t rows, int64_t columns);

#endif
