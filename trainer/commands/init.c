/* init: writes a checkpoint of the weights that a run begins with.
 *
 * For people who compare with other frameworks, or start several runs from the same weights. It
 * reads the config and its tokenizer and writes, at --out, the weights that a run of this config
 * and seed begins with: random ones, or those that the key init names. It runs alone: several ranks
 * are refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/parameters.h"
#include "core/file.h"
#include "core/json.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/session.h"
#include "trainer/commands/entries.h"
#include "trainer/config/config.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"
#include "trainer/run/resume.h"

/* They fill one text. */
static const lap_flag flags_of_init[] = {
    {.name = "out", .value = "CHECKPOINT", .help = "directory to write: weights only"}, {0}};

static lap_code print_result(const lap_config *config, const char *out, bool as_json,
                             lap_status *status) {
  char count[LAP_HUMAN_TEXT];
  const int64_t parameters = lap_gemma2_embedding_parameters(&config->model) +
                             lap_gemma2_non_embedding_parameters(&config->model);
  if (as_json) {
    json_t *object = json_pack("{s:o, s:o, s:I, s:I}", "out", lap_json_path(out), "init",
                               lap_json_path(config->init), "seed", (json_int_t)config->seed,
                               "parameters", (json_int_t)parameters);
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  if (!strcmp(config->init, "random"))
    printf("%s: fresh weights of seed %" PRId64, out, config->seed);
  else
    printf("%s: weights of %s", out, config->init);
  printf(", %s parameters\n", lap_human_count((double)parameters, count));
  return LAP_OK;
}

static lap_code initialise(const lap_session *session, const lap_command_line *line,
                           void *destination, lap_status *status) {
  const char *out = *(const char **)destination;
  if (!out) return lap_fail(status, LAP_USAGE, "--out CHECKPOINT is needed");
  LAP_TRY(lap_session_alone(session, "init", status));
  if (lap_file_exists(out)) /* before gigabytes are read */
    return lap_fail(status, LAP_USAGE, "%s: exists; name a place where nothing is", out);
  lap_config *config;
  LAP_TRY(
      lap_config_load(line->positional[0], line->overrides, line->override_count, &config, status));
  lap_code code = lap_config_require(config, LAP_NEEDS_MODEL, status);
  if (code == LAP_OK) {
    lap_state *state = lap_state_create_alone(&config->model, session->comm);
    code = lap_start_fresh(config, session, state, status);
    char *text = lap_config_print(config);
    const lap_checkpoint_extras extras = {.config_text = text, .tokenizer_path = config->tokenizer};
    if (code == LAP_OK) code = lap_checkpoint_write_weights(out, state, &extras, status);
    if (code == LAP_OK) code = print_result(config, out, line->json, status);
    free(text);
    lap_state_destroy(state);
  }
  lap_config_destroy(config);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  const char *out = NULL;
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .key_meant = lap_config_key_meant,
                                     .json = true,
                                     .flags = flags_of_init,
                                     .destination = &out};
  return lap_session_run(command, &syntax, argc, argv, NULL, initialise, status);
}

const lap_command lap_command_init = {
    .name = "init",
    .summary = "write a checkpoint of the weights that a run begins with",
    .usage = "CONFIG.yaml [KEY=VALUE...] --out CHECKPOINT",
    .description =
        "Random weights of the config's seed; where it has the key init, those of the "
        "checkpoint or Hugging Face directory that init names.",
    .run = run};
