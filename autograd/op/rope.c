/* rope: rotary position embedding, halves rotated (Su et al. 2021; Hugging Face's rotate_half)
 *   x [BT, heads * D], in place; for i < D/2 with angle = position * theta^(-2 i / D):
 *   x_i'       = x_i cos - x_{i+D/2} sin
 *   x_{i+D/2}' = x_{i+D/2} cos + x_i sin
 */
#include "autograd/kernel/scalar.h"
#include "autograd/op/ops.h"

/* direction +1 rotates, -1 rotates back. */
static void rotate(const lap_op_call *call, real *x, real direction) {
  const lap_rope_attributes *attributes = call->attributes;
  const int64_t half = attributes->head_dim / 2, length = call->batch->length;
  const int64_t rows = call->output.rows, columns = call->output.columns;
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t r = 0; r < rows; ++r) {
    const real *cosine = attributes->cosine + r % length * half;
    const real *sine = attributes->sine + r % length * half;
    for (int64_t head = 0; head < attributes->heads; ++head) {
      real *low = x + r * columns + head * 2 * half;
      real *high = low + half;
      for (int64_t i = 0; i < half; ++i) {
        const real a = low[i], b = high[i], s = direction * sine[i];
        low[i] = a * cosine[i] - b * s;
        high[i] = b * cosine[i] + a * s;
      }
    }
  }
}

static void forward(const lap_op_call *call) { rotate(call, call->output.value, 1); }

/* A rotation's transpose is the rotation back; dx takes dy's memory. */
static void backward(const lap_op_call *call) { rotate(call, call->output.gradient, -1); }

void lap_rope_table(int64_t positions, int64_t head_dim, double theta, real *cosine, real *sine) {
  const int64_t half = head_dim / 2;
  const double log_theta = lap_scalar_log(theta);
  for (int64_t i = 0; i < half; ++i) {
    const double frequency = lap_scalar_exp(-2.0 * (double)i / (double)head_dim * log_theta);
    for (int64_t t = 0; t < positions; ++t) {
      double s, c;
      lap_scalar_sincos((double)t * frequency, &s, &c);
      cosine[t * half + i] = (real)c;
      sine[t * half + i] = (real)s;
    }
  }
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  (void)extent, (void)backward;
  lap_cost_units(sink, LAP_UNIT_ROPE, call->output.rows * call->output.columns);
}

const lap_op lap_op_rope = {.name = "rope",
                            .forward = forward,
                            .backward = backward,
                            .work = LAP_WORK_ELEMENTS,
                            .cost = cost,
                            .in_place = true};
