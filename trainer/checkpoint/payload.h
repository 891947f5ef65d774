/* payload: what one rank has of a state, in a file of its own; private to this folder.
 *
 * Nothing here is collective, and everything but listing may run on a thread of its own, beside
 * training: it makes no MPI call and looks at nothing that a step changes.
 */
#ifndef LAP_TRAINER_CHECKPOINT_PAYLOAD_H
#define LAP_TRAINER_CHECKPOINT_PAYLOAD_H

#include "trainer/checkpoint/manifest.h"

/* DIRECTORY/rank-00000.bin, malloc'ed; and the name alone. */
char *lap_payload_path(const char *directory, int rank);
char *lap_payload_name(int rank);

/* Lists the pieces that rank `rank` owns of `state`, in the order of its file, without checksums.
 * A piece's `tensor` is its index in state->all, its `file` the rank. Returns the bytes of the
 * file. */
int64_t lap_payload_list(const lap_state *state, bool full, int rank, lap_checkpoint_pieces *list);

/* Creates the file and has the file system set its bytes aside, so that a full disk shows before
 * anything is written. A file system that cannot do that says so later, in write or fsync. (Not
 * posix_fallocate: it would then write zeros instead.) */
lap_code lap_payload_reserve(const char *path, int64_t bytes, int *descriptor, lap_status *status);

/* Writes the pieces and sets their checksums; syncs and closes the file, in every case. Goes around
 * the page cache where the file system lets it; where not, its pages leave the cache at the end. */
lap_code lap_payload_write(const lap_state *state, lap_checkpoint_pieces *list, int descriptor,
                           const char *path, lap_status *status);

/* Reads a file that another rank has written, from the disk as far as the system lets us: around
 * this host's page cache, and its pages in there are dropped first. LAP_DATA naming the tensor
 * where the bytes are not those that were written. A name that cannot be seen yet is waited for
 * (NFS). */
lap_code lap_payload_read_back(const char *path, const lap_parameters *all,
                               const lap_checkpoint_piece *piece, int count, lap_status *status);

#endif
