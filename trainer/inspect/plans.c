#include "trainer/inspect/plans.h"

#include <stdlib.h>

#include "core/memory.h"
#include "trainer/ablate/suite_read.h"
#include "trainer/cli/human.h"
#include "trainer/plan/hardware.h"

/* --- suites --- */

/* Names in a fact: a list in the JSON, "a, b" on the screen. */
static void report_names(lap_report *report, const char *key, json_t *names) {
  char *text = lap_copy_string("");
  for (size_t i = 0; i < json_array_size(names); ++i) {
    char *longer =
        lap_format("%s%s%s", text, i ? ", " : "", json_string_value(json_array_get(names, i)));
    free(text);
    text = longer;
  }
  lap_report_fact(report, key, names, "%s", text);
  free(text);
}

static void report_suite(const lap_suite *suite, lap_report *report) {
  json_t *arms = json_array(), *seeds = json_array(), *measures = json_array();
  for (size_t i = 0; i < suite->arm_count; ++i)
    json_array_append_new(arms, json_string(suite->arms[i].name));
  for (size_t i = 0; i < suite->seed_count; ++i)
    json_array_append_new(seeds, json_integer(suite->seeds[i]));
  for (size_t i = 0; i < suite->measure_count; ++i)
    json_array_append_new(measures, json_string(suite->measures[i]));
  lap_report_summarise(report, "%zu arm%s, %zu seed%s", suite->arm_count,
                       suite->arm_count == 1 ? "" : "s", suite->seed_count,
                       suite->seed_count == 1 ? "" : "s");
  lap_report_text(report, "name", suite->name);
  lap_report_text(report, "suite_sha256", suite->sha256);
  lap_report_text(report, "config", suite->config);
  report_names(report, "arms", arms);
  lap_report_fact(report, "seeds", seeds, "%zu", suite->seed_count);
  report_names(report, "measures", measures);
  lap_report_note(report,
                  "whether what it names is there, and what it will take: lapidary ablate %s --out "
                  "DIR --dry-run",
                  suite->file);
}

lap_code lap_inspect_suite(const lap_inspector *inspector, const char *path, lap_report *report,
                           lap_status *status) {
  (void)inspector;
  lap_suite suite;
  LAP_TRY(lap_suite_load(path, false, &suite, status));
  report_suite(&suite, report);
  lap_suite_release(&suite);
  return LAP_OK;
}

/* --- hardware files --- */

static void report_chip(const lap_hardware *hardware, lap_report *report) {
  const lap_chip *chip = &hardware->chip;
  char memory[LAP_HUMAN_TEXT];
  lap_report_summarise(report, "a chip of %.0f TFLOP/s", chip->peak_flops / 1e12);
  lap_report_text(report, "name", hardware->name);
  lap_report_fact(report, "memory", NULL, "%s", lap_human_bytes(chip->hbm_bytes, memory));
  lap_report_fact(report, "pod", NULL, "%.0f x %.0f x %.0f chips", chip->torus[0], chip->torus[1],
                  chip->torus[2]);
}

static void report_measured(const lap_hardware *hardware, lap_report *report) {
  char memory[LAP_HUMAN_TEXT];
  lap_report_summarise(report, "measured with %.0f rank%s on %.0f node%s", hardware->ranks,
                       hardware->ranks == 1 ? "" : "s", hardware->nodes,
                       hardware->nodes == 1 ? "" : "s");
  lap_report_text(report, "name", hardware->name);
  lap_report_fact(report, "cores", NULL, "%.0f a node", hardware->cores_per_node);
  lap_report_fact(report, "memory", NULL, "%s a node",
                  lap_human_bytes(hardware->memory_bytes, memory));
  lap_report_fact(report, "products", NULL, "%.1f GFLOP/s a rank in float32",
                  hardware->sgemm_gflops);
  if (hardware->bfloat16_gflops > 0)
    lap_report_fact(report, "in_bfloat16", NULL, "%.1f GFLOP/s a rank", hardware->bfloat16_gflops);
}

lap_code lap_inspect_hardware(const lap_inspector *inspector, const char *path, lap_report *report,
                              lap_status *status) {
  (void)inspector;
  lap_hardware hardware;
  LAP_TRY(lap_hardware_load(path, &hardware, status));
  (hardware.is_chip ? report_chip : report_measured)(&hardware, report);
  lap_report_json_only(report, "hardware", lap_hardware_to_json(&hardware));
  lap_hardware_release(&hardware);
  return LAP_OK;
}
