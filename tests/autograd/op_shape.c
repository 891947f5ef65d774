#include "tests/autograd/op_runner.h"

op_shape op_shape_of(const op_case *c) {
  const int64_t rows = c->batch->sequences * c->batch->length;
  const int64_t wide = rows * c->columns, table = c->batch->vocab * c->columns;
  const int64_t q = rows * c->heads * c->head_dim, kv = rows * c->kv_heads * c->head_dim;
  switch (c->kind) {
    case OP_EMBEDDING:
      return (op_shape){1, {table}, {true}, wide};
    case OP_RMSNORM:
      return (op_shape){2, {wide, c->columns}, {false, true}, wide};
    case OP_LINEAR:
      return (op_shape){2, {wide, c->outputs * c->columns}, {false, true}, rows * c->outputs};
    case OP_ROPE:
      return (op_shape){1, {q}, {false}, q};
    case OP_ATTENTION:
      return (op_shape){3, {q, kv, kv}, {false}, q};
    case OP_GEGLU:
    case OP_RESIDUAL:
      return (op_shape){2, {wide, wide}, {false}, wide};
    case OP_HEAD:
      return (op_shape){2, {wide, table}, {false, true}, 1};
  }
  return (op_shape){0};
}
