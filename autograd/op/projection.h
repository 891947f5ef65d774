/* projection: the products of a projection y = x w^T without bias, on one shard.
 *
 * column_linear and row_linear both consist of them; they differ in which of x and y the shards
 * share, so the caller says where each shard's part lies.
 *   x, dx [R, I]     w [O, I]     y, dy [R, O]
 */
#ifndef LAP_AUTOGRAD_OP_PROJECTION_H
#define LAP_AUTOGRAD_OP_PROJECTION_H

#include "autograd/op/op.h"

#define lap_projection_forward LAP_PRECISION(lap_projection_forward)
#define lap_projection_backward LAP_PRECISION(lap_projection_backward)
#define lap_projection_cost LAP_PRECISION(lap_projection_cost)

typedef struct {
  int64_t rows, in, out; /* R, I, O */
  int64_t segment;       /* for backward: positions of a sequence; product.h */
} lap_projection;

/* y = x w^T */
void lap_projection_forward(const lap_projection *p, const real *x, const lap_operand *w, real *y);
/* dx = dy w, added where `adds_to_dx`; dw += dy^T x: a lane's micro-batches add up. */
void lap_projection_backward(const lap_projection *p, const real *dy, const real *x, real *dx,
                             bool adds_to_dx, const lap_operand *w);
/* Of all shards held here. */
void lap_projection_cost(const lap_projection *p, int64_t shards, bool backward,
                         const lap_cost_sink *sink);

#endif
