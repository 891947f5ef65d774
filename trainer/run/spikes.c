#include "trainer/run/spikes.h"

#include <math.h>

#include "trainer/run/metrics.h"

static void look_back(lap_spikes *s) {
  double sum = 0, squares = 0;
  s->steps = s->count;
  for (int i = 0; i < s->count; ++i) sum += s->loss[i];
  s->mean = sum / s->count;
  for (int i = 0; i < s->count; ++i) squares += (s->loss[i] - s->mean) * (s->loss[i] - s->mean);
  s->deviation = sqrt(squares / (s->count - 1));
}

double lap_spikes_observe(lap_spikes *s, double loss) {
  if (!isfinite(loss)) return 0;
  double sigmas = 0;
  if (s->count >= LAP_SPIKE_FEWEST) {
    look_back(s);
    const double limit = s->mean + LAP_SPIKE_SIGMAS * s->deviation;
    if (s->deviation > 0 && loss > limit) {
      sigmas = (loss - s->mean) / s->deviation;
      loss = limit;
    }
  }
  s->loss[s->next] = loss;
  s->next = (s->next + 1) % LAP_SPIKE_STEPS;
  if (s->count < LAP_SPIKE_STEPS) ++s->count;
  return sigmas;
}

lap_code lap_spikes_restore(lap_spikes *s, const char *metrics, lap_status *status) {
  lap_metrics_lines lines;
  LAP_TRY(lap_metrics_lines_open(metrics, &lines, status));
  while (lap_metrics_lines_next(&lines)) {
    const json_t *loss = json_object_get(lines.value, "loss");
    if (json_is_number(loss) && !json_object_get(lines.value, "eval"))
      lap_spikes_observe(s, json_number_value(loss));
  }
  lap_metrics_lines_close(&lines);
  return LAP_OK;
}
