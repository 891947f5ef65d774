/* shared_directory: whether all ranks mean the same directory by the same path.
 *
 * Ranks that write into one directory need a file system that all of them see. Where they do not,
 * each finds only its own files, which look missing or damaged. Rank 0 writes a nonce (nonce.h),
 * and the others look for it.
 */
#ifndef LAP_TRAINER_CLI_SHARED_DIRECTORY_H
#define LAP_TRAINER_CLI_SHARED_DIRECTORY_H

#include "mpi/transport/communicator.h"

/* Longer than it lasts to take over the lock of a directory from another host, or to look for a
 * name: the patience (lap_comm_set_patience) that this takes. */
enum { LAP_SHARED_DIRECTORY_SECONDS = 60 };

/* Collective. `path` is there on rank 0; `what` names it: "run_dir", "--out". LAP_DATA naming the
 * first rank that does not see it. Leaves nothing behind. */
lap_code lap_shared_directory_check(lap_comm *comm, const char *path, const char *what,
                                    lap_status *status);

#endif
