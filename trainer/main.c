#include "trainer/commands/commands.h"

int main(int argc, char **argv) { return lap_command_main(lap_commands(), argc, argv); }
