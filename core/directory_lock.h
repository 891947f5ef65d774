/* directory_lock: one job at a time writes a directory, or a file.
 *
 * Two jobs at once would mix their checkpoints and metrics (a requeued job beside the one it
 * replaces). The lock is flock(2) on DIRECTORY/.lock, so the system lets go of it however a process
 * ends; what is left of the file then means nothing. A file system without locks lets everybody in.
 */
#ifndef LAP_CORE_DIRECTORY_LOCK_H
#define LAP_CORE_DIRECTORY_LOCK_H

#include <stdbool.h>

#include "core/status.h"

typedef struct lap_directory_lock lap_directory_lock;

/* Not collective; rank 0 takes it. LAP_USAGE naming the other job's process and host. */
lap_code lap_directory_lock_take(const char *directory, lap_directory_lock **lock,
                                 lap_status *status);
/* The same for what a command writes at --out, which need not exist: the lock is OUT/.lock, or
 * .OUT.lock beside a file, and missing directories above it are made. The message speaks of
 * processes: several that a launcher starts may have been given one --out. */
lap_code lap_output_lock_take(const char *out, bool is_directory, lap_directory_lock **lock,
                              lap_status *status);
/* Lets go and removes the file, if it is still the one that was locked; NULL is fine. */
void lap_directory_lock_release(lap_directory_lock *lock);

#endif
