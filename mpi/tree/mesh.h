/* mesh: the logical mesh and how ranks fold it (docs/design.md#logical-mesh).
 *
 * The logical mesh, pods x data lanes per pod x model shards, decides the numbers; the physical
 * ranks decide only the speed. Ranks form replicas of `model_ranks` ranks each, one after another:
 * rank = replica * model_ranks + model_rank. The ranks of a replica share the model shards evenly
 * and run the same lanes together.
 *
 * A step goes in rounds: in round r every replica runs its r-th lane, if it has one.
 */
#ifndef LAP_MPI_TREE_MESH_H
#define LAP_MPI_TREE_MESH_H

#include <stdint.h>

#include "core/status.h"

typedef struct {
  int pods;  /* >= 1 */
  int data;  /* lanes per pod, >= 1 */
  int model; /* model shards, >= 1 */
} lap_mesh;

static inline int lap_mesh_lanes(const lap_mesh *mesh) { return mesh->pods * mesh->data; }

/* How L lanes are distributed over R replicas. */
typedef enum {
  LAP_LANES_BLOCK, /* replica q has lanes [floor(q L/R), floor((q+1) L/R)) */
  LAP_LANES_CYCLIC /* replica q has lanes q, q + R, q + 2 R, ... */
} lap_lane_schedule;

/* Lanes first, first + stride, ..., in the order in which a replica runs them. */
typedef struct {
  int first, stride, count;
} lap_lanes;

lap_lanes lap_lanes_of_replica(const lap_mesh *mesh, lap_lane_schedule schedule, int replicas,
                               int replica);
/* One lane; none where `lane` is -1. */
static inline lap_lanes lap_one_lane(int lane) { return (lap_lanes){lane, 1, lane >= 0}; }
/* The lane that runs in a round; -1 where the replica has no lane left for it. */
static inline int lap_lane_in_round(lap_lanes lanes, int round) {
  return round < lanes.count ? lanes.first + round * lanes.stride : -1;
}
/* Rounds of a step: the lanes of the replica that has most. The same for both schedules. */
int lap_mesh_rounds(const lap_mesh *mesh, int replicas);

/* What one rank holds. */
typedef struct {
  int replicas, replica;
  int model_ranks, model_rank;
  int first_shard, shard_count; /* model shards [first_shard, first_shard + shard_count) */
  lap_lane_schedule schedule;
  lap_lanes lanes; /* of this rank's replica */
  int rounds;      /* of a step, the same on every rank */
} lap_fold;

/* Not collective. What `rank` of `ranks` holds. `model_ranks` 0 means the fewest that give every
 * rank something to do: data lanes first. LAP_USAGE where these ranks cannot fold the mesh, with
 * the nearest counts that can: model_ranks must divide both the model shards and the ranks, and
 * there must not be more replicas than lanes. */
lap_code lap_mesh_fold(const lap_mesh *mesh, int model_ranks, lap_lane_schedule schedule, int ranks,
                       int rank, lap_fold *fold, lap_status *status);

/* The most of `ranks` ranks that can fold the mesh; 0: none can. */
int lap_mesh_usable_ranks(const lap_mesh *mesh, int model_ranks, int ranks);

/* Lanes of the mean replica over lanes of the fullest: 1 where lanes are even. */
double lap_mesh_efficiency(const lap_mesh *mesh, int replicas);

#endif
