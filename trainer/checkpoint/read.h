/* read: what the writer asks of the reader; private to this folder. */
#ifndef LAP_TRAINER_CHECKPOINT_READ_H
#define LAP_TRAINER_CHECKPOINT_READ_H

#include "trainer/checkpoint/checkpoint.h"

/* Collective. Whether a full checkpoint with this hash is at `path` and every byte of it is as it
 * was written; the ranks share the reading. */
bool lap_checkpoint_is_there(const char *path, const char *state_sha256, lap_comm *comm);

#endif
