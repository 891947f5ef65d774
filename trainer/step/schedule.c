#include "trainer/step/schedule.h"

#include <inttypes.h>
#include <math.h>

#include "autograd/kernel/scalar.h"

lap_code lap_schedule_total_steps(const lap_config *config, uint64_t window_count,
                                  uint64_t *total_steps, lap_status *status) {
  const double sequences = (double)config->batch.sequences;
  double steps;
  if (config->schedule.steps > 0)
    steps = (double)config->schedule.steps;
  else if (config->schedule.tokens > 0)
    steps =
        ceil((double)config->schedule.tokens / (sequences * (double)config->data.sequence_length));
  else
    steps = ceil(config->schedule.epochs * (double)window_count / sequences);
  if (steps > 1e12 && config->schedule.tokens > 0)
    return lap_fail(status, LAP_USAGE,
                    "schedule.tokens: comes to %g steps of %" PRId64
                    " tokens; at most 1e12 steps are possible",
                    steps, config->batch.sequences * config->data.sequence_length);
  if (!(steps >= 1 && steps <= 1e12))
    return lap_fail(status, LAP_USAGE,
                    "schedule.epochs: comes to %g steps; at least 1 and at most 1e12 are needed "
                    "(%" PRIu64 " windows of data, %" PRId64 " sequences a step)",
                    steps, window_count, config->batch.sequences);
  *total_steps = (uint64_t)steps;
  return LAP_OK;
}

static uint64_t decay_start(uint64_t total_steps) { return total_steps - total_steps / 10; }

static double decayed(const lap_config *config, double x, uint64_t step, uint64_t total_steps) {
  const double final = config->schedule.final_ratio;
  double sine, cosine;
  switch (config->schedule.kind) {
    case LAP_SCHEDULE_COSINE:
      lap_scalar_sincos(3.141592653589793 * x, &sine, &cosine);
      return final + (1 - final) * (1 + cosine) / 2;
    case LAP_SCHEDULE_LINEAR:
      return 1 - (1 - final) * x;
    case LAP_SCHEDULE_CONSTANT:
      return 1;
    case LAP_SCHEDULE_WSD: {
      const uint64_t start = decay_start(total_steps);
      if (step < start) return 1;
      return 1 - (1 - final) * (double)(step - start + 1) / (double)(total_steps - start);
    }
  }
  return 1;
}

double lap_schedule_learning_rate(const lap_config *config, uint64_t step, uint64_t total_steps) {
  const double peak = config->optimizer.learning_rate;
  const uint64_t warmup = (uint64_t)config->schedule.warmup_steps;
  if (step < warmup) return peak * (double)(step + 1) / (double)warmup;
  const uint64_t remaining = total_steps - warmup;
  const double x = remaining > 0 ? (double)(step - warmup) / (double)remaining : 1;
  return peak * decayed(config, x > 1 ? 1 : x, step, total_steps);
}

bool lap_schedule_is_level(lap_schedule_kind kind) {
  return kind == LAP_SCHEDULE_CONSTANT || kind == LAP_SCHEDULE_WSD;
}

uint64_t lap_schedule_free_steps(const lap_config *config, uint64_t total_steps) {
  const uint64_t warmup = (uint64_t)config->schedule.warmup_steps;
  if (config->schedule.kind == LAP_SCHEDULE_CONSTANT) return UINT64_MAX;
  if (config->schedule.kind != LAP_SCHEDULE_WSD) return warmup;
  const uint64_t start = decay_start(total_steps);
  return start > warmup ? start : warmup;
}
