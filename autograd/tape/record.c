#include "autograd/tape/record.h"

#include <assert.h>

#include "autograd/tape/internal.h"

static int64_t rows_of(const lap_tape *tape, lap_value value) { return tape->values[value].rows; }
static int64_t columns_of(const lap_tape *tape, lap_value value) {
  return tape->values[value].columns;
}

#define INPUTS(...) \
  (const lap_value[LAP_MAX_INPUTS]) { __VA_ARGS__ }

/* `x` (none where LAP_NO_VALUE), then a weight of each shard, all of one shape. */
static void list_inputs(const lap_tape *tape, lap_value x, const lap_shard_weights *weights,
                        lap_value inputs[LAP_MAX_INPUTS]) {
  assert(weights->count > 0 && weights->count <= LAP_MAX_SHARDS);
  int count = 0;
  if (x != LAP_NO_VALUE) inputs[count++] = x;
  for (int s = 0; s < weights->count; ++s) {
    assert(rows_of(tape, weights->shard[s]) == rows_of(tape, weights->shard[0]));
    assert(columns_of(tape, weights->shard[s]) == columns_of(tape, weights->shard[0]));
    inputs[count++] = weights->shard[s];
  }
  if (count < LAP_MAX_INPUTS) inputs[count] = LAP_NO_VALUE;
}

lap_value lap_record_embedding(lap_tape *tape, const lap_shard_weights *weights, int64_t rows,
                               const lap_embedding_attributes *attributes) {
  assert(weights->count == attributes->shards.count);
  lap_value inputs[LAP_MAX_INPUTS];
  list_inputs(tape, LAP_NO_VALUE, weights, inputs);
  return lap_tape_record(tape, &lap_op_embedding, attributes, sizeof *attributes, inputs, rows,
                         columns_of(tape, weights->shard[0]));
}

lap_value lap_record_rmsnorm(lap_tape *tape, lap_value x, lap_value weight, double epsilon) {
  assert(columns_of(tape, x) == columns_of(tape, weight));
  const lap_rmsnorm_attributes attributes = {epsilon};
  return lap_tape_record(tape, &lap_op_rmsnorm, &attributes, sizeof attributes,
                         INPUTS(x, weight, LAP_NO_VALUE), rows_of(tape, x), columns_of(tape, x));
}

lap_value lap_record_copy_to_shards(lap_tape *tape, lap_value x, int shards) {
  const lap_copy_to_shards_attributes attributes = {shards};
  return lap_tape_record(tape, &lap_op_copy_to_shards, &attributes, sizeof attributes,
                         INPUTS(x, LAP_NO_VALUE), rows_of(tape, x), columns_of(tape, x));
}

lap_value lap_record_column_linear(lap_tape *tape, lap_value x, const lap_shard_weights *weights) {
  const lap_value first = weights->shard[0];
  assert(columns_of(tape, x) == columns_of(tape, first));
  assert(tape->values[x].gradient_rows == weights->count * rows_of(tape, x));
  lap_value inputs[LAP_MAX_INPUTS];
  list_inputs(tape, x, weights, inputs);
  return lap_tape_record(tape, &lap_op_column_linear, NULL, 0, inputs,
                         weights->count * rows_of(tape, x), rows_of(tape, first));
}

lap_value lap_record_row_linear(lap_tape *tape, lap_value x, const lap_shard_weights *weights) {
  const lap_value first = weights->shard[0];
  assert(columns_of(tape, x) == columns_of(tape, first));
  assert(rows_of(tape, x) % weights->count == 0);
  lap_value inputs[LAP_MAX_INPUTS];
  list_inputs(tape, x, weights, inputs);
  return lap_tape_record(tape, &lap_op_row_linear, NULL, 0, inputs,
                         rows_of(tape, x) / weights->count, rows_of(tape, first));
}

lap_value lap_record_rope(lap_tape *tape, lap_value x, const lap_rope_attributes *attributes) {
  assert(columns_of(tape, x) == attributes->heads * attributes->head_dim);
  return lap_tape_record(tape, &lap_op_rope, attributes, sizeof *attributes,
                         INPUTS(x, LAP_NO_VALUE), rows_of(tape, x), columns_of(tape, x));
}

lap_value lap_record_attention(lap_tape *tape, lap_value q, lap_value k, lap_value v,
                               const lap_attention_attributes *attributes) {
  assert(columns_of(tape, q) == attributes->heads * attributes->head_dim);
  assert(columns_of(tape, k) == attributes->kv_heads * attributes->head_dim);
  return lap_tape_record(tape, &lap_op_attention, attributes, sizeof *attributes,
                         INPUTS(q, k, v, LAP_NO_VALUE), rows_of(tape, q), columns_of(tape, q));
}

lap_value lap_record_geglu(lap_tape *tape, lap_value gate, lap_value up) {
  assert(columns_of(tape, gate) == columns_of(tape, up));
  return lap_tape_record(tape, &lap_op_geglu, NULL, 0, INPUTS(gate, up, LAP_NO_VALUE),
                         rows_of(tape, gate), columns_of(tape, gate));
}

lap_value lap_record_residual(lap_tape *tape, lap_value x, lap_value y) {
  assert(columns_of(tape, x) == columns_of(tape, y));
  return lap_tape_record(tape, &lap_op_residual, NULL, 0, INPUTS(x, y, LAP_NO_VALUE),
                         rows_of(tape, x), columns_of(tape, x));
}

lap_value lap_record_lm_head_loss(lap_tape *tape, lap_value x, const lap_shard_weights *weights,
                                  const lap_lm_head_loss_attributes *attributes) {
  assert(columns_of(tape, x) == columns_of(tape, weights->shard[0]));
  assert(weights->count == attributes->shards.count);
  lap_value inputs[LAP_MAX_INPUTS];
  list_inputs(tape, x, weights, inputs);
  return lap_tape_record(tape, &lap_op_lm_head_loss, attributes, sizeof *attributes, inputs, 1, 1);
}
