/* residual: z = x + y
 *   x, y [R, H] inputs     z [R, H] output
 */
#include "autograd/op/ops.h"

static void forward(const lap_op_call *call) {
  const int64_t count = call->output.rows * call->output.columns;
  const real *x = call->input[0].value, *y = call->input[1].value;
  real *z = call->output.value;
#pragma omp parallel for schedule(static) if (call->output.rows > 1)
  for (int64_t i = 0; i < count; ++i) z[i] = x[i] + y[i];
}

static void pass(const lap_operand *input, const real *dz, int64_t count) {
  real *dx = input->gradient;
  if (dx == dz) return;    /* shared memory: the gradient is there already */
  if (input->accumulate) { /* NOLINT(bugprone-branch-clone): sees the pragmas alone */
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i) dx[i] += dz[i];
  } else {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i) dx[i] = dz[i];
  }
}

/* dx (+)= dz        dy (+)= dz */
static void backward(const lap_op_call *call) {
  const int64_t count = call->output.rows * call->output.columns;
  pass(&call->input[1], call->output.gradient, count);
  pass(&call->input[0], call->output.gradient, count);
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  (void)extent, (void)backward;
  lap_cost_units(sink, LAP_UNIT_RESIDUAL, call->output.rows * call->output.columns);
}

const lap_op lap_op_residual = {.name = "residual",
                                .forward = forward,
                                .backward = backward,
                                .work = LAP_WORK_ELEMENTS,
                                .cost = cost,
                                .passes_gradient = true};
