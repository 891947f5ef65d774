/* op: what an operation is to the tape.
 *
 * One op, one file: forward directly above backward. An op never allocates, never knows the tape,
 * the model or another op: it is handed a call with its operands and works on plain arrays. All
 * matrices are row-major [rows, columns]; a row is one position of the micro-batch (B sequences of
 * T positions, position t of sequence b is row b T + t).
 *
 * Of a model cut into M shards a process holds S. What differs between shards is *stacked*: one
 * matrix of [S BT, columns], shard by shard, so that rope, attention and geglu see S B sequences
 * and need not know. What all shards share is there once. The ops where shards part and meet
 * (embedding, spread, linear, linear_sum, head) take one weight of each shard, run each by matrix
 * products of its own, and bring partial results together by op/shard_group.h.
 */
#ifndef LAP_AUTOGRAD_OP_OP_H
#define LAP_AUTOGRAD_OP_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/kernel/real.h"
#include "autograd/op/objective.h"
#include "autograd/op/shard_group.h"
#include "autograd/op/shard_range.h"

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
  const int32_t *teacher_ids;      /* [B, T, k] */
  const real *teacher_probability; /* [B, T, k], temperature 1 */
  const real *teacher_tail;        /* [B, T]: the stored tail mass r */
  /* [B, T]: what `kl` subtracts: -sum t log t - r log r over the kept ids and the rest, after
   * division by s = sum t + r; NaN where it is not known. */
  const double *teacher_entropy;
} lap_batch;

/* Losses of each position, [B, T] each, written by the head; 0 where not counted. */
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
  real *gradient; /* backward: where d(sum of loss)/d(value) goes (inputs) or lies (output) */
  /* backward, inputs: gradient holds an earlier part; add to it, else overwrite. Always true for
   * weights, which are parameters. */
  bool accumulate;
} lap_operand;

typedef struct {
  const void *attributes; /* the op's own constants, e.g. lap_rmsnorm_attributes */
  lap_operand input[LAP_MAX_INPUTS];
  lap_operand output;
  real *saved;   /* what forward keeps for backward: saved_size() reals */
  real *scratch; /* scratch_size() reals for the duration of the call */
  const lap_batch *batch;
  const lap_losses *losses;     /* head only */
  const lap_shard_group *group; /* NULL where the model is one shard */
} lap_op_call;

/* Sizes that the planner asks before there is memory: values and gradients in `call` are NULL. */
typedef struct {
  int64_t sequences, length, teacher_k, threads;
} lap_op_extent;

typedef struct lap_op {
  const char *name;
  void (*forward)(const lap_op_call *call);
  void (*backward)(const lap_op_call *call);
  int64_t (*saved_size)(const lap_op_call *call, const lap_op_extent *extent); /* NULL: 0 */
  /* Of one pass: forward or backward. NULL: 0 */
  int64_t (*scratch_size)(const lap_op_call *call, const lap_op_extent *extent, bool backward);
  /* Matrix FLOPs of one forward call; backward is twice that. Scores only where visible. Looks at
   * shapes, attributes and the batch, not at values. NULL: 0 */
  double (*flops)(const lap_op_call *call);
  /* Rows of the output's gradient. NULL: as many as of its value. */
  int64_t (*gradient_rows)(const lap_op_call *call);
  uint32_t backward_reads; /* bit i: value of input i */
  bool in_place;           /* output takes input 0's memory; and its gradient, backward */
  bool shares_value;       /* output is input 0, in the same memory; only gradients differ */
  bool passes_gradient;    /* d input 0 = d output: they share memory where nothing came earlier */
  bool fused_loss;         /* backward alone makes losses and gradients; training skips forward */
  bool cheap;              /* LAP_RECOMPUTE_ATTENTION makes it again */
} lap_op;

#define LAP_READS_INPUT(i) (1u << (i))
#define LAP_READS_INPUTS ((1u << LAP_MAX_INPUTS) - 1)

/* --- the ops of Gemma 2 (docs/design.md#model) --- */

/* inputs: S weights [V/M, H]; tokens from the batch. output [BT, H] = weight[token] * scale. */
typedef struct {
  double scale;
  lap_shard_range shards;
} lap_embedding_attributes;
extern const lap_op lap_op_embedding;

