/* spread_model: a trained model over the ranks of a job, as its model shards say: what eval and
 * teach run, also one that is larger than a node.
 *
 * The number of model shards decides the numbers, as in training; it is the one that the model was
 * trained with, or one. Ranks form replicas of `model_ranks`, and replicas share the windows: any
 * number of ranks gives the same bits.
 */
#ifndef LAP_TRAINER_SPREAD_MODEL_H
#define LAP_TRAINER_SPREAD_MODEL_H

#include "trainer/run/block_weights.h"
#include "trainer/run/model_source.h"

typedef struct {
  lap_model_source source; /* without weights */
  lap_state *state;        /* weights alone */
  lap_block_weights *weights;
} lap_spread_model;

/* How it is to be spread; 0: as it was trained; the fewest ranks a replica. */
typedef struct {
  int64_t model_shards, model_ranks;
} lap_spread_wish;

/* Not collective: the caller agrees on the outcome. LAP_DATA naming the file; LAP_USAGE where the
 * ranks have no layout. */
lap_code lap_spread_model_open(const char *path, lap_spread_wish wish, lap_comm *comm,
                               lap_spread_model *model, lap_status *status);
/* Where rank `rank` of `ranks` would stand: for `plan`. LAP_USAGE as above. */
lap_code lap_spread_model_place(const lap_config *config, lap_spread_wish wish, int ranks, int rank,
                                lap_placement *placement, lap_status *status);
void lap_spread_model_close(lap_spread_model *model);

#endif
