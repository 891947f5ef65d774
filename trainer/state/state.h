/* state: what a run consists of between two steps, on this rank.
 *
 * A rank holds the model shards of its fold (mpi/tree/mesh.h). The ranks of the other replicas that
 * hold the same shards are its group. Of each kind of value (weights, the two moments) a rank has
 * either the whole vector of its shards, in the layout of gemma2/parameters.h, or only the ranges
 * that it owns within the group (mpi/tree/partition.h):
 *   mesh.shard                     none     optimizer, gradients     full
 *   weights                        whole    whole                    owned
 *   exp_avg, exp_avg_sq            whole    owned                    owned
 * Where training is in bfloat16, passes read weights that are rounded to it, and those in float32
 * are needed only where they are updated:
 *   weights                        whole    owned                    owned
 *   weights in bfloat16            whole    whole                    - (block_weights.h has them)
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

/* The values that belong to an element of the vector, in the order of files and hashes. */
typedef enum { LAP_WEIGHT, LAP_EXP_AVG, LAP_EXP_AVG_SQ, LAP_STATE_KINDS } lap_state_kind;

/* What a state is for. */
typedef enum {
  LAP_STATE_WEIGHTS,           /* weights alone */
  LAP_STATE_TRAINING,          /* weights and moments */
  LAP_STATE_WEIGHTS_BFLOAT16,  /* weights alone, held in bfloat16, whole: for passes forward */
  LAP_STATE_TRAINING_BFLOAT16, /* weights and moments, and weights in bfloat16 for passes */
} lap_state_use;

typedef struct {
  lap_placement placement;
  lap_state_use use;
  lap_group group;            /* ranks with the same shards: the owners of the partition */
  lap_parameters *parameters; /* of the shards held here */
  lap_parameters *all;        /* of all shards of the mesh: names, shapes, canonical offsets */
  lap_partition *partition;   /* of the vector of `parameters`, by its buckets */
  lap_range *owned;           /* [buckets]: this rank's ranges */
  int64_t *owned_offset;      /* [buckets]: where they lie in an array of owned ranges */
  int64_t owned_elements;
  bool whole[LAP_STATE_KINDS];    /* the whole vector lies here, else the owned ranges */
  float *values[LAP_STATE_KINDS]; /* [parameters->elements] or [owned_elements]; NULL: not held */
  uint16_t *bfloat16;             /* [parameters->elements]: weights for passes; NULL: not held. In
                                     training block_weights.h makes them of `values` */
  uint64_t step;                  /* steps done, skipped ones included */
  uint64_t applied_updates;       /* updates made: Adam's t */
  uint64_t bad_steps;             /* consecutive non-finite steps up to now */
} lap_state;

/* Not collective. Divides the vector of `parameters` among `owners`, bucket by bucket. */
lap_partition *lap_state_partition(const lap_parameters *parameters, int owners);

/* "weight", "exp_avg", "exp_avg_sq". */
const char *lap_state_kind_name(lap_state_kind kind);

/* LAP_STATE_TRAINING, in bfloat16 where the config's precision is. */
lap_state_use lap_state_use_of_training(const lap_config *config);

/* Not collective. Zeroed. LAP_STATE_WEIGHTS_BFLOAT16: the placement does not divide weights. */
lap_state *lap_state_create(const lap_gemma2_config *model, const lap_placement *placement,
                            lap_state_use use);
/* Not collective. Weights of the whole model on one rank; `comm` must have no other. */
lap_state *lap_state_create_alone(const lap_gemma2_config *model, lap_comm *comm);
/* Not collective. A state without values, which are NULL: for `..._bytes` functions. */
lap_state *lap_state_outline(const lap_gemma2_config *model, const lap_placement *placement,
                             lap_state_use use);
void lap_state_destroy(lap_state *state);
/* Adds what create allocates for values; an outline will do. */
void lap_state_bytes(const lap_state *state, lap_memory_table *memory);

/* Whether passes read weights in bfloat16; and whether `bfloat16` has a vector of them, also of an
 * outline. */
bool lap_state_reads_bfloat16(const lap_state *state);
bool lap_state_holds_bfloat16(const lap_state *state);

/* Not collective. The weights that are held here get the random start of gemma2/parameters.h. */
void lap_state_initialise(lap_state *state, uint64_t seed);

/* Not collective. Elements of the bucket that are held here: its owned range, or all of it. */
lap_range lap_state_held(const lap_state *state, lap_state_kind kind, int bucket);
/* Not collective. The address of an element of the vector that is held here in float32; one past
 * the last is allowed, for empty ranges. */
float *lap_state_at(const lap_state *state, lap_state_kind kind, int bucket, int64_t element);

/* Not collective. Where a reader puts the weights that are held here; the caller releases it. */
lap_weight_target lap_state_weight_target(const lap_state *state);

/* Collective. For whole weights in float32 of which only each owner's own ranges are right: gathers
 * them, so that all are right everywhere. */
void lap_state_gather_weights(lap_state *state);

#endif
