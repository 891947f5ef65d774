/* record: the ops of op/ops.h as functions from values to values, so that a model reads like its
 * forward pass. Shapes follow from the inputs. */
#ifndef LAP_AUTOGRAD_TAPE_RECORD_H
#define LAP_AUTOGRAD_TAPE_RECORD_H

#include "autograd/op/ops.h"
#include "autograd/tape/tape.h"

#define lap_record_embedding LAP_PRECISION(lap_record_embedding)
#define lap_record_rmsnorm LAP_PRECISION(lap_record_rmsnorm)
#define lap_record_copy_to_shards LAP_PRECISION(lap_record_copy_to_shards)
#define lap_record_column_linear LAP_PRECISION(lap_record_column_linear)
#define lap_record_row_linear LAP_PRECISION(lap_record_row_linear)
#define lap_record_rope LAP_PRECISION(lap_record_rope)
#define lap_record_attention LAP_PRECISION(lap_record_attention)
#define lap_record_geglu LAP_PRECISION(lap_record_geglu)
#define lap_record_residual LAP_PRECISION(lap_record_residual)
#define lap_record_lm_head_loss LAP_PRECISION(lap_record_lm_head_loss)

/* The weights of one matrix, one for each shard held here. */
typedef struct {
  lap_value shard[LAP_MAX_SHARDS];
  int count;
} lap_shard_weights;

/* S weights [V/M, H] -> [rows, H] */
lap_value lap_record_embedding(lap_tape *tape, const lap_shard_weights *weights, int64_t rows,
                               const lap_embedding_attributes *attributes);
/* x [R, H], weight [1, H] -> [R, H] */
lap_value lap_record_rmsnorm(lap_tape *tape, lap_value x, lap_value weight, double epsilon);
/* x [R, I] -> the same memory, for the linears of `shards` shards; x must not be used again */
lap_value lap_record_copy_to_shards(lap_tape *tape, lap_value x, int shards);
/* x [R, I], S weights [O, I] -> [S R, O]; where the model has several shards, x comes from
 * copy_to_shards */
lap_value lap_record_column_linear(lap_tape *tape, lap_value x, const lap_shard_weights *weights);
/* x [S R, I], S weights [O, I] -> [R, O], summed over all shards of the model */
lap_value lap_record_row_linear(lap_tape *tape, lap_value x, const lap_shard_weights *weights);
/* x [S BT, heads D] -> the same memory, rotated; x must not be used again */
lap_value lap_record_rope(lap_tape *tape, lap_value x, const lap_rope_attributes *attributes);
/* q [S BT, N D], k, v [S BT, M D] -> [S BT, N D] */
lap_value lap_record_attention(lap_tape *tape, lap_value q, lap_value k, lap_value v,
                               const lap_attention_attributes *attributes);
/* gate, up [R, I] -> [R, I] */
lap_value lap_record_geglu(lap_tape *tape, lap_value gate, lap_value up);
/* x, y [R, H] -> [R, H] */
lap_value lap_record_residual(lap_tape *tape, lap_value x, lap_value y);
/* x [BT, H], S weights [V/M, H] -> [1, 1], the sum of losses */
lap_value lap_record_lm_head_loss(lap_tape *tape, lap_value x, const lap_shard_weights *weights,
                                  const lap_lm_head_loss_attributes *attributes);

#endif
