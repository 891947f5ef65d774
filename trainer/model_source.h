/* model_source: a trained model as eval, teach, generate and init take it: a checkpoint directory,
 * or a run directory (its newest whole checkpoint). */
#ifndef LAP_TRAINER_MODEL_SOURCE_H
#define LAP_TRAINER_MODEL_SOURCE_H

#include "autograd/gemma2/parameters.h"
#include "trainer/checkpoint.h"
#include "trainer/config.h"

typedef struct {
  lap_checkpoint *checkpoint;
  lap_config *config; /* config.resolved.yaml of the checkpoint */
  lap_parameters *parameters;
  float *weights;       /* canonical vector, checked; NULL until lap_model_read_weights */
  char *tokenizer_path; /* tokenizer.model in the checkpoint; NULL: none there */
} lap_model_source;

/* Not collective. LAP_DATA naming the file. */
lap_code lap_model_open(const char *path, lap_model_source *source, lap_status *status);
lap_code lap_model_read_weights(lap_model_source *source, lap_status *status);
void lap_model_close(lap_model_source *source);

#endif
