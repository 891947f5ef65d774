/* commands: the list of all subcommands of lapidary. */
#ifndef LAP_TRAINER_COMMANDS_COMMANDS_H
#define LAP_TRAINER_COMMANDS_COMMANDS_H

#include "trainer/cli/command.h"

/* All commands in the order of `lapidary --help`, ending with NULL. */
const lap_command *const *lap_commands(void);

#endif
