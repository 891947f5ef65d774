/* mesh: the logical mesh and how ranks fold it (docs/design.md#logical-mesh).
 *
 * The logical mesh, pods x data lanes per pod x model shards, decides the numbers; the physical
 * ranks decide only the speed. Ranks stand in replicas of `model_ranks` ranks each, one behind
 * another: rank = replica * model_ranks + model_rank. A replica runs whole lanes, and its ranks
 * share the model shards evenly.
 */
#ifndef LAP_MPI_TREE_MESH_H
#define LAP_MPI_TREE_MESH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

typedef struct {
  int pods;  /* >= 1 */
  int data;  /* lanes per pod, >= 1 */
  int model; /* model shards, >= 1 */
} lap_mesh;

static inline int lap_mesh_lanes(const lap_mesh *mesh) { return mesh->pods * mesh->data; }

/* The leaf of the summation tree where a lane stands: lanes within a pod first, then pods. A pod's
 * leaves are padded to a power of two, so that no node of the tree crosses a pod before the pod is
 * summed; padding leaves are empty. */
int64_t lap_mesh_leaf(const lap_mesh *mesh, int lane);

/* What one rank holds. */
typedef struct {
  int replicas, replica;
  int model_ranks, model_rank;
  int first_shard, shard_count; /* model shards [first_shard, first_shard + shard_count) */
  /* Block lanes: of R replicas, replica q holds lanes [floor(q L/R), floor((q+1) L/R)). */
  int first_lane, end_lane;
} lap_fold;

/* Not collective. What `rank` of `ranks` holds. `model_ranks` 0 is the fewest that put every rank
 * to use: data lanes first. LAP_USAGE where these ranks have no layout - model_ranks divides both
 * the model shards and the ranks, and there are no more replicas than lanes - naming the nearest
 * counts that have one. */
lap_code lap_mesh_fold(const lap_mesh *mesh, int model_ranks, int ranks, int rank, lap_fold *fold,
                       lap_status *status);

/* How the lanes are distributed over the replicas. */
typedef enum {
  LAP_LANES_BLOCK, /* each has neighbouring lanes, lap_fold.first_lane to end_lane */
  LAP_LANES_CYCLIC /* in round r replica q of R has lane r R + q */
} lap_lane_schedule;

/* Cyclic lanes: the lane of this rank in a round, or -1 where it has none in that round. */
int lap_fold_cyclic_lane(const lap_fold *fold, const lap_mesh *mesh, int round);
int lap_fold_rounds(const lap_fold *fold, const lap_mesh *mesh);

/* Lanes first, first + stride, ...: what one rank holds of them. */
typedef struct {
  int first, stride, count;
} lap_lanes;

/* All lanes of this rank. */
lap_lanes lap_fold_lanes(const lap_fold *fold, const lap_mesh *mesh, lap_lane_schedule schedule);
/* One lane; of -1: none. */
static inline lap_lanes lap_one_lane(int lane) { return (lap_lanes){lane, 1, lane >= 0}; }

/* Lanes of the mean replica over lanes of the fullest: 1 where lanes are even. */
double lap_mesh_efficiency(const lap_mesh *mesh, int replicas);

#endif