/* inputs: x [R, H], weight [1, H]. output = x / sqrt(mean(x^2) + epsilon) * (1 + weight). */
typedef struct {
  double epsilon;
} lap_rmsnorm_attributes;
extern const lap_op lap_op_rmsnorm;

/* Where shards part: input x [R, I], output the same memory with a gradient of its own for each
 * shard, [S R, I], into which the linears below put theirs; their sum over all shards is x's. Not
 * recorded where the model is one shard. */
typedef struct {
  int shards; /* S */
} lap_copy_to_shards_attributes;
extern const lap_op lap_op_copy_to_shards;

/* A projection cut by outputs: inputs x [R, I] and S weights [O, I], O = outputs / M. output
 * [S R, O], shard s: x weight_s^T. No attributes. */
extern const lap_op lap_op_column_linear;

/* A projection cut by inputs: inputs x [S R, I], I = inputs / M, and S weights [O, I]. output
 * [R, O] = sum over all M shards of x_s weight_s^T. No attributes. Not recorded where the model is
 * one shard: then it is a linear. */
extern const lap_op lap_op_row_linear;

/* input: x [S BT, heads * head_dim], rotated in place by its position's angles. */
typedef struct {
  int64_t heads, head_dim;
  const real *cosine, *sine; /* [T, head_dim / 2] each, from lap_rope_table */
} lap_rope_attributes;
extern const lap_op lap_op_rope;
/* cosine and sine [positions, head_dim/2] of position * theta^(-2 i / head_dim). */
void lap_rope_table(int64_t positions, int64_t head_dim, double theta, real *cosine, real *sine);

/* inputs: q [S BT, heads * head_dim], k and v [S BT, kv_heads * head_dim], heads of one shard.
 * output as q. Head h reads key-value head h / (heads / kv_heads). */
typedef struct {
  int64_t heads, kv_heads, head_dim;
  int64_t window; /* keys i - window < j are visible; 0: no limit */
  double scale;   /* query_pre_attn_scalar^-1/2 */
  double softcap; /* 0: off */
} lap_attention_attributes;
extern const lap_op lap_op_attention;

/* inputs: gate [R, I], up [R, I]. output = gelu_tanh(gate) * up. No attributes. */
extern const lap_op lap_op_geglu;

/* inputs: x, y [R, H]. output = x + y. No attributes. */
extern const lap_op lap_op_residual;

/* The tied head with the loss: inputs x [BT, H] and S weights [V/M, H]; output [1, 1], the sum of
 * losses over counted positions. Forward makes losses; backward makes losses and gradients in one
 * pass over chunks of positions, and never holds more than one chunk of logits. Logits never leave
 * their process: what the shards exchange is a few numbers a position, and dx. */
typedef struct {
  double softcap; /* 0: off */
  lap_objective objective;
  lap_shard_range shards;
} lap_lm_head_loss_attributes;
extern const lap_op lap_op_lm_head_loss;

/* Positions a chunk of logits has, a function of the vocabulary (of the whole model) alone. */
int64_t lap_lm_head_chunk(int64_t vocab_size);
/* Reals of one chunk of the logits of these shards; part of the head's scratch memory. */
int64_t lap_lm_head_logits_size(int64_t vocab_size, lap_shard_range shards);

/* logits [rows, V] of rows of x [rows, H] after the final soft-cap: teach, eval, generate. V is
 * that of the weight, which may be one shard's. */
void lap_lm_head_logits(const real *x, const real *weight, int64_t rows, int64_t hidden,
                        int64_t vocab, double softcap, real *logits);

/* One position whose logits are all here: losses from its soft-capped logits z [V]; where
 * `gradient`, z is replaced by d loss / d u with z = softcap tanh(u / softcap), else z is left with
 * -inf at the kept ids. scratch: [2 k]. op/loss_row.h has the same in the steps that shards take
 * together. */
typedef struct {
  double loss, ce, kd, kl;
} lap_row_loss;
lap_row_loss lap_loss_row(real *z, int64_t vocab, int32_t target, int64_t k, const int32_t *ids,
                          const real *probability, real tail, double teacher_entropy,
                          const lap_objective *objective, double softcap, bool gradient,
                          real *scratch);

#endif
