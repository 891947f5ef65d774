#include "trainer/plan/step_time.h"

#include <math.h>

#include "trainer/plan/communication.h"
#include "trainer/plan/op_time.h"
#include "trainer/state/state.h"

const char *lap_time_part_name(lap_time_part part) {
  static const char *const names[LAP_TIME_PARTS] = {"linear",   "attention", "head",
                                                    "elements", "lanes",     "update"};
  return names[part];
}

/* --- the ops --- */

typedef struct {
  const lap_hardware *hardware;
  double part[LAP_TIME_PARTS];
  double forward, backward; /* of layers: what communication may hide behind */
} op_walk;

static void visit(void *context, const lap_tape_visit *step) {
  static const lap_time_part parts[LAP_WORK_KINDS] = {[LAP_WORK_LINEAR] = LAP_TIME_LINEAR,
                                                      [LAP_WORK_ATTENTION] = LAP_TIME_ATTENTION,
                                                      [LAP_WORK_HEAD] = LAP_TIME_HEAD,
                                                      [LAP_WORK_ELEMENTS] = LAP_TIME_ELEMENTS};
  op_walk *walk = context;
  const lap_op_work work = lap_op_work_of(walk->hardware, step);
  const double seconds =
      lap_op_work_seconds(walk->hardware, &work, step->kind == LAP_STEP_BACKWARD);
  walk->part[parts[step->op->work]] += seconds;
  if (step->block == 0 || step->op->work == LAP_WORK_HEAD) return;
  *(step->kind == LAP_STEP_FORWARD ? &walk->forward : &walk->backward) += seconds;
}

/* --- the rest of a step --- */

/* The rank with the most lanes. */
static lap_code layout_of(const lap_config *config, int ranks, const lap_hardware *h,
                          lap_rank_layout *layout, lap_status *status) {
  *layout =
      (lap_rank_layout){.mesh = config->mesh, .ranks_per_node = lap_hardware_ranks_per_node(h)};
  const lap_lane_schedule schedule = lap_sharding_lane_schedule(config->sharding);
  int most = 0;
  lap_fold fold;
  LAP_TRY(lap_mesh_fold(&config->mesh, config->model_ranks, schedule, ranks, 0, &fold, status));
  for (int rank = 0; rank < ranks; rank += fold.model_ranks) {
    LAP_TRY(
        lap_mesh_fold(&config->mesh, config->model_ranks, schedule, ranks, rank, &fold, status));
    if (fold.lanes.count <= most) continue;
    most = fold.lanes.count;
    layout->fold = fold;
  }
  return LAP_OK;
}

static lap_code check_links(int ranks, const lap_hardware *h, lap_status *status) {
  const int per_node = lap_hardware_ranks_per_node(h);
  if (ranks > 1 && h->within_node.bytes_per_second == 0 && per_node > 1)
    return lap_fail(status, LAP_USAGE, "%s has no within_node: measure it with mpirun -n %d",
                    h->name, ranks);
  if (ranks > per_node && h->between_nodes.bytes_per_second == 0)
    return lap_fail(status, LAP_USAGE,
                    "hardware %s was measured with %d rank%s on one node, so %d ranks need "
                    "between_nodes: run lapidary doctor --json with as many ranks a node as "
                    "training will have, under mpirun -n %d here or over two nodes",
                    h->name, per_node, per_node == 1 ? "" : "s", ranks, ranks);
  return LAP_OK;
}

static void add_rest(const lap_config *config, const lap_rank_layout *layout,
                     const lap_partition *partition, int lanes, op_walk *walk) {
  const lap_unit_costs *costs = &walk->hardware->costs;
  const double elements = (double)partition->elements;
  const double owned = (double)lap_partition_owned(partition, layout->fold.replica);
  const int64_t sequences = config->batch.sequences / lap_mesh_lanes(&config->mesh);
  const double per_lane = (double)(sequences * config->data.sequence_length);
  /* Each lane's vector is cleared and, but for the first, added; an owner adds what the other
   * ranks send, and takes the sum out. */
  const double merged = layout->fold.schedule == LAP_LANES_CYCLIC
                            ? owned * (double)(lap_mesh_lanes(&config->mesh) - 1)
                            : elements * (lanes - 1) + owned * (layout->fold.replicas - 1);
  walk->part[LAP_TIME_LANES] = lanes * (per_lane * costs->data + elements * costs->clear) +
                               merged * costs->add + owned * costs->clear;
  walk->part[LAP_TIME_UPDATE] =
      (config->sharding == LAP_SHARDING_NONE ? elements : owned) * costs->update;
}

