/* tensors: what inspect says of files of named tensors: safetensors and GGUF. */
#ifndef LAP_TRAINER_INSPECT_TENSORS_H
#define LAP_TRAINER_INSPECT_TENSORS_H

#include "trainer/inspect/inspector.h"

/* Each sets the report's summary, and names all tensors with type and shape. When checking, every
 * value of a float type that lapidary reads must be finite. LAP_DATA naming the first problem. */
lap_code lap_inspect_safetensors(const lap_inspector *inspector, const char *path,
                                 lap_report *report, lap_status *status);
lap_code lap_inspect_gguf(const lap_inspector *inspector, const char *path, lap_report *report,
                          lap_status *status);

#endif
