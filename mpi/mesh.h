/* mesh: the logical mesh and how ranks fold it (DESIGN 2).
 *
 * The logical mesh, pods x data lanes per pod x model shards, decides the numbers; the physical
 * ranks decide only the speed. Of R replicas, replica q holds lanes [floor(q L/R), floor((q+1)
 * L/R)).
 */
#ifndef LAP_MPI_MESH_H
#define LAP_MPI_MESH_H

#include <stdint.h>

#include "autograd/core/status.h"

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
  int first_lane, end_lane; /* [first_lane, end_lane) */
} lap_fold;

/* Not collective. What `rank` of `ranks` replicas holds. LAP_USAGE where there are more ranks than
 * lanes, naming the nearest count that works with even lanes. */
lap_code lap_mesh_fold(const lap_mesh *mesh, int ranks, int rank, lap_fold *fold,
                       lap_status *status);
/* Lanes of the mean rank over lanes of the fullest: 1 where lanes are even. */
double lap_mesh_efficiency(const lap_mesh *mesh, int ranks);

/* --- the canonical vector: tensors padded to blocks of 1024 elements, owned in whole blocks --- */

enum { LAP_BLOCK = 1024 };

/* Rank q of P owns blocks [floor(q B/P), floor((q+1) B/P)) of B = elements / 1024, as elements;
 * none where there are more ranks than blocks and it is not its turn. `elements` is a multiple of
 * 1024. */
int64_t lap_owned_begin(int64_t elements, int ranks, int rank);
static inline int64_t lap_owned_end(int64_t elements, int ranks, int rank) {
  return lap_owned_begin(elements, ranks, rank + 1);
}

#endif
