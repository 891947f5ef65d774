/* state: what a run consists of between two steps, on this rank.
 *
 * A rank holds the model shards of its fold (mpi/tree/mesh.h). The ranks of the other replicas that
 * hold the same shards are its group. Of each kind of value (weights, the two moments) a rank has
 * either the whole vector of its shards, in the layout of gemma2/parameters.h, or only the ranges
 * that it owns within the group (mpi/tree/partition.h):
 *   mesh.shard              none     optimizer, gradients     full
 *   weights                 whole    whole                    owned
 *   exp_avg, exp_avg_sq     whole    owned                    owned
 * Step, applied updates and bad steps are the same on every rank.
 *
 * A state of weights alone, for passes forward, may hold them in bfloat16, whole.
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

/* The values that belong to an element of the vector, in the order of files and hashes. */
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
  bool whole[LAP_STATE_KINDS];    /* the whole vector lies here, else the owned ranges */
  float *values[LAP_STATE_KINDS]; /* [parameters->elements] or [owned_elements]; the moments are
                                     NULL where only weights are held */
  uint16_t *bfloat16;             /* [parameters->elements]: the weights; their `values` are NULL.
                                     NULL where they are held in float32 */
  uint64_t step;                  /* steps done, skipped ones included */
  uint64_t applied_updates;       /* updates made: Adam's t */
  uint64_t bad_steps;             /* consecutive non-finite steps up to now */
} lap_state;

/* Not collective. Divides the vector of `parameters` among `owners`, bucket by bucket. */
lap_partition *lap_state_partition(const lap_parameters *parameters, int owners);

/* "weight", "exp_avg", "exp_avg_sq". */
const char *lap_state_kind_name(lap_state_kind kind);

/* Not collective. Zeroed. */
lap_state *lap_state_create(const lap_gemma2_config *model, const lap_placement *placement,
                            bool with_moments);
/* Not collective. Weights alone, held in bfloat16; zeroed. The placement does not divide them. */
lap_state *lap_state_create_bfloat16(const lap_gemma2_config *model,
                                     const lap_placement *placement);
/* Not collective. The whole model on one rank; `comm` must have no other. */
lap_state *lap_state_create_alone(const lap_gemma2_config *model, lap_comm *comm,
                                  bool with_moments);
/* Not collective. A state without values, which are NULL: for `..._bytes` functions. */
lap_state *lap_state_outline(const lap_gemma2_config *model, const lap_placement *placement);
void lap_state_destroy(lap_state *state);
/* Adds what create allocates for values. */
void lap_state_bytes(const lap_state *state, bool with_moments, lap_memory_table *memory);
/* Adds what create_bfloat16 allocates. */
void lap_state_bfloat16_bytes(const lap_state *state, lap_memory_table *memory);

/* Not collective. The weights that are held here get the random start of gemma2/parameters.h. */
void lap_state_initialise(lap_state *state, uint64_t seed);

/* Not collective. Elements of the bucket that are held here: its owned range, or all of it. */
lap_range lap_state_held(const lap_state *state, lap_state_kind kind, int bucket);
/* Not collective. The address of an element of the vector that is held here in float32; one past
 * the last is allowed, for empty ranges. */
float *lap_state_at(const lap_state *state, lap_state_kind kind, int bucket, int64_t element);

/* Not collective. Where a reader puts the weights that are held here; the caller releases it. */
lap_weight_target lap_state_weight_target(const lap_state *state);

/* Collective. For whole weights of which only each owner's own ranges are right: gathers them, so
 * that all are right everywhere. */
void lap_state_gather_weights(lap_state *state);

#endif
