#include "autograd/tape/record.h"

#include <assert.h>

#include "autograd/tape/plan.h"

static int64_t rows_of(const lap_tape *tape, lap_value value) { return tape->values[value].rows; }
static int64_t columns_of(const lap_tape *tape, lap_value value) {
  return tape->values[value].columns;
}

#define INPUTS(...) \
  (const lap_value[LAP_MAX_INPUTS]) { __VA_ARGS__ }

lap_value lap_record_embedding(lap_tape *tape, lap_value weight, int64_t rows, double scale) {
  const lap_embedding_attributes attributes = {scale};
  return lap_tape_record(tape, &lap_op_embedding, &attributes, sizeof attributes,
                         INPUTS(weight, LAP_NO_VALUE), rows, columns_of(tape, weight));
}

lap_value lap_record_rmsnorm(lap_tape *tape, lap_value x, lap_value weight, double epsilon) {
  assert(columns_of(tape, x) == columns_of(tape, weight));
  const lap_rmsnorm_attributes attributes = {epsilon};
  return lap_tape_record(tape, &lap_op_rmsnorm, &attributes, sizeof attributes,
                         INPUTS(x, weight, LAP_NO_VALUE), rows_of(tape, x), columns_of(tape, x));
}

lap_value lap_record_linear(lap_tape *tape, lap_value x, lap_value weight) {
  assert(columns_of(tape, x) == columns_of(tape, weight));
  return lap_tape_record(tape, &lap_op_linear, NULL, 0, INPUTS(x, weight, LAP_NO_VALUE),
                         rows_of(tape, x), rows_of(tape, weight));
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

lap_value lap_record_head(lap_tape *tape, lap_value x, lap_value weight,
                          const lap_head_attributes *attributes) {
  assert(columns_of(tape, x) == columns_of(tape, weight));
  return lap_tape_record(tape, &lap_op_head, attributes, sizeof *attributes,
                         INPUTS(x, weight, LAP_NO_VALUE), 1, 1);
}
