#include "core/stop.h"
#include "trainer/commands/commands.h"

int main(int argc, char **argv) {
  lap_stop_install();
  return lap_command_main(lap_commands(), argc, argv);
}
