/* checkpoint: what inspect says of checkpoints, and of models in Hugging Face directories. */
#ifndef LAP_TRAINER_INSPECT_CHECKPOINT_H
#define LAP_TRAINER_INSPECT_CHECKPOINT_H

#include "trainer/inspect/inspector.h"

/* Each sets the report's summary. LAP_DATA naming the first problem. */
lap_code lap_inspect_checkpoint(const lap_inspector *inspector, const char *path,
                                lap_report *report, lap_status *status);
lap_code lap_inspect_hugging_face(const lap_inspector *inspector, const char *path,
                                  lap_report *report, lap_status *status);

/* Reads every byte of the checkpoint at `path` (a checkpoint directory) and compares checksums and
 * tensors with its model; of a full one also the state with state_sha256. Memory: the state. */
lap_code lap_inspect_verify_checkpoint(const lap_inspector *inspector, const char *path,
                                       lap_status *status);

/* `latest`, which names the newest checkpoint beside it. LAP_DATA where it does not. */
lap_code lap_inspect_hint(const lap_inspector *inspector, const char *path, lap_report *report,
                          lap_status *status);

#endif
