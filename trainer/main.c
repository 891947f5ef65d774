#include "core/json.h"
#include "core/stop.h"
#include "trainer/cli/output.h"
#include "trainer/cli/share_cores.h"
#include "trainer/commands/commands.h"

int main(int argc, char **argv) {
  lap_output_begin();
  lap_stop_install();
  lap_json_use_memory();
  lap_share_cores(argv);
  return lap_command_main(lap_commands(), argc, argv);
}
