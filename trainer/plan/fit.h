/* fit: the micro-batch of a run that the config leaves open. */
#ifndef LAP_TRAINER_PLAN_FIT_H
#define LAP_TRAINER_PLAN_FIT_H

#include "trainer/plan/plan.h"

/* Lowers batch.micro_sequences, where it is not given, until the plan of the fullest rank takes at
 * most half of `bytes`: a rank's part of the memory of its node. At least 1; LAP_USAGE as
 * lap_plan_make. */
lap_code lap_fit_micro_sequences(lap_config *config, const lap_plan_request *request, double bytes,
                                 lap_status *status);

/* Collective. A rank's part of its node's memory in bytes, where that is the least of all nodes; 0
 * where a system does not say it. */
int64_t lap_rank_memory_here(lap_comm *comm);

/* Collective. The same as lap_fit_micro_sequences, with lap_rank_memory_here. */
lap_code lap_fit_micro_sequences_here(lap_config *config, const lap_plan_request *request,
                                      lap_comm *comm, lap_status *status);

#endif
