#include "trainer/model/sharded.h"

lap_code lap_model_layout_placement(const lap_config *config, lap_model_layout layout, int ranks,
                                    int rank, lap_placement *placement, lap_status *status) {
  const int shards = layout.model_shards ? (int)layout.model_shards : config->mesh.model;
  const lap_mesh mesh = {1, ranks, shards}; /* any number of replicas */
  LAP_TRY(lap_gemma2_config_check_shards(&config->model, shards, status));
  return lap_placement_of_rank(&mesh, (int)layout.model_ranks, LAP_SHARDING_OPTIMIZER, ranks, rank,
                               placement, status);
}

lap_code lap_sharded_model_open(const char *path, lap_model_layout layout, lap_comm *comm,
                                lap_sharded_model *model, lap_status *status) {
  *model = (lap_sharded_model){0};
  LAP_TRY(lap_model_open(path, LAP_MODEL_NO_WEIGHTS, &model->source, status));
  const lap_code code =
      lap_model_layout_placement(model->source.config, layout, lap_comm_size(comm),
                                 lap_comm_rank(comm), &model->placement, status);
  model->placement.comm = comm;
  if (code != LAP_OK) lap_sharded_model_close(model);
  return code;
}

lap_code lap_sharded_model_read(lap_sharded_model *model, lap_status *status) {
  const lap_gemma2_config *shape = &model->source.config->model;
  const bool bfloat16 = lap_model_form_of(&model->source) == LAP_MODEL_BFLOAT16;
  model->state = lap_state_create(shape, &model->placement,
                                  bfloat16 ? LAP_STATE_WEIGHTS_BFLOAT16 : LAP_STATE_WEIGHTS);
  model->weights = lap_block_weights_create(model->state);
  lap_weight_target target = lap_state_weight_target(model->state);
  const lap_code code = lap_model_read_weights(model->source.path, &target, status);
  lap_weight_target_release(&target);
  return code;
}

void lap_sharded_model_close(lap_sharded_model *model) {
  lap_block_weights_destroy(model->weights);
  lap_state_destroy(model->state);
  lap_model_close(&model->source);
  *model = (lap_sharded_model){0};
}
