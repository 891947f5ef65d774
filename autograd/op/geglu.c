/* geglu: y = gelu(g) * u, gelu(g) = g/2 (1 + tanh(c (g + a g^3))), c = sqrt(2/pi), a = 0.044715
 *   g, u [R, I] inputs     y [R, I] output     (Shazeer 2020; the tanh form of Hendrycks & Gimpel)
 */
#include <string.h>

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/wide.h"
#include "autograd/op/ops.h"

static const real C = (real)0.79788456080286535588;
static const real A = (real)0.044715;

LAP_WIDE
static void forward_row(const real *g, const real *u, int64_t columns, real *y) {
  for (int64_t j = 0; j < columns; ++j) {
    const real t = lap_tanh(C * (g[j] + A * g[j] * g[j] * g[j]));
    y[j] = (real)0.5 * g[j] * (1 + t) * u[j];
  }
}

static void forward(const lap_op_call *call) {
  const int64_t rows = call->output.rows, columns = call->output.columns;
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t r = 0; r < rows; ++r)
    forward_row(call->input[0].value + r * columns, call->input[1].value + r * columns, columns,
                call->output.value + r * columns);
}

typedef struct {
  real g, u;
} gradients;

/* du = dy gelu(g)
 * dg = dy u (1/2 (1 + t) + g/2 (1 - t^2) c (1 + 3 a g^2)) */
static inline gradients gradients_of(real g, real u, real dy) {
  const real half = (real)0.5;
  const real t = lap_tanh(C * (g + A * g * g * g));
  const real slope = half * (1 + t) + half * g * (1 - t * t) * C * (1 + 3 * A * g * g);
  return (gradients){dy * u * slope, dy * half * g * (1 + t)};
}

/* As adding to zero: -0 becomes +0. */
LAP_WIDE
static void backward_row(const real *g, const real *u, const real *dy, int64_t columns, real *dg,
                         real *du) {
  for (int64_t j = 0; j < columns; ++j) {
    const gradients d = gradients_of(g[j], u[j], dy[j]);
    dg[j] = 0 + d.g;
    du[j] = 0 + d.u;
  }
}

/* g and u may be one value: dg and du then are one gradient. */
LAP_WIDE
static void add_backward_row(const real *g, const real *u, const real *dy, int64_t columns,
                             real *dg, real *du) {
  for (int64_t j = 0; j < columns; ++j) {
    const gradients d = gradients_of(g[j], u[j], dy[j]);
    dg[j] += d.g;
    du[j] += d.u;
  }
}

static void backward(const lap_op_call *call) {
  const int64_t rows = call->output.rows, columns = call->output.columns;
  const bool add_dg = call->input[0].accumulate, add_du = call->input[1].accumulate;
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r) {
    real *dg = call->input[0].gradient + r * columns;
    real *du = call->input[1].gradient + r * columns;
    const bool add = add_dg || add_du;
    if (add && !add_dg) memset(dg, 0, (size_t)columns * sizeof *dg);
    if (add && !add_du) memset(du, 0, (size_t)columns * sizeof *du);
    (add ? add_backward_row : backward_row)(call->input[0].value + r * columns,
                                            call->input[1].value + r * columns,
                                            call->output.gradient + r * columns, columns, dg, du);
  }
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  (void)extent, (void)backward;
  lap_cost_units(sink, LAP_UNIT_GEGLU, call->output.rows * call->output.columns);
}

const lap_op lap_op_geglu = {.name = "geglu",
                             .forward = forward,
                             .backward = backward,
                             .work = LAP_WORK_ELEMENTS,
                             .cost = cost,
                             .backward_reads = LAP_READS_INPUT(0) | LAP_READS_INPUT(1),
                             .cheap = true};
