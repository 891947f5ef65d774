/* entries: the table entry of each command, which its file defines and commands.c lists.
 *
 * A new command is a file with its entry and its function, a line here and one in commands.c.
 */
#ifndef LAP_TRAINER_COMMANDS_ENTRIES_H
#define LAP_TRAINER_COMMANDS_ENTRIES_H

#include "trainer/cli/command.h"

extern const lap_command lap_command_split;
extern const lap_command lap_command_tokenizer;
extern const lap_command lap_command_tokenize;
extern const lap_command lap_command_init;
extern const lap_command lap_command_train;
extern const lap_command lap_command_teach;
extern const lap_command lap_command_verify;
extern const lap_command lap_command_eval;
extern const lap_command lap_command_generate;
extern const lap_command lap_command_attend;
extern const lap_command lap_command_export;
extern const lap_command lap_command_import;
extern const lap_command lap_command_inspect;
extern const lap_command lap_command_audit;
extern const lap_command lap_command_probe;
extern const lap_command lap_command_config;
extern const lap_command lap_command_plan;
extern const lap_command lap_command_bench;
extern const lap_command lap_command_doctor;
extern const lap_command lap_command_ablate;
extern const lap_command lap_command_report;

#endif
