#include "teacher/mean.h"

#include <math.h>

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"
#include "autograd/kernel/wide.h"

LAP_WIDE
static void add(const float *logits, uint32_t vocab, float max, float scale, float *mean) {
  for (uint32_t i = 0; i < vocab; ++i) mean[i] = lap_fma(scale, lap_exp(logits[i] - max), mean[i]);
}

void lap_mean_add(const float *logits, uint32_t vocab, float share, float *mean) {
  const float max = lap_vector_max(logits, vocab);
  add(logits, vocab, max, share / lap_vector_sum_exp(logits, vocab, max, 1), mean);
}

void lap_mean_to_logits(float *mean, uint32_t vocab) {
  for (uint32_t i = 0; i < vocab; ++i)
    mean[i] = mean[i] == 0 ? -INFINITY : (float)lap_scalar_log((double)mean[i]);
}
