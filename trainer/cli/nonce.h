/* nonce: a random text in a directory, by which another process finds out whether it sees the same
 * directory. Not collective.
 */
#ifndef LAP_TRAINER_CLI_NONCE_H
#define LAP_TRAINER_CLI_NONCE_H

#include "core/status.h"

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
