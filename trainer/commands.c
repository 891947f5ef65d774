#include "trainer/commands.h"

#include <stddef.h>

const lap_command *const *lap_commands(void) {
  static const lap_command *const commands[] = {
      &lap_command_generate,
      NULL,
  };
  return commands;
}
