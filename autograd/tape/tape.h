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
 * - Ops belong to blocks. A block that recomputes frees values although backward needs them, and
 *   makes them again just before its first backward step: such a value has two lives, each with a
 *   place of its own. Only what backward needs is made again, and never what other blocks use.
 */
#ifndef LAP_AUTOGRAD_TAPE_TAPE_H
#define LAP_AUTOGRAD_TAPE_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/kernel/real.h"
#include "autograd/op/op.h"
#include "autograd/tape/recompute.h"

typedef struct lap_tape lap_tape;
typedef int lap_value; /* a value of one tape, from lap_tape_parameter or lap_tape_record */

enum { LAP_NO_VALUE = -1 };

lap_tape *lap_tape_create(void);
void lap_tape_destroy(lap_tape *tape);

/* Ops recorded from now on belong to `block` (0 before the first call); blocks come in increasing
 * order. In training, backward makes again what `recompute` says. */
void lap_tape_block(lap_tape *tape, int block, lap_recompute recompute);

/* A [rows, columns] matrix that lives outside: element `offset` of bucket `bucket` of the weights
 * given to run, its gradient at the same place of the gradients. */
lap_value lap_tape_parameter(lap_tape *tape, int64_t rows, int64_t columns, int bucket,
                             int64_t offset);

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

/* Called around the steps of a block, on the calling thread. Each block is entered and left once
 * forward, in increasing order, and in training once backward, in decreasing order; what backward
 * makes again lies between its enter and leave backward. */
typedef struct {
  void *context;
  /* Before the block's first step: its weights must be there when this returns, at the pointers
   * that the pass's table then holds. */
  void (*enter)(void *context, int block, bool backward);
  /* After its last step. Forward: its weights are not needed until its backward. Backward: they are
   * not needed any more, and this micro-batch has added all it adds to the block's gradients. */
  void (*leave)(void *context, int block, bool backward);
} lap_block_hooks;

/* One micro-batch. The tables of pointers are read at each step: between blocks, hooks may change
 * them. */
typedef struct {
  const real *const *weights; /* [buckets] */
  real *const *gradients;     /* [buckets], added to; NULL in forward mode */
  const lap_batch *batch;
  const lap_losses *losses;     /* written by the head; NULL without one */
  const lap_shard_group *group; /* NULL where the model is one shard */
  const lap_block_hooks *hooks; /* NULL: none */
} lap_tape_pass;

/* Replays the schedule. In training, gradients of the sum over counted positions are added. */
void lap_tape_run(lap_tape *tape, const lap_tape_pass *pass);

/* The memory of a value; valid after run for the last recorded value in forward mode. */
const real *lap_tape_value(const lap_tape *tape, lap_value value);

/* --- where the time went --- */

typedef struct {
  const char *name; /* of the op */
  double forward_seconds, backward_seconds;
  double recompute_seconds; /* making values again for backward; in neither of the two above */
  double flops; /* useful matrix FLOPs done, forward and backward; not those made again */
} lap_tape_profile_row;

/* One row for each kind of op, summed since the last reset, at most `capacity`. Their number. */
int lap_tape_profile(const lap_tape *tape, lap_tape_profile_row *rows, int capacity);
void lap_tape_profile_reset(lap_tape *tape);
/* Useful matrix FLOPs of this process since the last reset: forward, and twice that for backward.
 */
double lap_tape_flops(const lap_tape *tape);
/* What one run over this batch would add to it, and what the forward pass has in that. After plan
 * or layout; of the batch only sequences, length and first are looked at. */
double lap_tape_flops_of(const lap_tape *tape, const lap_batch *batch, double *forward);

/* --- what a run will do, without running it: for predictions --- */

typedef enum { LAP_VISIT_FORWARD, LAP_VISIT_RECOMPUTE, LAP_VISIT_BACKWARD } lap_visit;

/* Calls `visit` for every step of the schedule in order (after plan or layout), with the block it
 * belongs to and a call that has shapes and attributes only, its batch NULL. */
void lap_tape_walk(const lap_tape *tape,
                   void (*visit)(void *context, const lap_op *op, const lap_op_call *shapes,
                                 lap_visit kind, int block),
                   void *context);

#endif
