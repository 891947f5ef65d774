#include "trainer/run/bad_batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "trainer/run/directory.h"
#include "trainer/run/metrics.h"

static const char file_name[] = "bad_batches.jsonl";

static json_t *sequence_json(const lap_config *config, const lap_inputs *inputs, uint64_t sample) {
  const lap_data *data = &inputs->train;
  const uint64_t window =
      lap_sample_window((uint64_t)config->seed, sample, data->sources, data->source_count, NULL);
  const lap_shard_window place = lap_data_window(data, window);
  uint64_t row;
  const uint32_t rows = lap_data_window_rows(data, place, &row);
  return json_pack("{s:o, s:I, s:I, s:I}", "shard",
                   lap_json_path(data->tokens->shard[place.shard]->path), "window",
                   (json_int_t)place.window, "row", (json_int_t)row, "rows", (json_int_t)rows);
}

static json_t *lane_json(const lap_config *config, const lap_inputs *inputs, uint64_t step,
                         int lane, double loss) {
  const int64_t per_lane = config->batch.sequences / lap_mesh_lanes(&config->mesh);
  const uint64_t first = step * (uint64_t)config->batch.sequences + (uint64_t)(lane * per_lane);
  json_t *sequences = json_array();
  for (int64_t i = 0; i < per_lane; ++i)
    json_array_append_new(sequences, sequence_json(config, inputs, first + (uint64_t)i));
  return json_pack("{s:i, s:o, s:o}", "lane", lane, "loss", lap_json_number(loss), "sequences",
                   sequences);
}

lap_code lap_bad_batch_append(const lap_config *config, const lap_inputs *inputs, uint64_t step,
                              const lap_step_result *result, const double *lane_losses,
                              lap_status *status) {
  json_t *lanes = json_array();
  for (int lane = 0; lane < lap_mesh_lanes(&config->mesh); ++lane)
    json_array_append_new(lanes, lane_json(config, inputs, step, lane, lane_losses[lane]));
  json_t *line = json_pack("{s:I, s:o, s:o, s:o}", "step", (json_int_t)step + 1, "loss",
                           lap_json_number(result->loss), "grad_norm",
                           lap_json_number(result->grad_norm), "lanes", lanes);
  char *path = lap_run_directory_path(config->run_dir, file_name);
  lap_code code = LAP_OK;
  FILE *file = fopen(path, "ae");
  if (!file) {
    code = lap_file_fail(path, "be opened", status);
  } else {
    const bool written = json_dumpf(line, file, 0) == 0 && fputc('\n', file) != EOF &&
                         fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (fclose(file) != 0 || !written) code = lap_file_fail(path, "be written", status);
    if (code == LAP_OK) code = lap_file_sync_name(path, status);
  }
  json_decref(line);
  free(path);
  return code;
}

lap_code lap_bad_batch_truncate(const lap_config *config, int64_t last_step, lap_status *status) {
  char *path = lap_run_directory_path(config->run_dir, file_name);
  const lap_code code = lap_metrics_truncate(path, last_step, status);
  free(path);
  return code;
}
