/* op_runner: runs one op by itself on arrays of double, in either build of the autograd.
 *
 * Operands get memory of exactly their size and saved and scratch memory of the op's own sizes, so
 * that AddressSanitizer sees a step outside. Everything an op has no right to read holds NaN:
 * scratch, overwritten gradients, and, before backward, the values that `backward_reads` does not
 * name.
 */
#ifndef TESTS_AUTOGRAD_OP_RUNNER_H
#define TESTS_AUTOGRAD_OP_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/op/objective.h"
#include "tests/autograd/batch.h"

typedef enum {
  OP_EMBEDDING,  /* vocab of the batch, columns: hidden */
  OP_RMSNORM,    /* columns, epsilon */
  OP_LINEAR,     /* columns: in; outputs, of one shard */
  OP_LINEAR_SUM, /* columns: in, of one shard; outputs; shards 2 */
  OP_ROPE,       /* heads, head_dim */
  OP_ATTENTION,  /* heads, kv_heads, head_dim, window, softcap, scale */
  OP_GEGLU,      /* columns */
  OP_RESIDUAL,   /* columns */
  OP_HEAD,       /* vocab of the batch, columns: hidden, softcap, objective */
} op_kind;

typedef struct {
  op_kind kind;
  const test_batch *batch; /* rows are its positions */
  int64_t columns, outputs;
  int64_t heads, kv_heads, head_dim, window;
  double softcap, scale, epsilon;
  lap_objective objective;
  bool holds; /* weights are held in bfloat16 */
  bool share; /* residual: the first input's gradient lies where the output's does */
  /* 2: both shards of a model of two are here, a weight of each; embedding, the linears, head. */
  int shards;
} op_case;

enum { OP_INPUTS = 3 };

typedef struct {
  int inputs;
  int64_t size[OP_INPUTS]; /* of each input */
  bool weight[OP_INPUTS];  /* a weight: its gradient always adds up */
  int64_t output;
} op_shape;
op_shape op_shape_of(const op_case *c);

/* loss, ce, kd, kl of each position, [BT] each; any may be NULL. Written by the head only. */
typedef struct {
  double *loss, *ce, *kd, *kl;
} test_losses;

typedef struct {
  /* On one thread: finite differences call it often. output may be NULL. */
  void (*forward)(const op_case *c, double *const inputs[OP_INPUTS], double *output,
                  const test_losses *losses);
  /* Forward, then backward. gradients [OP_INPUTS]: what is there before (NaN unless `accumulate` or
   * a weight), and after. On `threads` OpenMP threads. */
  void (*backward)(const op_case *c, double *const inputs[OP_INPUTS], const double *d_output,
                   bool accumulate, int threads, double *const gradients[OP_INPUTS],
                   const test_losses *losses);
} op_runner;

extern const op_runner op_runner_float, op_runner_double;

#endif
