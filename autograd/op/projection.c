#include "autograd/op/projection.h"

#include <assert.h>

#include "autograd/kernel/gemm.h"
#include "autograd/op/cost.h"

void lap_projection_forward(const lap_projection *p, const real *x, const lap_operand *w, real *y) {
  lap_gemm(&(lap_gemm_operands){.m = p->rows,
                                .n = p->out,
                                .k = p->in,
                                .a = x,
                                .lda = p->in,
                                .b = w->value,
                                .b_bfloat16 = w->bfloat16,
                                .ldb = p->in,
                                .transpose_b = true,
                                .c = y,
                                .ldc = p->out});
}

void lap_projection_backward(const lap_projection *p, const real *dy, const real *x, real *dx,
                             bool adds_to_dx, const lap_operand *w) {
  assert(w->accumulate);
  lap_gemm(&(lap_gemm_operands){.m = p->rows,
                                .n = p->in,
                                .k = p->out,
                                .a = dy,
                                .lda = p->out,
                                .b = w->value,
                                .b_bfloat16 = w->bfloat16,
                                .ldb = p->in,
                                .c = dx,
                                .ldc = p->in,
                                .into = lap_gemm_into(adds_to_dx)});
  lap_gemm(&(lap_gemm_operands){.m = p->out,
                                .n = p->in,
                                .k = p->rows,
                                .a = dy,
                                .lda = p->out,
                                .transpose_a = true,
                                .b = x,
                                .ldb = p->in,
                                .c = w->gradient,
                                .ldc = p->in,
                                .into = LAP_MATMUL_ADD,
                                .segment = p->segment});
}

void lap_projection_cost(const lap_projection *p, int64_t shards, bool backward,
                         const lap_cost_sink *sink) {
  if (!backward) {
    lap_cost_product(sink, LAP_PRODUCT_FORWARD, p->rows, p->out, p->in, (double)shards);
    return;
  }
  lap_cost_product(sink, LAP_PRODUCT_INPUT, p->rows, p->in, p->out, (double)shards);
  lap_cost_product(sink, LAP_PRODUCT_WEIGHT, p->out, p->in, p->rows, (double)shards);
}
