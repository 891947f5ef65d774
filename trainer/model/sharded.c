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
  lap_placement placement;
  LAP_TRY(lap_model_open(path, false, &model->source, status));
  const lap_config *config = model->source.config;
  lap_code code = lap_model_layout_placement(config, layout, lap_comm_size(comm),
                                             lap_comm_rank(comm), &placement, status);
  placement.comm = comm;
  if (code == LAP_OK) {
    model->state = lap_state_create(&config->model, &placement, false);
    lap_weight_target target = lap_state_weight_target(model->state);
    code = lap_model_read_weights(model->source.path, &target, status);
    lap_weight_target_release(&target);
    model->weights = lap_block_weights_create(model->state);
  }
  if (code != LAP_OK) lap_sharded_model_close(model);
  return code;
}

void lap_sharded_model_close(lap_sharded_model *model) {
  lap_block_weights_destroy(model->weights);
  lap_state_destroy(model->state);
  lap_model_close(&model->source);
  *model = (lap_sharded_model){0};
}
