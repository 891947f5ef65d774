/* model: what a config says of model and mesh, for checkpoints and configs alike. */
#ifndef LAP_TRAINER_INSPECT_MODEL_H
#define LAP_TRAINER_INSPECT_MODEL_H

#include "trainer/config/config.h"
#include "trainer/inspect/report.h"

/* The section "model": shape and parameter counts. The sizes must be there. */
void lap_report_model(lap_report *report, const lap_gemma2_config *model);

/* The fact "mesh". */
void lap_report_mesh(lap_report *report, const lap_mesh *mesh);

/* Inputs that a run of this config has seen after `step` steps; 0 where the config does not say. */
uint64_t lap_tokens_trained(const lap_config *config, uint64_t step);

#endif
