/* traffic: what a training step sends, by kind, as a plan and as a count (docs/design.md#traffic).
 *
 * Both are bytes of all ranks together in a steady step, one that makes an update: `sent` between
 * processes, `mesh` between the chips of the logical mesh (mpi/traffic/traffic.h). The plan is a
 * sum over the step's messages (messages.h); the count is equal to it, to the byte. Checkpoints,
 * evaluations and the agreements around them are no part of a step.
 */
#ifndef LAP_TRAINER_STEP_TRAFFIC_H
#define LAP_TRAINER_STEP_TRAFFIC_H

#include <jansson.h>

#include "mpi/transport/communicator.h"
#include "trainer/config/config.h"

typedef struct {
  lap_traffic sent;
  lap_mesh_traffic mesh;
} lap_step_traffic;

/* Not collective. On `ranks` ranks that fold the mesh, so many of them on each node, one node after
 * the other. `teacher_k`: kept ids of the batches; 0: no teacher. */
void lap_step_traffic_plan(const lap_config *config, int ranks, int ranks_per_node,
                           int64_t teacher_k, lap_step_traffic *traffic);

/* {"sent": {KIND: {"within_node", "between_nodes"}, ...}, "mesh": {KIND: {"ici", "dcn"}, ...}} */
json_t *lap_step_traffic_to_json(const lap_step_traffic *traffic);
/* A table of both on stdout, and under it, where checks sent something, how much. */
void lap_step_traffic_print(const lap_step_traffic *traffic, uint64_t check_bytes);

/* Counts on one rank what is sent between each start and stop. All that was started must have been
 * waited for at both (lap_block_weights_wait_all). */
typedef struct {
  lap_step_traffic counted, mark;
  uint64_t checks, checks_mark; /* lap_comm_check_bytes */
  uint64_t steps;               /* the caller's to count */
  bool running;
} lap_traffic_meter;

/* Not collective. A start of a running meter, and a stop of one that is not, do nothing. */
void lap_traffic_meter_start(lap_traffic_meter *meter, lap_comm *comm);
void lap_traffic_meter_stop(lap_traffic_meter *meter, lap_comm *comm);
/* Collective. The mean step of all ranks together, and what its checks sent beside that; all zero
 * where no step was counted. */
void lap_traffic_meter_mean(const lap_traffic_meter *meter, lap_comm *comm,
                            lap_step_traffic *traffic, uint64_t *check_bytes);

#endif
