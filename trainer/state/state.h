/* state: what a run is between two steps, on this rank.
 *
 * A rank holds the model shards of its fold (mpi/tree/mesh.h), shared with the ranks of the other
 * replicas that hold the same ones: its group. What mesh.shard leaves undivided lies here whole, in
 * the layout of gemma2/parameters.h; the rest only as the owned ranges of mpi/tree/partition.h:
 *   mesh.shard              none     optimizer, gradients     full
 *   weights                 whole    whole                    owned
 *   exp_avg, exp_avg_sq     whole    owned                    owned
 * Step, applied updates and bad steps are the same on every rank.
 */
#ifndef LAP_TRAINER_STATE_STATE_H
#define LAP_TRAINER_STATE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemma2/parameters.h"
#include "mpi/collective/mesh_groups.h"
#include "mpi/tree/partition.h"
#include "trainer/state/memory_table.h"
#include "trainer/state/placement.h"
#include "trainer/state/weight_target.h"

/* What an element of the vector has; files and hashes go through them in this order. */
typedef enum { LAP_WEIGHT, LAP_EXP_AVG, LAP_EXP_AVG_SQ, LAP_STATE_KINDS } lap_state_kind;

typedef struct {
  lap_placement placement;
  lap_group group;            /* ranks with the same shards: the owners of the partition */
  lap_parameters *parameters; /* of the shards held here */
  lap_parameters *all;        /* of all shards of the mesh: names, shapes, canonical offsets */
  lap_partition *partition;   /* of the vector of `parameters`, by its buckets */
  lap_range *owned;           /* [buckets]: this rank's ranges */
  int64_t *owned_offset;      /* [buckets]: where they lie in an array of owned ranges */
  int64_t owned_elements;
  bool whole[LAP_STATE_KINDS];
  float *values[LAP_STATE_KINDS]; /* [parameters->elements] or [owned_elements]; the moments are
                                     NULL where only weights are held */
  uint64_t step;                  /* steps done, skipped ones included */
  uint64_t applied_updates;       /* updates made: Adam's t */
  uint64_t bad_steps;             /* consecutive non-finite steps up to now */
} lap_state;

/* Not collective. The vector of `parameters` among `owners`, by its buckets. */
lap_partition *lap_state_partition(const lap_parameters *parameters, int owners);

/* "weight", "exp_avg", "exp_avg_sq". */
const char *lap_state_kind_name(lap_state_kind kind);

/* Not collective. Zeroed. */
lap_state *lap_state_create(const lap_gemma2_config *model, const lap_placement *placement,
                            bool with_moments);
/* Not collective. The whole model on one rank: `comm` has no other. */
lap_state *lap_state_create_alone(const lap_gemma2_config *model, lap_comm *comm,
                                  bool with_moments);
/* Not collective. All but the values, which are NULL: what `..._bytes` functions ask, here and in
 * other modules. */
lap_state *lap_state_outline(const lap_gemma2_config *model, const lap_placement *placement);
void lap_state_destroy(lap_state *state);
/* What create allocates for values. */
void lap_state_bytes(const lap_state *state, bool with_moments, lap_memory_table *memory);

/* Not collective. The weights that are held here get the random start of gemma2/parameters.h. */
void lap_state_initialise(lap_state *state, uint64_t seed);

/* Not collective. Elements of the bucket that are held here: its owned range, or all of it. */
lap_range lap_state_held(const lap_state *state, lap_state_kind kind, int bucket);
/* Not collective. Where an element of the vector lies that is held here; one past the last is
 * allowed, for empty ranges. */
float *lap_state_at(const lap_state *state, lap_state_kind kind, int bucket, int64_t element);

/* Not collective. Where a reader puts the weights that are held here; the caller releases it. */
lap_weight_target lap_state_weight_target(const lap_state *state);

/* Collective. Where weights are whole and each owner's ranges are right: makes all of them so. */
void lap_state_gather_weights(lap_state *state);

#endif
