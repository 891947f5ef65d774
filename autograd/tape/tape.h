/* tape: a model recorded once, planned once, replayed each micro-batch.
 *
 * Recording builds a list of ops over values (gemma2/model.c reads like a forward pass on paper).
 * Planning turns it into a schedule of steps: every op forward, then every op backward in reverse.
 * It gives each value and gradient a place in one arena: two live in the same place when their
 * lifetimes on the schedule do not meet. Replaying allocates nothing.
 *
 * Easy to get wrong, and decided here once:
 * - Gradients of a value with several consumers add up in reverse order of recording; the first to
 *   come overwrites, the others accumulate. Gradients of parameters always accumulate (a lane's
 *   micro-batches add up), so the caller zeroes them before a lane.
 * - An op that passes its gradient through (residual) shares memory with its first input's
 *   gradient, if it is the first to come; an in-place op (rope) shares its input's value and
 *   gradient.
 * - Backward needs a value only where the op says so (backward_reads); everything else is freed at
 *   its last forward use.
 */
#ifndef LAP_AUTOGRAD_TAPE_TAPE_H
#define LAP_AUTOGRAD_TAPE_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/core/real.h"
#include "autograd/op/op.h"

typedef struct lap_tape lap_tape;
typedef int lap_value; /* a value of one tape, from lap_tape_parameter or lap_tape_record */

enum { LAP_NO_VALUE = -1 };

lap_tape *lap_tape_create(void);
void lap_tape_destroy(lap_tape *tape);

/* A [rows, columns] matrix that lives outside: element `offset` of the weight vector given to run,
 * its gradient at the same offset of the gradient vector. */
lap_value lap_tape_parameter(lap_tape *tape, int64_t rows, int64_t columns, int64_t offset);

/* Records an op with up to LAP_MAX_INPUTS different inputs (LAP_NO_VALUE ends them) and an output
 * of [rows, columns]. `attributes` are copied. An in-place op must be the only consumer of its
 * input. In training every output but the loss needs a consumer. */
lap_value lap_tape_record(lap_tape *tape, const lap_op *op, const void *attributes,
                          size_t attributes_size, const lap_value inputs[LAP_MAX_INPUTS],
                          int64_t rows, int64_t columns);

typedef enum {
  LAP_TRAINING, /* forward and backward of everything */
  LAP_FORWARD,  /* forward only; the last value stays readable */
} lap_tape_mode;

/* Plans and allocates; once, after recording. `extent` bounds what run will be given (threads is
 * the number of OpenMP threads; it decides scratch memory, never results). */
void lap_tape_plan(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent);

/* The same without memory: the bytes that plan would allocate. */
int64_t lap_tape_layout(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent);
int64_t lap_tape_bytes(const lap_tape *tape);
/* Of these, what ops of this kind have as scratch memory while they run. Other things that do not
 * live at that time lie in the same place. */
int64_t lap_tape_scratch_bytes(const lap_tape *tape, const lap_op *op);

/* Replays the schedule on one micro-batch. `gradients` is NULL in forward mode. In training,
 * gradients of the sum over counted positions are added into `gradients`. */
void lap_tape_run(lap_tape *tape, const real *weights, real *gradients, const lap_batch *batch,
                  const lap_losses *losses);

/* The memory of a value; valid after run for the last recorded value in forward mode. */
const real *lap_tape_value(const lap_tape *tape, lap_value value);

/* --- where the time went --- */

typedef struct {
  const char *name; /* of the op */
  double forward_seconds, backward_seconds;
  double flops; /* useful matrix FLOPs done, forward and backward */
} lap_tape_profile_row;

/* One row for each kind of op, summed since the last reset, at most `capacity`. Their number. */
int lap_tape_profile(const lap_tape *tape, lap_tape_profile_row *rows, int capacity);
void lap_tape_profile_reset(lap_tape *tape);
/* Useful matrix FLOPs since the last reset: forward, and twice that for backward. */
double lap_tape_flops(const lap_tape *tape);
/* What one run over this batch would add to it, and what the forward pass has in that. After plan
 * or layout; of the batch only sequences, length and first are looked at. */
double lap_tape_flops_of(const lap_tape *tape, const lap_batch *batch, double *forward);

#endif
