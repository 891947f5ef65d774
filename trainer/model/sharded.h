/* sharded: a trained model over the ranks of a job, by its model shards: what eval and teach run, a
 * model that is larger than a node too.
 *
 * The number of model shards decides the numbers, as in training; it is the one that the model was
 * trained with, or one. Ranks form replicas of `model_ranks`, and replicas share the windows: any
 * number of ranks gives the same bits. So do weights held in bfloat16, which is half of the memory.
 */
#ifndef LAP_TRAINER_MODEL_SHARDED_H
#define LAP_TRAINER_MODEL_SHARDED_H

#include "trainer/model/source.h"
#include "trainer/state/block_weights.h"

typedef struct {
  lap_model_source source; /* without weights */
  lap_placement placement;
  lap_state *state; /* weights alone; NULL until they are read */
  lap_block_weights *weights;
} lap_sharded_model;

/* Model shards, and the ranks that share those of a replica. 0: the shards that the model was
 * trained with; the fewest ranks that fit. */
typedef struct {
  int64_t model_shards, model_ranks;
} lap_model_layout;

/* Not collective: the caller agrees on the outcome. Says what the model is, and reads no weights.
 * LAP_DATA naming the file; LAP_USAGE where the shards or ranks do not divide as the layout asks.
 */
lap_code lap_sharded_model_open(const char *path, lap_model_layout layout, lap_comm *comm,
                                lap_sharded_model *model, lap_status *status);
/* Not collective, likewise. Reads the weights, in the form that the precision and gemm of
 * source.config allow (lap_model_form_of). */
lap_code lap_sharded_model_read(lap_sharded_model *model, lap_status *status);
void lap_sharded_model_close(lap_sharded_model *model);

/* What rank `rank` of `ranks` would hold: for `plan`. LAP_USAGE as above. */
lap_code lap_model_layout_placement(const lap_config *config, lap_model_layout layout, int ranks,
                                    int rank, lap_placement *placement, lap_status *status);

#endif
