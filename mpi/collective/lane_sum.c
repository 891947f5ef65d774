/* Sums of a few doubles over lanes: every rank sends the values of its subtree roots to every other
 * of its group, and all put them together alike. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/collective/lane_sum.h"
#include "mpi/transport/exchange.h"
#include "mpi/tree/lane_roots.h"

/* The values of the roots of what this rank holds. */
static lap_scalar_counter sum_here(const lap_leaves *leaves, lap_lanes lanes,
                                   lap_lane_schedule schedule, const double *mine, int count) {
  lap_scalar_counter here = lap_scalar_counter_create(leaves, count);
  for (int i = 0; i < lanes.count && schedule == LAP_LANES_BLOCK; ++i)
    lap_scalar_counter_push(&here, lap_leaf_of_lane(leaves, lanes.first + i * lanes.stride),
                            mine + (size_t)i * (size_t)count);
  return here;
}

void lap_lane_sum(const lap_group *replicas, const lap_mesh *mesh, const lap_fold *fold,
                  lap_lane_schedule schedule, const double *mine, int count, double *sums) {
  assert(fold->replicas == replicas->size && fold->replica == replicas->index);
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  const lap_lanes lanes = lap_fold_lanes(fold, mesh, schedule);
  const size_t row = (size_t)count * sizeof(double);
  lap_scalar_counter here = sum_here(&leaves, lanes, schedule, mine, count);
  lap_mesh_count_lane_sum(lap_comm_mesh_traffic(replicas->comm), mesh,
                          (int64_t)lanes.count * fold->shard_count, count);

  /* In rank order: all subtree roots of a rank's range, or all its single lanes. */
  size_t *first = lap_allocate(replicas->size + 1, sizeof *first);
  for (int q = 0; q < replicas->size; ++q)
    first[q + 1] =
        first[q] + (size_t)lap_roots_of_replica(&leaves, replicas->size, q, schedule, NULL);
  double *all = lap_allocate((int64_t)first[replicas->size] * count, sizeof *all);
  const size_t own = first[replicas->index + 1] - first[replicas->index];
  memcpy(all + first[replicas->index] * (size_t)count,
         schedule == LAP_LANES_CYCLIC ? mine : here.values, own * row);
  lap_exchange exchange = {
      .round = LAP_ROUND_SCALARS, .kind = LAP_TRAFFIC_SCALARS, .what = "sum scalars of lanes"};
  for (int step = 1; step < replicas->size; ++step) {
    const int to = lap_group_to(replicas, step), from = lap_group_from(replicas, step);
    lap_exchange_send(&exchange, lap_group_rank(replicas, to),
                      all + first[replicas->index] * (size_t)count, own * row);
    lap_exchange_receive(&exchange, lap_group_rank(replicas, from),
                         all + first[from] * (size_t)count, (first[from + 1] - first[from]) * row);
  }
  lap_exchange_finish(replicas->comm, &exchange);

  lap_scalar_counter whole = lap_scalar_counter_create(&leaves, count);
  lap_tree_node roots[LAP_TREE_DEPTH];
  for (int q = 0; q < replicas->size && schedule == LAP_LANES_BLOCK; ++q) {
    const int held = lap_roots_of_replica(&leaves, replicas->size, q, schedule, roots);
    for (int i = 0; i < held; ++i)
      lap_scalar_counter_push(&whole, roots[i], all + (first[q] + (size_t)i) * (size_t)count);
  }
  for (int lane = 0; lane < leaves.items && schedule == LAP_LANES_CYCLIC; ++lane)
    lap_scalar_counter_push(
        &whole, lap_leaf_of_lane(&leaves, lane),
        all + (first[lane % replicas->size] + (size_t)(lane / replicas->size)) * (size_t)count);
  assert(whole.nodes.depth == 1);
  memcpy(sums, whole.values, row);
  lap_scalar_counter_release(&whole);
  lap_scalar_counter_release(&here);
  free(all);
  free(first);
}
