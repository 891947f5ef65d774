#include "trainer/run/length.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/config/load.h"
#include "trainer/step/schedule.h"

static const char *const length_keys[] = {"schedule.steps", "schedule.tokens", "schedule.epochs",
                                          NULL};

bool lap_length_is_key(const char *key) {
  for (const char *const *one = length_keys; *one; ++one)
    if (strcmp(*one, key) == 0) return true;
  return false;
}

bool lap_length_others_differ(const lap_numbers *then, const lap_numbers *now,
                              lap_numbers_difference *difference) {
  return lap_numbers_differ_except(then, now, length_keys, difference);
}

lap_code lap_length_open(const lap_checkpoint *checkpoint, const lap_config *config,
                         const lap_inputs *inputs, lap_length *length, lap_status *status) {
  *length = (lap_length){0};
  char *path = lap_format("%s/config.resolved.yaml", checkpoint->path);
  lap_code code = lap_config_load(path, NULL, 0, &length->then, status);
  free(path);
  if (code != LAP_OK) return status->code = LAP_DATA;
  code = lap_schedule_total_steps(length->then, inputs->window_count, &length->total_then, status);
  if (code != LAP_OK) {
    lap_length_close(length);
    return code;
  }
  const uint64_t then = lap_schedule_free_steps(length->then, length->total_then);
  const uint64_t now = lap_schedule_free_steps(config, inputs->total_steps);
  const uint64_t free_steps = then < now ? then : now;
  length->matters = checkpoint->step > free_steps || checkpoint->step > inputs->total_steps;
  return LAP_OK;
}

void lap_length_close(lap_length *length) {
  lap_config_destroy(length->then);
  length->then = NULL;
}
