#include "trainer/run/spikes.h"

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"

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

static void observe_line(lap_spikes *s, const char *line, size_t bytes) {
  if (lap_json_values(line, bytes) > LAP_JSON_MOST_VALUES) return;
  json_t *object = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, NULL);
  const json_t *loss = json_object_get(object, "loss");
  if (json_is_number(loss) && !json_object_get(object, "eval"))
    lap_spikes_observe(s, json_number_value(loss));
  json_decref(object);
}

lap_code lap_spikes_restore(lap_spikes *s, const char *metrics, lap_status *status) {
  if (!lap_file_exists(metrics)) return LAP_OK;
  char *text;
  size_t bytes;
  LAP_TRY(lap_file_read(metrics, SIZE_MAX / 2, &text, &bytes, status));
  const char *newline;
  for (const char *line = text; (newline = memchr(line, '\n', (size_t)(text + bytes - line)));
       line = newline + 1)
    observe_line(s, line, (size_t)(newline - line));
  free(text);
  return LAP_OK;
}
