/* directory: how checkpoints get their names and lose them; for this folder, and for whatever else
 * writes directories that are whole or not there. Nothing here is collective: one rank does it.
 *
 *   step-00000120                          a checkpoint; whole, because it got this name last
 *   step-00000120.writing-HOST-PID-N       being written by process PID on HOST
 *   step-00000120.replaced-HOST-PID-N      the one that was there, while another takes its name
 *   step-00000120.deleted-HOST-PID-N       no longer a checkpoint, being deleted
 *
 * HOST and PID keep two runs apart that write into one directory. At whatever moment a process is
 * killed, every step-* directory is whole; lap_checkpoint_tidy removes what else it leaves.
 */
#ifndef LAP_TRAINER_CHECKPOINT_DIRECTORY_H
#define LAP_TRAINER_CHECKPOINT_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* Whether `name` is the name of a checkpoint, step-%08d; *step (which may be NULL) gets its step.
 */
bool lap_checkpoint_is_step(const char *name, uint64_t *step);

/* Makes `path`.writing-HOST-PID-N and the parents of `path`; *temporary is malloc'ed, NULL on
 * failure. */
lap_code lap_checkpoint_begin_directory(const char *path, char **temporary, lap_status *status);

/* Gives a whole directory its name, durably. What has the name already is replaced and deleted: in
 * one step where the file system can exchange names (all local ones of Linux), else in two, between
 * which only .replaced exists and lap_checkpoint_tidy brings it back. */
lap_code lap_checkpoint_publish(const char *temporary, const char *path, lap_status *status);

/* Deletes a checkpoint, first taking its name away, so that a step-* directory is always whole.
 * What fails is tried once more. */
lap_code lap_checkpoint_delete(const char *path, lap_status *status);

/* Cleans up after killed processes: deletes .writing and .deleted directories, brings a .replaced
 * one back where nothing has its name and deletes it otherwise, deletes unfinished hints. A
 * .writing one of a process that runs on this host, or in which something was written within the
 * hour, is left alone. `name` is the name of the checkpoint concerned; NULL: all step-*. Failures
 * do not matter to anybody now and are not reported. */
void lap_checkpoint_tidy(const char *directory, const char *name);
/* The same for the one at `path`. */
void lap_checkpoint_tidy_beside(const char *path);

#endif
