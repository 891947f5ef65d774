/* op: what an operation is to the tape, and to the programs that predict a step.
 *
 * One op, one file: forward directly above backward. An op never allocates, never knows the tape,
 * the model or another op: it is handed a call with its operands and works on plain arrays. All
 * matrices are row-major [rows, columns]; a row is one position of the micro-batch (B sequences of
 * T positions, position t of sequence b is row b T + t). op/ops.h lists the ops.
 *
 * Of a model cut into M shards a process holds S. What differs between shards is *stacked*: one
 * matrix of [S BT, columns], shard by shard, so that rope, attention and geglu see S B sequences
 * and need not know. What all shards share is there once. The ops where shards part and meet
 * (embedding, copy_to_shards, column_linear, row_linear, lm_head_loss) take one weight of each
 * shard, run each by matrix products of its own, and bring partial results together by
 * op/shard_group.h.
 */
#ifndef LAP_AUTOGRAD_OP_OP_H
#define LAP_AUTOGRAD_OP_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/kernel/real.h"
#include "autograd/op/cost.h"
#include "autograd/op/input_rows.h"
#include "autograd/op/shard_group.h"
#include "autograd/op/shard_range.h"

#define lap_op_missing LAP_PRECISION(lap_op_missing)
#define lap_op_flops LAP_PRECISION(lap_op_flops)
#define lap_op_computed_flops LAP_PRECISION(lap_op_computed_flops)
#define lap_op_moved LAP_PRECISION(lap_op_moved)

/* --- the micro-batch: what the ops at both ends of the model use besides operands --- */

typedef struct {
  int64_t sequences; /* B */
  int64_t length;    /* T */
  /* each [B, T] */
  const int32_t *tokens;
  const int32_t *document_start; /* of the position: keys document_start <= j <= i are visible */
  const int32_t *targets;        /* the next token, or -1: not counted */
  /* the teacher; k = 0 without one. Unused slots have id -1. */
  int64_t k;
  const int32_t *teacher_ids;      /* [B, T, k], or [k] with one_row */
  const real *teacher_probability; /* likewise, temperature 1 */
  bool one_row;                    /* the teacher says the same at every position */
  const real *teacher_tail;        /* [B, T]: the stored tail mass r */
  /* [B, T]: what `kl` subtracts: -sum t log t - r log r over the kept ids and the rest, after
   * division by s = sum t + r; NaN where it is not known. */
  const double *teacher_entropy;
  /* The micro-batches of a lane share it, and the last one ends the lane. NULL: the lane has no
   * other micro-batch. */
  lap_input_rows *input_rows;
  bool lane_ends;
} lap_batch;

/* Losses of each position, [B, T] each, written by lm_head_loss; 0 where not counted. */
typedef struct {
  double *loss; /* the training objective */
  double *ce;   /* -log p(target) */
  double *kd;   /* -sum P_T log P_S under the tail rule, before distill_weight and tau^2 */
  double *kl;   /* between the K+1 buckets at temperature 1: a lower bound of the true KL */
} lap_losses;

/* --- a call --- */

enum { LAP_MAX_INPUTS = 1 + LAP_MAX_SHARDS };

typedef struct {
  int64_t rows, columns;
  real *value;
  const uint16_t *bfloat16; /* of a weight that is held in bfloat16: `value` is NULL */
  real *gradient; /* backward: where d(sum of loss)/d(value) goes (inputs) or lies (output) */
  /* backward, inputs: gradient holds an earlier part; add to it, else overwrite. Always true for
   * weights, which are parameters. */
  bool accumulate;
  bool is_weight; /* a parameter */
} lap_operand;

typedef struct {
  const void *attributes; /* the op's own constants, e.g. lap_rmsnorm_attributes */
  lap_operand input[LAP_MAX_INPUTS];
  lap_operand output;
  real *saved;   /* what forward keeps for backward: saved_size() reals */
  real *scratch; /* scratch_size() reals for the duration of the call */
  const lap_batch *batch;
  const lap_losses *losses;     /* for ops that make losses */
  const lap_shard_group *group; /* NULL where the model is one shard, or without `shard_calls` */
} lap_op_call;

/* Sizes of the micro-batches to come. Functions that are called before there is a micro-batch get
 * them, with a call that has shapes and attributes only. */
typedef struct {
  int64_t sequences, length, teacher_k, threads;
  bool bfloat16; /* products are in bfloat16 */
  bool openblas; /* products are by OpenBLAS: their bits follow their shapes */
} lap_op_extent;

enum { LAP_MAX_SHARD_CALLS = 6 };

typedef struct lap_op {
  const char *name;
  void (*forward)(const lap_op_call *call);
  void (*backward)(const lap_op_call *call);

  /* --- the memory that a call needs, in reals --- */

  int64_t (*saved_size)(const lap_op_call *call, const lap_op_extent *extent); /* NULL: 0 */
  /* Of one pass: forward or backward. NULL: 0 */
  int64_t (*scratch_size)(const lap_op_call *call, const lap_op_extent *extent, bool backward);
  /* Rows of the output's gradient. NULL: as many as of its value. */
  int64_t (*gradient_rows)(const lap_op_call *call);

  /* --- the cost of a call: required, so that no op is free by mistake --- */

  lap_work work;
  /* Passes to `sink` all work of one call, forward or backward, where every sequence is one
   * document. An op without work has a function that passes nothing. */
  void (*cost)(const lap_op_call *call, const lap_op_extent *extent, bool backward,
               const lap_cost_sink *sink);
  /* Matrix FLOPs of one forward call; backward has twice as many. For an op whose products are not
   * all useful; it may look at shapes, attributes and the batch, not at values. NULL: the FLOPs of
   * the products in `cost`. */
  double (*useful_flops)(const lap_op_call *call);
  /* The calls of `group` that one call of the op makes, in any order: fills `list`
   * [LAP_MAX_SHARD_CALLS] and returns its length. NULL: none, and the op is not given the group. */
  int (*shard_calls)(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                     lap_shard_call *list);

  /* --- how the tape may treat it --- */

  uint32_t backward_reads; /* bit i: value of input i */
  bool in_place;           /* output takes input 0's memory; and its gradient, backward */
  bool shares_value;       /* output is input 0, in the same memory; only gradients differ */
  bool passes_gradient;    /* d input 0 = d output: they share memory where nothing came earlier */
  bool fused_loss;         /* backward alone makes losses and gradients; training skips forward */
  bool cheap;              /* LAP_RECOMPUTE_ATTENTION recomputes it */
  bool gathers;            /* reads one row of its inputs for each row of the output, no more */
} lap_op;

#define LAP_READS_INPUT(i) (1u << (i))
#define LAP_READS_INPUTS ((1u << LAP_MAX_INPUTS) - 1)

/* The name of a required field that an op has not set, or NULL. */
const char *lap_op_missing(const lap_op *op);

/* Useful matrix FLOPs of one forward call. */
double lap_op_flops(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent);
/* FLOPs of all products that one call makes, useful or not. */
double lap_op_computed_flops(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent,
                             bool backward);
/* Compulsory traffic of one call, in bytes: each operand that the call needs is read once, each
 * result written once, and a gradient that is added to is read and written. What lies in scratch,
 * logits among it, is not there: no memory need see it. Where products are in bfloat16, weights are
 * held so. Of the call, shapes, `accumulate` and `is_weight` are looked at. */
double lap_op_moved(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent,
                    bool backward);

#endif
