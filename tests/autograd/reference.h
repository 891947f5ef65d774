/* reference: the formulas of docs/design.md#model and docs/design.md#objective as plain loops in
 * long double, written from that page.
 *
 * Nothing here is shared with autograd/: where the two agree, two readings of the formulas do.
 */
#ifndef TESTS_AUTOGRAD_REFERENCE_H
#define TESTS_AUTOGRAD_REFERENCE_H

#include "autograd/op/objective.h"
#include "tests/autograd/batch.h"

typedef struct {
  int64_t heads, kv_heads, head_dim, window;
  double softcap, scale;
} reference_attention_shape;

/* o as q; q, k, v and all gradients in the layouts of op.h; documents from the batch. */
void reference_attention(const reference_attention_shape *shape, const test_batch *batch,
                         const double *q, const double *k, const double *v, double *o);
void reference_attention_gradient(const reference_attention_shape *shape, const test_batch *batch,
                                  const double *q, const double *k, const double *v,
                                  const double *d_o, double *dq, double *dk, double *dv);

typedef struct {
  double loss, ce, kd, kl;
} reference_losses;

/* One position: uncapped logits u [vocab]; the teacher's row; du [vocab] may be NULL. */
reference_losses reference_row(const double *u, int64_t vocab, int32_t target, int64_t k,
                               const int32_t *ids, const double *probability, double tail,
                               const lap_objective *objective, double softcap, double *du);

/* y [rows, columns], with dx, dw from dy where dy is not NULL. */
void reference_rmsnorm(int64_t rows, int64_t columns, double epsilon, const double *x,
                       const double *w, double *y, const double *dy, double *dx, double *dw);

#endif
