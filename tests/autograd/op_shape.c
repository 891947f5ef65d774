#include "tests/autograd/op_runner.h"

/* After the inputs there are, a weight of `elements` for each shard. */
static op_shape with_weights(op_shape shape, const op_case *c, int64_t elements) {
  const int shards = c->shards ? c->shards : 1;
  for (int s = 0; s < shards; ++s) {
    shape.size[shape.inputs] = elements;
    shape.weight[shape.inputs++] = true;
  }
  return shape;
}

op_shape op_shape_of(const op_case *c) {
  const int shards = c->shards ? c->shards : 1;
  const int64_t rows = c->batch->sequences * c->batch->length;
  const int64_t wide = rows * c->columns, table = c->batch->vocab * c->columns;
  const int64_t q = rows * c->heads * c->head_dim, kv = rows * c->kv_heads * c->head_dim;
  switch (c->kind) {
    case OP_EMBEDDING:
      return with_weights((op_shape){.output = wide}, c, table / shards);
    case OP_RMSNORM:
      return (op_shape){2, {wide, c->columns}, {false, true}, wide};
    case OP_LINEAR:
      return with_weights((op_shape){1, {wide}, {false}, shards * rows * c->outputs}, c,
                          c->outputs * c->columns);
    case OP_LINEAR_SUM:
      return with_weights((op_shape){1, {shards * wide}, {false}, rows * c->outputs}, c,
                          c->outputs * c->columns);
    case OP_ROPE:
      return (op_shape){1, {q}, {false}, q};
    case OP_ATTENTION:
      return (op_shape){3, {q, kv, kv}, {false}, q};
    case OP_GEGLU:
    case OP_RESIDUAL:
      return (op_shape){2, {wide, wide}, {false}, wide};
    case OP_HEAD:
      return with_weights((op_shape){1, {wide}, {false}, 1}, c, table / shards);
  }
  return (op_shape){0};
}
