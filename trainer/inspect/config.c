#include "trainer/inspect/config.h"

#include <stdlib.h>

#include "core/memory.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"
#include "trainer/inspect/model.h"

/* The commands by what they need, the most demanding last. */
static const struct {
  const char *command;
  unsigned needs;
} commands[] = {{"init", LAP_NEEDS_MODEL},
                {"bench", LAP_NEEDS_MODEL | LAP_NEEDS_BATCH},
                {"train", LAP_NEEDS_ALL}};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void report_uses(const lap_config *config, lap_report *report) {
  for (int i = 0; i < COMMANDS; ++i) {
    lap_status missing = {0};
    const bool enough = lap_config_require(config, commands[i].needs, &missing) == LAP_OK;
    char *key = lap_format("enough_for_%s", commands[i].command);
    lap_report_fact(report, key, json_boolean(enough), "%s%s",
                    enough ? "yes" : "no: ", missing.message);
    free(key);
  }
}

lap_code lap_inspect_config(const lap_inspector *inspector, const char *path, lap_report *report,
                            lap_status *status) {
  (void)inspector;
  lap_config *config;
  LAP_TRY(lap_config_load(path, NULL, 0, &config, status));
  lap_status ignored;
  lap_report_summarise(report, "valid");
  report_uses(config, report);
  lap_report_mesh(report, &config->mesh);
  if (lap_config_require(config, LAP_NEEDS_MODEL, &ignored) == LAP_OK)
    lap_report_model(report, &config->model);
  char *text = lap_config_print(config);
  lap_report_json_only(report, "resolved", json_string(text));
  lap_report_verbatim(report, "\nresolved\n");
  lap_report_verbatim(report, text);
  free(text);
  lap_config_destroy(config);
  return LAP_OK;
}