static double sent_seconds(const lap_hardware *h, const lap_step_sent *sent, lap_sent_part part) {
  const lap_link *slow = h->between_nodes.latency_seconds > 0 && sent->between_nodes[part] > 0
                             ? &h->between_nodes
                             : &h->within_node;
  double seconds = sent->rounds[part] * slow->latency_seconds;
  if (sent->within_node[part] > 0)
    seconds += sent->within_node[part] / h->within_node.bytes_per_second;
  if (sent->between_nodes[part] > 0)
    seconds += sent->between_nodes[part] / h->between_nodes.bytes_per_second;
  return seconds;
}

static void add_communication(const lap_hardware *h, const lap_step_sent *sent, bool spare_core,
                              double forward, double backward, lap_step_time *time) {
  for (int part = 0; part < LAP_SENT_PARTS; ++part) {
    const double seconds = sent_seconds(h, sent, (lap_sent_part)part);
    const double behind = part == LAP_SENT_LAYER_GRADIENTS ? backward
                          : part == LAP_SENT_LAYER_WEIGHTS ? forward
                                                           : 0;
    const double copying = !spare_core && sent->within_node[part] > 0
                               ? sent->within_node[part] / h->within_node.bytes_per_second
                               : 0;
    const double hidden = fmin(behind, seconds - copying);
    time->communication += seconds;
    time->exposed += seconds - hidden;
  }
}

double lap_threads_at_once(const lap_hardware *h, int ranks, int threads) {
  const double on_node = fmin(ranks, lap_hardware_ranks_per_node(h));
  return fmin(threads, fmax(1, h->cores_per_node / on_node));
}

lap_code lap_step_time_measured(const lap_config *config, int ranks, int64_t teacher_k,
                                const lap_hardware *hardware, lap_step_time *time,
                                lap_status *status) {
  const lap_hardware in_precision = lap_hardware_in(hardware, config->precision);
  hardware = &in_precision;
  lap_rank_layout layout;
  *time = (lap_step_time){0};
  LAP_TRY(layout_of(config, ranks, hardware, &layout, status));
  LAP_TRY(check_links(ranks, hardware, status));
  lap_gemma2 *model = lap_gemma2_record(
      &config->model,
      &(lap_gemma2_recording){
          .mode = LAP_GEMMA2_TRAIN,
          .objective = &config->objective,
          .sequences = config->batch.micro_sequences,
          .length = config->data.sequence_length,
          .teacher_k = teacher_k,
          .threads = config->threads,
          .shards = {config->mesh.model, layout.fold.first_shard, layout.fold.shard_count},
          .recompute = config->recompute,
          .bfloat16 = config->precision == LAP_MATMUL_BFLOAT16,
          .openblas = config->gemm == LAP_GEMM_OPENBLAS});
  lap_partition *partition = lap_state_partition(model->parameters, layout.fold.replicas);
  op_walk walk = {.hardware = hardware};
  lap_tape_walk(model->tape, visit, &walk);
  const int lanes = layout.fold.lanes.count;
  const double micro_batches = (double)lap_config_micro_batches(config);
  for (int part = 0; part <= LAP_TIME_ELEMENTS; ++part) walk.part[part] *= lanes * micro_batches;
  add_rest(config, &layout, partition, lanes, &walk);
  const double speed = lap_threads_at_once(hardware, ranks, config->threads) * hardware->core_share;
  for (int part = 0; part < LAP_TIME_PARTS; ++part) {
    time->part[part] = walk.part[part] / speed;
    time->compute += time->part[part];
  }
  lap_step_messages *messages = lap_step_messages_create(config, model->parameters, model->tape);
  lap_step_sent sent;
  lap_step_sent_of(messages, &layout, partition, &sent);
  const int on_node = ranks < layout.ranks_per_node ? ranks : layout.ranks_per_node;
  const bool spare_core = hardware->cores_per_node > (double)on_node * config->threads;
  add_communication(hardware, &sent, spare_core, walk.forward / speed, walk.backward / speed, time);
  time->seconds = time->compute + time->exposed;
  lap_step_messages_destroy(messages);
  lap_partition_destroy(partition);
  lap_gemma2_destroy(model);
  return LAP_OK;
}
