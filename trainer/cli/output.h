/* output: stdout, on which every command prints its results, checked in one place.
 *
 * A result that does not arrive is a failure: where stdout cannot be written (a full disk, a pipe
 * that nobody reads), the command ends with LAP_DATA and says so. A reader that has read something
 * and then leaves, as `head` does, had what it wanted: that is not a failure, and nothing is said.
 *
 * A module with state of its own, as stdout has.
 */
#ifndef LAP_TRAINER_CLI_OUTPUT_H
#define LAP_TRAINER_CLI_OUTPUT_H

#include "core/status.h"

/* Before anything is opened or printed. Descriptors 0, 1 and 2 that are closed become /dev/null:
 * the next file would get their number, and what is printed would go into it. A write to a closed
 * pipe fails instead of killing the process. */
void lap_output_begin(void);

/* Brings what was printed so far to stdout. LAP_DATA where that fails, with a message the first
 * time; LAP_UNREAD, without one, where the reader has left: there is no use in printing more. */
lap_code lap_output_flush(lap_status *status);

/* The end of a command that ends in `code`: flushes and closes stdout, and returns what the process
 * ends with. That is `code`, but LAP_OK in place of LAP_UNREAD, and LAP_DATA in place of LAP_OK
 * where the results have not arrived. Then `status` has a message, unless it has been given. */
lap_code lap_output_finish(lap_code code, lap_status *status);

#endif
