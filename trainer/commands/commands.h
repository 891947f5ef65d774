/* commands: every subcommand of lapidary, one line each. The entry lives in its NAME.c as
 * `const lap_command lap_command_NAME`; it is declared here and listed in commands.c.
 */
#ifndef LAP_TRAINER_COMMANDS_COMMANDS_H
#define LAP_TRAINER_COMMANDS_COMMANDS_H

#include "trainer/cli/command.h"

extern const lap_command lap_command_tokenizer;
extern const lap_command lap_command_tokenize;
extern const lap_command lap_command_init;
extern const lap_command lap_command_train;
extern const lap_command lap_command_teach;
extern const lap_command lap_command_eval;
extern const lap_command lap_command_generate;
extern const lap_command lap_command_export;
extern const lap_command lap_command_import;
extern const lap_command lap_command_bench;
extern const lap_command lap_command_doctor;
extern const lap_command lap_command_config;
extern const lap_command lap_command_plan;
extern const lap_command lap_command_probe;
extern const lap_command lap_command_inspect;

/* All commands in the order of `lapidary --help`, ending with NULL. */
const lap_command *const *lap_commands(void);

#endif
