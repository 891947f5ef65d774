/* directory_lock: one job at a time writes a directory, or a file.
 *
 * Two jobs at once would mix their checkpoints and metrics (a requeued job beside the one it
 * replaces). Three things keep them apart, each where the one before does not:
 *
 *   flock(2) on DIRECTORY/.lock   the system lets go of it however a process ends. Some file
 *                                 systems have no locks, others know only those of one host.
 *   what .lock says               the process, its host and its start. On this host the process is
 *                                 looked for; of another host the heartbeat is: while a job has
 *                                 the lock, a thread sets the file's time every
 *                                 LAP_LOCK_BEAT_SECONDS. One that does not change for three beats
 *                                 is a dead job's, and taken over; that costs these seconds, once.
 *                                 No clocks of two hosts are compared, but what is older than an
 *                                 hour is not waited for.
 *   the epoch                     DIRECTORY/.epoch, a number that rises by one with each job, and
 *                                 who has it: a fence for a job that seemed dead and was only
 *                                 suspended, or two that came at once. A writer asks before it
 *                                 gives anything its final name whether the epoch is still its own.
 */
#ifndef LAP_CORE_DIRECTORY_LOCK_H
#define LAP_CORE_DIRECTORY_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

typedef struct lap_directory_lock lap_directory_lock;

enum { LAP_LOCK_BEAT_SECONDS = 5 };

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

/* Raises the epoch of a directory whose lock was taken by lap_directory_lock_take; .epoch stays
 * when the lock is released. Where .epoch says no number, the next is 1: whose it is counts.
 * LAP_DATA naming the file that cannot be written. */
lap_code lap_directory_lock_fence(lap_directory_lock *lock, lap_status *status);
/* The number; 0 before lap_directory_lock_fence. */
uint64_t lap_directory_lock_epoch(const lap_directory_lock *lock);
/* Whether it is still this job's, from any thread: LAP_USAGE naming the job that has taken over,
 * LAP_DATA where .epoch cannot be read. LAP_OK for NULL and for a lock without a fence. */
lap_code lap_directory_lock_check(const lap_directory_lock *lock, lap_status *status);

#endif
