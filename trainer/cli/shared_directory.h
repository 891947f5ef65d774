/* shared_directory: whether all ranks mean the same directory by the same path.
 *
 * Ranks that write into one directory need a file system that all of them see. Where they do not,
 * each finds only its own files, which look missing or damaged. Rank 0 writes a random text, the
 * nonce, and the others look for it.
 */
#ifndef LAP_TRAINER_CLI_SHARED_DIRECTORY_H
#define LAP_TRAINER_CLI_SHARED_DIRECTORY_H

#include "mpi/transport/communicator.h"

/* Collective. `path` is there on rank 0; `what` names it: "run_dir", "--out". LAP_DATA naming the
 * first rank that does not see it. Leaves nothing behind. */
lap_code lap_shared_directory_check(lap_comm *comm, const char *path, const char *what,
                                    lap_status *status);

/* --- its parts; not collective --- */

enum { LAP_NONCE_TEXT = 33 };
/* 128 random bits as hex. LAP_DATA where the system has none. */
lap_code lap_nonce_create(char nonce[LAP_NONCE_TEXT], lap_status *status);
lap_code lap_nonce_write(const char *path, const char *nonce, lap_status *status);
/* LAP_DATA where this process does not find the nonce in its view of the directory; waits up to
 * `patience_seconds` for it, because network file systems cache what is not there. */
lap_code lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                         lap_status *status);
void lap_nonce_remove(const char *path);

#endif
