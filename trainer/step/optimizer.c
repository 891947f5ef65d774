#include "trainer/step/optimizer.h"

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/scalar.h"

/* The constants of one update, rounded to float once. */
typedef struct {
  float beta1, rest1, beta2, rest2, correction1, correction2, epsilon, rate, decay, factor;
} constants;

static void update_range(const constants *c, int64_t count, const float *gradient, float *weight,
                         float *exp_avg, float *exp_avg_sq) {
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * c->factor;
    const float squared = lap_magnitude(g) < 0x1p-63F ? 0 : g; /* not g * g: that is slow */
    const float m = lap_without_subnormal(c->beta1 * exp_avg[i] + c->rest1 * g);
    const float v =
        lap_without_subnormal(c->beta2 * exp_avg_sq[i] + c->rest2 * (squared * squared));
    const float step = m * c->correction1 / (lap_square_root(v * c->correction2) + c->epsilon);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    weight[i] -= c->rate * (step + c->decay * weight[i]);
  }
}

void lap_adamw_update(const lap_adamw *adamw, const lap_parameters *parameters, int64_t begin,
                      int64_t end, float factor, const float *gradient, float *weight,
                      float *exp_avg, float *exp_avg_sq) {
  constants c = {
      .beta1 = (float)adamw->beta1,
      .rest1 = (float)(1 - adamw->beta1),
      .beta2 = (float)adamw->beta2,
      .rest2 = (float)(1 - adamw->beta2),
      .correction1 = (float)(1 / (1 - lap_scalar_power(adamw->beta1, adamw->update))),
      .correction2 = (float)(1 / (1 - lap_scalar_power(adamw->beta2, adamw->update))),
      .epsilon = (float)adamw->epsilon,
      .rate = (float)adamw->learning_rate,
      .factor = factor,
  };
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const int64_t low = begin > p->offset ? begin : p->offset;
    const int64_t high = end < p->offset + p->elements ? end : p->offset + p->elements;
    if (low >= high) continue;
    c.decay = p->is_norm ? 0 : (float)adamw->weight_decay;
    const int64_t at = low - begin;
    update_range(&c, high - low, gradient + at, weight + at, exp_avg + at, exp_avg_sq + at);
  }
}

void lap_square_partials(const float *gradient, int64_t count, double *partials) {
  enum { SUMS = 16 };
#pragma omp parallel for schedule(static)
  for (int64_t segment = 0; segment < count / LAP_SEGMENT; ++segment) {
    const float *g = gradient + segment * LAP_SEGMENT;
    double sum[SUMS] = {0};
    for (int64_t j = 0; j < LAP_SEGMENT; j += SUMS)
      for (int i = 0; i < SUMS; ++i) sum[i] += (double)g[j + i] * (double)g[j + i];
    for (int width = SUMS / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) sum[i] += sum[i + width];
    partials[segment] = sum[0];
  }
}
