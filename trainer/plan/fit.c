#include "trainer/plan/fit.h"

#include "core/node_memory.h"
#include "mpi/transport/agree.h"
#include "trainer/config/origin.h"
#include "trainer/config/resolve.h"

lap_code lap_fit_micro_sequences(lap_config *config, const lap_plan_request *request, double bytes,
                                 lap_status *status) {
  if (lap_config_is_given(config, "batch.micro_sequences")) return LAP_OK;
  while (config->batch.micro_sequences > 1) {
    lap_plan plan;
    LAP_TRY(lap_plan_make(config, request, &plan, status));
    if ((double)lap_memory_total(&plan.memory) <= bytes / 2) break;
    lap_config_limit_micro_sequences(config, config->batch.micro_sequences - 1);
  }
  return LAP_OK;
}

int64_t lap_rank_memory_here(lap_comm *comm) {
  const int64_t node = lap_node_memory_look("").bytes;
  int64_t least, most;
  lap_agree_range(comm, node / lap_comm_ranks_on_node(comm), &least, &most);
  return least;
}

lap_code lap_fit_micro_sequences_here(lap_config *config, const lap_plan_request *request,
                                      lap_comm *comm, lap_status *status) {
  return lap_fit_micro_sequences(config, request, (double)lap_rank_memory_here(comm), status);
}
