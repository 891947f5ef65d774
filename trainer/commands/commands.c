#include "trainer/commands/commands.h"

#include <stddef.h>

#include "trainer/commands/entries.h"

const lap_command *const *lap_commands(void) {
  static const lap_command *const commands[] = {
      &lap_command_split,    &lap_command_tokenizer,
      &lap_command_tokenize, &lap_command_init,
      &lap_command_train,    &lap_command_verify,
      &lap_command_teach,    &lap_command_eval,
      &lap_command_generate, &lap_command_attend,
      &lap_command_export,   &lap_command_import,
      &lap_command_inspect,  &lap_command_audit,
      &lap_command_probe,    &lap_command_config,
      &lap_command_plan,     &lap_command_bench,
      &lap_command_doctor,   &lap_command_ablate,
      &lap_command_report,   NULL,
  };
  return commands;
}
