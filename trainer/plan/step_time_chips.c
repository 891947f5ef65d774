#include <math.h>

#include "trainer/plan/communication.h"
#include "trainer/plan/step_time.h"

/* --- where the two axes of a pod lie on the torus --- */

typedef struct {
  int rings, ring_sizes[LAP_TORUS_DIMENSIONS]; /* whole dimensions */
  int line; /* model axis: neighbours in a part of a dimension; 1: none */
  int strided,
      stride; /* data axis: what is left of that dimension, `stride` chips apart; 1: none */
} torus_axis;

static void add_ring(torus_axis *axis, int size) {
  if (size > 1) axis->ring_sizes[axis->rings++] = size;
}

static lap_code lay_out(const lap_hardware *h, const lap_mesh *mesh, torus_axis *model,
                        torus_axis *data, lap_status *status) {
  *model = *data = (torus_axis){.line = 1, .strided = 1, .stride = 1};
  const double *torus = h->chip.torus;
  const double chips = torus[0] * torus[1] * torus[2];
  int left = mesh->model;
  for (int i = 0; i < LAP_TORUS_DIMENSIONS; ++i) {
    const int size = (int)torus[i];
    if (left % size == 0) {
      add_ring(left > 1 ? model : data, size);
      if (left > 1) left /= size;
    } else if (left > 1 && size % left == 0) {
      model->line = left;
      data->strided = size / left;
      data->stride = left;
      left = 1;
    } else {
      add_ring(data, size);
    }
  }
  if (chips == (double)mesh->data * mesh->model && left == 1) return LAP_OK;
  return lap_fail(
      status, LAP_USAGE,
      "hardware %s: a pod is a torus of %gx%gx%g = %g chips, but mesh.data %d x "
      "mesh.model %d lanes and shards a pod do not fill it; change chip.torus or the mesh",
      h->name, torus[0], torus[1], torus[2], chips, mesh->data, mesh->model);
}

/* --- seconds and bytes of a reduce-scatter, or of a gather, of `bytes` a chip --- */

typedef struct {
  double seconds, link_bytes;
} torus_cost;

static torus_cost scatter(const torus_axis *axis, const lap_chip *chip, double bytes) {
  torus_cost cost = {0};
  double size = 1, hops = 0;
  for (int i = 0; i < axis->rings; ++i) {
    size *= axis->ring_sizes[i];
    hops += axis->ring_sizes[i] - 1;
  }
  if (axis->rings > 0) cost.link_bytes = bytes * (size - 1) / size / (2 * axis->rings);
  const double line = axis->line, strided = axis->strided;
  if (line > 1) {
    /* Other links than the rings', after them. */
    const double of_line = bytes / size * (line - 1) / line;
    hops += line - 1;
    cost.seconds += of_line / chip->ici_bytes_per_second;
    if (of_line > cost.link_bytes) cost.link_bytes = of_line;
  }
  if (strided > 1) {
    const double of_rest = bytes / size * (strided - 1) / strided * axis->stride / 2;
    hops += (strided - 1) * axis->stride;
    cost.seconds += of_rest / chip->ici_bytes_per_second;
    if (of_rest > cost.link_bytes) cost.link_bytes = of_rest;
  }
  if (axis->rings > 0)
    cost.seconds += bytes * (size - 1) / size / (2 * axis->rings) / chip->ici_bytes_per_second;
  cost.seconds += hops * chip->ici_hop_seconds;
  return cost;
}

static void add(torus_cost *sum, torus_cost cost, double times) {
  sum->seconds += times * cost.seconds;
  sum->link_bytes += times * cost.link_bytes;
}

/* --- the step --- */

/* A bucket moves once for each of its messages: its gradient to the owners, its gathers back. */
static void move_gradients_and_weights(const lap_step_messages *messages, const torus_axis *axis,
                                       const lap_chip *chip, lap_chip_time *time) {
  const lap_mesh *mesh = &messages->config->mesh;
  torus_cost sum = {0};
  for (int i = 0; i < messages->count; ++i) {
    const lap_message *m = &messages->message[i];
    if (m->bucket < 0) continue;
    const double bytes = (double)m->elements * (double)m->element_size;
    add(&sum, scatter(axis, chip, bytes), (double)m->times);
    time->dcn_bytes += (double)m->times * bytes / mesh->data * (mesh->pods - 1) / mesh->pods;
  }
  time->data_seconds = sum.seconds;
  time->data_link_bytes = sum.link_bytes;
  if (mesh->pods > 1) time->dcn_seconds = time->dcn_bytes / chip->dcn_bytes_per_second;
}

static void sum_over_shards(const lap_step_messages *messages, const torus_axis *axis,
                            const lap_chip *chip, lap_chip_time *time) {
  const lap_activation_sums sums = lap_activation_sums_of(messages);
  if (sums.sums == 0) return;
  const double passes = (double)lap_config_micro_batches(messages->config);
  const double bytes = (double)(sums.float_elements * (int64_t)sizeof(float) +
                                sums.double_elements * (int64_t)sizeof(double));
  torus_cost total = {0};
  /* Each sum is a scatter and a gather. */
  add(&total, scatter(axis, chip, bytes / (double)sums.sums), 2 * passes * (double)sums.sums);
  time->model_seconds = total.seconds;
  time->model_link_bytes = total.link_bytes;
}

lap_code lap_step_time_chips(const lap_config *config, int64_t teacher_k, double flops,
                             const lap_hardware *hardware, lap_chip_time *time,
                             lap_status *status) {
  const lap_chip *chip = &hardware->chip;
  const lap_mesh *mesh = &config->mesh;
  torus_axis model_axis, data_axis;
  *time = (lap_chip_time){.flops = flops, .chips = (double)lap_mesh_lanes(mesh) * mesh->model};
  LAP_TRY(lay_out(hardware, mesh, &model_axis, &data_axis, status));
  if (mesh->pods > 1 && chip->dcn_bytes_per_second == 0)
    return lap_fail(status, LAP_USAGE,
                    "hardware %s: chip.dcn_bytes_per_second is missing, but mesh.pods is %d",
                    hardware->name, mesh->pods);
  lap_gemma2 *model = lap_gemma2_record(
      &config->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                              .objective = &config->objective,
                                              .sequences = config->batch.micro_sequences,
                                              .length = config->data.sequence_length,
                                              .teacher_k = teacher_k,
                                              .threads = 1,
                                              .shards = {mesh->model, 0, 1},
                                              .recompute = config->recompute});
  lap_step_messages *messages = lap_step_messages_create(config, model->parameters, model->tape);
  move_gradients_and_weights(messages, &data_axis, chip, time);
  sum_over_shards(messages, &model_axis, chip, time);
  lap_step_messages_destroy(messages);
  lap_gemma2_destroy(model);
  time->compute_peak = flops / time->chips / chip->peak_flops;
  time->compute = time->compute_peak / chip->efficiency;
  time->seconds = fmax(fmax(time->compute, time->compute_peak + time->model_seconds),
                       fmax(time->data_seconds, time->dcn_seconds));
  return LAP_OK;
}
