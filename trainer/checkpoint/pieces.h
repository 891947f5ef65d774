/* pieces: the payload of a checkpoint, piece by piece, into whatever layout the reader has; private
 * to this folder.
 *
 * A piece is a stretch of one shard's part of one tensor, by the mesh of the writer, which need not
 * be that of the reader (trainer/state/weight_target.h).
 */
#ifndef LAP_TRAINER_CHECKPOINT_PIECES_H
#define LAP_TRAINER_CHECKPOINT_PIECES_H

#include "trainer/checkpoint/manifest.h"
#include "trainer/state/weight_target.h"

/* Not collective, as all here. LAP_DATA naming the tensor where the checkpoint has not just the
 * tensors that `parameters` are parts of. */
lap_code lap_pieces_check_tensors(const lap_checkpoint *checkpoint,
                                  const lap_parameters *parameters, lap_status *status);

/* Reads what the target holds of a kind; each piece is compared with its checksum before anything
 * of it is used. Padding is left as it is. */
lap_code lap_pieces_read(const lap_checkpoint *checkpoint, lap_state_kind kind,
                         const lap_weight_target *target, lap_status *status);

/* Reads pieces first, first + stride, ... and compares checksums. */
lap_code lap_pieces_verify(const lap_checkpoint *checkpoint, int first, int stride,
                           lap_status *status);

#endif
