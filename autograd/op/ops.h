/* ops: the ops of Gemma 2 (docs/design.md#model), each with its operands and attributes.
 *
 * A new op gets its declaration here and a line in lap_op_table: the tests hold every op of the
 * table to its description (op.h).
 */
#ifndef LAP_AUTOGRAD_OP_OPS_H
#define LAP_AUTOGRAD_OP_OPS_H

#include "autograd/op/objective.h"
#include "autograd/op/op.h"

#define lap_op_embedding LAP_PRECISION(lap_op_embedding)
#define lap_op_rmsnorm LAP_PRECISION(lap_op_rmsnorm)
#define lap_op_copy_to_shards LAP_PRECISION(lap_op_copy_to_shards)
#define lap_op_column_linear LAP_PRECISION(lap_op_column_linear)
#define lap_op_row_linear LAP_PRECISION(lap_op_row_linear)
#define lap_op_rope LAP_PRECISION(lap_op_rope)
#define lap_op_attention LAP_PRECISION(lap_op_attention)
#define lap_op_geglu LAP_PRECISION(lap_op_geglu)
#define lap_op_residual LAP_PRECISION(lap_op_residual)
#define lap_op_lm_head_loss LAP_PRECISION(lap_op_lm_head_loss)
#define lap_rope_table LAP_PRECISION(lap_rope_table)
#define lap_lm_head_chunk LAP_PRECISION(lap_lm_head_chunk)
#define lap_lm_head_logits LAP_PRECISION(lap_lm_head_logits)

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
 * shard, [S R, I], into which the column_linears below put theirs; their sum over all shards is
 * x's. Not recorded where the model is one shard. */
typedef struct {
  int shards; /* S */
} lap_copy_to_shards_attributes;
extern const lap_op lap_op_copy_to_shards;

/* A projection cut by outputs: inputs x [R, I] and S weights [O, I], O = outputs / M. output
 * [S R, O], shard s: x weight_s^T. No attributes. */
extern const lap_op lap_op_column_linear;

/* A projection cut by inputs: inputs x [S R, I], I = inputs / M, and S weights [O, I]. output
 * [R, O] = sum over all M shards of x_s weight_s^T. No attributes. Not recorded where the model is
 * one shard: then it is a column_linear. */
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

/* Positions of a chunk of logits, a function of the ids that it has logits of and the length of a
 * sequence: several whole sequences, or a part of one. */
int64_t lap_lm_head_chunk(int64_t ids, int64_t length);

/* logits [rows, V] of rows of x [rows, H] and a weight [V, H], which may be one shard's, after the
 * final soft-cap: teach, eval, generate. */
void lap_lm_head_logits(const real *x, const lap_operand *weight, int64_t rows, double softcap,
                        real *logits);

/* All of them. */
static const lap_op *const lap_op_table[] = {
    &lap_op_embedding,  &lap_op_rmsnorm,     &lap_op_copy_to_shards, &lap_op_column_linear,
    &lap_op_row_linear, &lap_op_rope,        &lap_op_attention,      &lap_op_geglu,
    &lap_op_residual,   &lap_op_lm_head_loss};
enum { LAP_OPS = sizeof lap_op_table / sizeof *lap_op_table };

#endif
