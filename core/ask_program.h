/* ask_program: what another program prints, within a time limit.
 *
 * For small questions to the machine's own tools, whose answer nobody depends on.
 */
#ifndef LAP_CORE_ASK_PROGRAM_H
#define LAP_CORE_ASK_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Runs arguments[0], found on PATH, with these arguments (NULL behind the last) and nothing as
 * stdin; its stderr goes nowhere. `text` [size] gets what it prints, as far as it fits. False where
 * it cannot be started, fails, or takes longer than `seconds`; then it is killed. The program gets
 * no signal that this process blocks or handles. */
bool lap_ask_program(const char *const *arguments, double seconds, char *text, size_t size);

#endif
