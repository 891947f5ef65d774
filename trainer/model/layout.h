/* layout: a trained model over the ranks of a job, as its model shards say: what eval and
 * teach run, also one that is larger than a node.
 *
 * The number of model shards decides the numbers, as in training; it is the one that the model was
 * trained with, or one. Ranks form replicas of `model_ranks`, and replicas share the windows: any
 * number of ranks gives the same bits.
 */
#ifndef LAP_TRAINER_MODEL_LAYOUT_H
#define LAP_TRAINER_MODEL_LAYOUT_H

#include "trainer/model/source.h"
#include "trainer/state/block_weights.h"

typedef struct {
  lap_model_source source; /* without weights */
  lap_state *state;        /* weights alone */
  lap_block_weights *weights;
} lap_laid_out_model;

/* How it is to be spread; 0: as it was trained; the fewest ranks a replica. */
typedef struct {
  int64_t model_shards, model_ranks;
} lap_model_layout;

/* Not collective: the caller agrees on the outcome. LAP_DATA naming the file; LAP_USAGE where the
 * ranks have no layout. */
lap_code lap_laid_out_model_open(const char *path, lap_model_layout wish, lap_comm *comm,
                                 lap_laid_out_model *model, lap_status *status);
/* Where rank `rank` of `ranks` would stand: for `plan`. LAP_USAGE as above. */
lap_code lap_model_layout_placement(const lap_config *config, lap_model_layout wish, int ranks,
                                    int rank, lap_placement *placement, lap_status *status);
void lap_laid_out_model_close(lap_laid_out_model *model);

#endif
