/* rmsnorm: y = x * s * (1 + w),  s = 1 / sqrt(mean(x^2) + epsilon)      (Gemma's form, with 1 + w)
 *   x [R, H] input     w [1, H] weight     y [R, H] output     s [R] saved
 */
#include <assert.h>
#include <omp.h>

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/vector.h"
#include "autograd/op/ops.h"
#include "autograd/op/weight.h"

/* scratch: [H], for w as it is used. */
static void forward(const lap_op_call *call) {
  const lap_rmsnorm_attributes *attributes = call->attributes;
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const real epsilon = (real)attributes->epsilon;
  const real *w = lap_weight_values(&call->input[1], 0, hidden, call->scratch);
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t r = 0; r < rows; ++r) {
    const real *x = call->input[0].value + r * hidden;
    real *y = call->output.value + r * hidden;
    const real mean_square = lap_vector_dot(x, x, hidden) / (real)hidden;
    const real s = 1 / lap_square_root(mean_square + epsilon);
    for (int64_t j = 0; j < hidden; ++j) y[j] = x[j] * s * (1 + w[j]);
    call->saved[r] = s;
  }
}

/* dw_j += sum_r dy_rj x_rj s_r          rows in order; threads split columns */
static void weight_gradient(const lap_op_call *call, int64_t begin_row, int64_t end_row) {
  enum { COLUMNS = 64 };
  const int64_t hidden = call->output.columns;
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < hidden; begin += COLUMNS) {
    const int64_t end = begin + COLUMNS < hidden ? begin + COLUMNS : hidden;
    real *dw = call->input[1].gradient;
    for (int64_t r = begin_row; r < end_row; ++r) {
      const real *x = call->input[0].value + r * hidden;
      const real *dy = call->output.gradient + r * hidden;
      const real s = call->saved[r];
      for (int64_t j = begin; j < end; ++j) dw[j] += dy[j] * x[j] * s;
    }
  }
}

/* With g = dy (1 + w):  dx = s g - x s^3 mean(g x)
 * scratch: [threads, H] holds g of a row; [H], for w as it is used. */
static void input_gradient(const lap_op_call *call, const real *w, int64_t begin_row,
                           int64_t end_row) {
  const int64_t hidden = call->output.columns;
  const bool accumulate = call->input[0].accumulate;
#pragma omp parallel for schedule(static)
  for (int64_t r = begin_row; r < end_row; ++r) {
    const real *x = call->input[0].value + r * hidden;
    const real *dy = call->output.gradient + r * hidden;
    real *dx = call->input[0].gradient + r * hidden;
    real *g = call->scratch + omp_get_thread_num() * hidden;
    const real s = call->saved[r];
    for (int64_t j = 0; j < hidden; ++j) g[j] = dy[j] * (1 + w[j]);
    const real shrink = lap_vector_dot(g, x, hidden) / (real)hidden * s * s * s;
    if (accumulate)
      for (int64_t j = 0; j < hidden; ++j) dx[j] += s * g[j] - shrink * x[j];
    else
      for (int64_t j = 0; j < hidden; ++j) dx[j] = s * g[j] - shrink * x[j];
  }
}

/* So many rows at a time that x and dy are still in a cache when the weights' gradient reads them.
 */
static void backward(const lap_op_call *call) {
  enum { AT_ONCE = 1 << 15 }; /* elements of a thread, of each of the three */
  assert(call->input[1].accumulate);
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const int64_t threads = omp_get_max_threads();
  const real *w = lap_weight_values(&call->input[1], 0, hidden, call->scratch + threads * hidden);
  const int64_t step = threads * (1 + AT_ONCE / hidden);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t end = r + step < rows ? r + step : rows;
    input_gradient(call, w, r, end);
    weight_gradient(call, r, end);
  }
}

static int64_t saved_size(const lap_op_call *call, const lap_op_extent *extent) {
  (void)extent;
  return call->output.rows;
}

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  return (backward ? 1 + extent->threads : 1) * call->output.columns;
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  (void)extent, (void)backward;
  lap_cost_units(sink, LAP_UNIT_RMSNORM, call->output.rows * call->output.columns);
}

const lap_op lap_op_rmsnorm = {.name = "rmsnorm",
                               .forward = forward,
                               .backward = backward,
                               .saved_size = saved_size,
                               .scratch_size = scratch_size,
                               .work = LAP_WORK_ELEMENTS,
                               .cost = cost,
                               .backward_reads = LAP_READS_INPUT(0) | LAP_READS_INPUT(1),
                               .cheap = true};
