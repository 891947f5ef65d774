/* weight_target: where a reader puts the weights that it reads: the ranges of tensor parts that a
 * process holds (gemma2/parameters.h). A reader has whole tensors, or parts for another number of
 * shards; each element is located by its index in the whole tensor.
 */
#ifndef LAP_TRAINER_STATE_WEIGHT_TARGET_H
#define LAP_TRAINER_STATE_WEIGHT_TARGET_H

#include "autograd/gemma2/parameters.h"
#include "mpi/tree/partition.h"

/* Of bucket b of `parameters`, elements `held`[b] of the vector go to `at`[b] and on, or, where
 * they are to be held in bfloat16, to `bfloat16`[b] and on; the other of the two is NULL. Padding
 * is left as it is. */
typedef struct {
  const lap_parameters *parameters;
  lap_range *held;     /* [buckets] */
  float **at;          /* [buckets] */
  uint16_t **bfloat16; /* [buckets] */
} lap_weight_target;

/* Nothing is held yet. */
lap_weight_target lap_weight_target_create(const lap_parameters *parameters);
/* All of the vector `values` [parameters->elements]. */
lap_weight_target lap_weight_target_of_vector(const lap_parameters *parameters, float *values);
/* The same, held in bfloat16. */
lap_weight_target lap_weight_target_of_bfloat16(const lap_parameters *parameters, uint16_t *values);
void lap_weight_target_release(lap_weight_target *target);

/* The range of a part that is held: elements of the part, and where they go. */
typedef struct {
  int64_t begin, end;
  float *at;
  uint16_t *bfloat16;
} lap_held_part;
lap_held_part lap_weight_target_part(const lap_weight_target *target, const lap_parameter *p);

/* Puts `values` [count] where elements [begin, begin + count) of the part go. To bfloat16 they are
 * rounded as a product rounds its operands; what bfloat16 holds exactly stays as it is, subnormals
 * too. */
void lap_held_part_store(const lap_held_part *held, int64_t begin, int64_t count,
                         const float *values);

/* Copies the elements of a run of a whole tensor that the target holds as part `p` from `values`
 * [run.count]; NULL: copies nothing. Returns whether there are any. */
bool lap_weight_target_copy(const lap_weight_target *target, const lap_parameter *p, lap_run run,
                            const float *values);

#endif
