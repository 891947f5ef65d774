#include "trainer/ablate/arm_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/parse_number.h"
#include "trainer/config/load.h"
#include "trainer/config/numbers.h"
#include "trainer/config/resolve.h"
#include "trainer/step/schedule.h"

/* Stands for what the suite makes, until it is made. */
static void add_placeholders(const lap_suite *suite, lap_changes *changes) {
  static const char *const made[] = {"run_dir", "tokenizer", "data.train"};
  for (size_t i = 0; i < sizeof made / sizeof *made; ++i)
    lap_changes_add(changes, made[i], "suite");
  lap_changes_add(changes, "data.eval", "null");
  lap_changes_add(changes, "teacher.cache",
                  suite->teacher.kind == LAP_TEACHER_NONE ? "null" : "suite");
}

/* The changes are those of a suite, whose place is said before the message. */
static void forget_command_line(lap_status *status) {
  static const char origin[] = "command line: ";
  const size_t length = strlen(origin);
  if (!strncmp(status->message, origin, length))
    memmove(status->message, status->message + length, strlen(status->message + length) + 1);
}

static lap_code load(const char *path, const lap_changes *changes, lap_config **config,
                     lap_status *status) {
  char **overrides = lap_allocate((int64_t)changes->count, sizeof *overrides);
  for (size_t i = 0; i < changes->count; ++i)
    overrides[i] = lap_format("%s=%s", changes->key[i], changes->value[i]);
  lap_code code =
      lap_config_load(path, (const char *const *)overrides, changes->count, config, status);
  if (code == LAP_OK) code = lap_config_require(*config, LAP_NEEDS_ALL, status);
  if (code != LAP_OK) {
    forget_command_line(status);
    lap_config_destroy(*config);
    *config = NULL;
  }
  for (size_t i = 0; i < changes->count; ++i) free(overrides[i]);
  free(overrides);
  return code;
}

static void add_integer(lap_changes *changes, const char *key, double value) {
  char text[LAP_NUMBER_TEXT];
  snprintf(text, sizeof text, "%.0f", fmax(1, round(value)));
  lap_changes_add(changes, key, text);
}

/* A schedule of its own, so many times as long. A warm-up that is given grows with it, but for the
 * kinds that are level behind it: there the longer run begins as the shorter one does (trunk.h). */
static void lengthen(const lap_config *config, double multiple, lap_changes *changes) {
  char text[LAP_NUMBER_TEXT];
  if (config->schedule.steps > 0)
    add_integer(changes, "schedule.steps", multiple * (double)config->schedule.steps);
  else if (config->schedule.tokens > 0)
    add_integer(changes, "schedule.tokens", multiple * (double)config->schedule.tokens);
  else
    lap_changes_add(changes, "schedule.epochs",
                    lap_number_print_real(multiple * config->schedule.epochs, text));
  if (config->schedule.warmup_steps > 0 && !lap_schedule_is_level(config->schedule.kind))
    add_integer(changes, "schedule.warmup_steps", multiple * (double)config->schedule.warmup_steps);
}

static lap_code load_arm(const lap_suite *suite, const lap_arm *arm, const lap_changes *more,
                         lap_changes *changes, lap_config **config, lap_status *status) {
  *changes = (lap_changes){0};
  lap_changes_append(changes, &suite->changes);
  if (arm) lap_changes_append(changes, &arm->changes);
  if (more) lap_changes_append(changes, more);
  add_placeholders(suite, changes);
  LAP_TRY(load(suite->config, changes, config, status));
  if (!arm || arm->token_multiple == 1) return LAP_OK;
  lengthen(*config, arm->token_multiple, changes);
  lap_config_destroy(*config);
  return load(suite->config, changes, config, status);
}

lap_code lap_arm_config(const lap_suite *suite, const lap_arm *arm, const lap_changes *more,
                        lap_changes *changes, lap_config **config, lap_status *status) {
  *config = NULL;
  const lap_code code = load_arm(suite, arm, more, changes, config, status);
  if (code == LAP_OK) return LAP_OK;
  lap_changes_release(changes);
  if (!arm) return lap_fail_context(status, "%s: config", suite->file);
  return lap_fail_context(status, "%s:%d: arms.%s", suite->file, arm->line, arm->name);
}

lap_code lap_teacher_config(const lap_suite *suite, const lap_suite_teacher *teacher,
                            lap_changes *changes, lap_config **config, lap_status *status) {
  *changes = (lap_changes){0};
  *config = NULL;
  char seed[LAP_NUMBER_TEXT];
  snprintf(seed, sizeof seed, "%" PRId64, teacher->seed);
  lap_changes_append(changes, &teacher->changes);
  if (teacher->seed >= 0) lap_changes_add(changes, "seed", seed);
  add_placeholders(suite, changes);
  lap_changes_add(changes, "teacher.cache", "null");
  if (load(teacher->path, changes, config, status) == LAP_OK) return LAP_OK;
  lap_changes_release(changes);
  if (!teacher->given) return lap_fail_context(status, "%s: teacher", suite->file);
  return lap_fail_context(status, "%s: teachers.%s", suite->file, teacher->given);
}

void lap_arm_config_sha256(const lap_config *config, char hex[LAP_SHA256_HEX]) {
  lap_config without_seed = *config;
  without_seed.seed = 0;
  lap_numbers *numbers = lap_numbers_create(&without_seed);
  lap_numbers_sha256(numbers, hex);
  lap_numbers_destroy(numbers);
}
