/* config: what a config says once its defaults are filled in, and what its keys are.
 *
 * For people who write a config. With CONFIG.yaml or KEY=VALUE it loads the config as train would
 * and prints it resolved, as far as this needs no data. With --help-keys it prints the schema:
 * every key, a section or one key, or, with --markdown, the page docs/config.md. It reads and
 * writes nothing else. Not collective: one process, without MPI.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "trainer/cli/command.h"
#include "trainer/cli/output.h"
#include "trainer/commands/entries.h"
#include "trainer/config/config.h"
#include "trainer/config/help.h"
#include "trainer/config/load.h"
#include "trainer/config/page.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"
#include "trainer/step/schedule.h"

typedef struct {
  bool help_keys, markdown;
} config_flags;

static const lap_flag flags_of_config[] = {
    {.name = "help-keys",
     .offset = offsetof(config_flags, help_keys),
     .help = "say what the keys are: type, range, default, meaning; of SECTION or KEY alone where "
             "one is given"},
    {.name = "markdown",
     .offset = offsetof(config_flags, markdown),
     .help = "print the page docs/config.md: a full example and all keys"},
    {0}};

static lap_code print_keys(const lap_command_line *line, lap_status *status) {
  const char *name = line->positional_count ? line->positional[0] : NULL;
  if (!line->json) {
    LAP_TRY(lap_config_help_print(name, stdout, status));
    return lap_output_flush(status);
  }
  json_t *object;
  LAP_TRY(lap_config_help_json(name, &object, status));
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

/* The warm-up where the length of the run is known without its data. */
static lap_code resolve(lap_config *config, lap_status *status) {
  const bool counts_tokens =
      config->schedule.tokens && config->batch.sequences && config->data.sequence_length;
  if (!config->schedule.steps && !counts_tokens) return LAP_OK;
  uint64_t steps;
  LAP_TRY(lap_schedule_total_steps(config, 0, &steps, status));
  return lap_config_resolve_warmup(config, (int64_t)steps, status);
}

static lap_code print_resolved(const lap_command_line *line, lap_status *status) {
  lap_config *config;
  LAP_TRY(lap_config_load(line->positional_count ? line->positional[0] : NULL, line->overrides,
                          line->override_count, &config, status));
  lap_code code = resolve(config, status);
  if (code == LAP_OK && line->json) {
    json_t *object = json_pack("{s:o}", "config", lap_config_to_json(config));
    code = lap_command_print_json(object, status);
    json_decref(object);
  } else if (code == LAP_OK) {
    char *text = lap_config_print(config);
    fputs(text, stdout);
    free(text);
    code = lap_output_flush(status);
  }
  lap_config_destroy(config);
  return code;
}

static lap_code print(const config_flags *flags, const lap_command_line *line, lap_status *status) {
  if (flags->help_keys + flags->markdown > 0 && line->override_count)
    return lap_fail(status, LAP_USAGE, "%s describes keys and takes no KEY=VALUE, found '%s'",
                    flags->markdown ? "--markdown" : "--help-keys", line->overrides[0]);
  if (flags->markdown && (line->positional_count || line->json))
    return lap_fail(status, LAP_USAGE, "--markdown prints the whole page: give it alone");
  if (flags->markdown) {
    lap_config_page_print(stdout);
    return lap_output_flush(status);
  }
  if (flags->help_keys) return print_keys(line, status);
  if (!line->positional_count && !line->override_count)
    return lap_fail(status, LAP_USAGE, "expected CONFIG.yaml, KEY=VALUE or --help-keys");
  return print_resolved(line, status);
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  config_flags flags = {0};
  const lap_command_syntax syntax = {.positional_max = 1,
                                     .key_meant = lap_config_key_meant,
                                     .json = true,
                                     .flags = flags_of_config,
                                     .destination = &flags};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  const lap_code code = print(&flags, &line, status);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_config = {
    .name = "config",
    .summary = "print a config with every default, or say what its keys are",
    .usage = "CONFIG.yaml [KEY=VALUE...] | --help-keys [SECTION|KEY] | --markdown",
    .description =
        "Checks the config and prints it with every default, as a run would write it to "
        "config.resolved.yaml. null stands for what is not given and has no default, and for what "
        "only the data can tell: objective.tail, and the warm-up of a run whose length is given in "
        "epochs.",
    .run = run};
