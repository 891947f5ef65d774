#include "trainer/plan/step_time.h"

#include <math.h>

#include "trainer/plan/step_messages.h"
#include "trainer/state/state.h"

const char *lap_time_part_name(lap_time_part part) {
  static const char *const names[LAP_TIME_PARTS] = {"linear",   "attention", "head",
                                                    "elements", "lanes",     "update"};
  return names[part];
}

/* --- the ops --- */

typedef struct {
  const lap_hardware *hardware;
  int64_t length; /* T */
  double part[LAP_TIME_PARTS];
  double forward, backward; /* of layers: what communication may hide behind */
  lap_op_units units;
} op_walk;

/* A product as kernel/gemm.h cuts it. */
static double product_seconds(const lap_unit_costs *costs, lap_product product, int64_t m,
                              int64_t n, int64_t k) {
  enum { TILE = 256 };
  double seconds = 0;
  for (int64_t i = 0; i < m; i += i + TILE < m ? m / TILE * TILE : m) {
    const int64_t rows = i + TILE < m || m % TILE == 0 ? TILE : m - i;
    const double down = (double)(i + TILE < m || m % TILE == 0 ? m / TILE : 1);
    for (int64_t j = 0; j < n; j += j + TILE < n ? n / TILE * TILE : n) {
      const int64_t columns = j + TILE < n || n % TILE == 0 ? TILE : n - j;
      const double across = (double)(j + TILE < n || n % TILE == 0 ? n / TILE : 1);
      seconds += down * across *
                 lap_gemm_seconds(costs, product, (double)rows, (double)columns, (double)k);
    }
  }
  return seconds;
}

static double linear_seconds(const op_walk *walk, const lap_op_call *call, bool sums,
                             lap_visit kind) {
  const lap_unit_costs *costs = &walk->hardware->costs;
  const int64_t out = call->output.columns, in = call->input[0].columns;
  /* Rows of one shard; as many products as shards. */
  const int64_t rows = sums ? call->output.rows : call->input[0].rows;
  const int64_t shards = sums ? call->input[0].rows / rows : call->output.rows / rows;
  const double each = kind != LAP_VISIT_BACKWARD
                          ? product_seconds(costs, LAP_PRODUCT_FORWARD, rows, out, in)
                          : product_seconds(costs, LAP_PRODUCT_INPUT, rows, in, out) +
                                product_seconds(costs, LAP_PRODUCT_WEIGHT, out, in, rows);
  return (double)shards * each;
}

/* By tiles of queries, all of whose visible keys meet at once (op/attention.c): seconds of the
 * products of one head and sequence, and its visible scores. */
static double attention_products(const lap_unit_costs *costs, const lap_attention_attributes *a,
                                 int64_t length, bool backward, double *visible) {
  enum { TILE = 64 };
  const double dim = (double)a->head_dim;
  double seconds = 0;
  *visible = 0;
  for (int64_t i0 = 0; i0 < length; i0 += TILE) {
    const int64_t end = i0 + TILE < length ? i0 + TILE : length;
    const int64_t first = a->window > 0 && i0 - a->window + 1 > 0 ? i0 - a->window + 1 : 0;
    const double rows = (double)(end - i0), keys = (double)(end - first);
    for (int64_t i = i0; i < end; ++i)
      *visible += (double)(a->window > 0 && i + 1 > a->window ? a->window : i + 1);
    const double to_keys = lap_gemm_seconds(costs, LAP_PRODUCT_FORWARD, rows, keys, dim);
    const double to_rows = lap_gemm_seconds(costs, LAP_PRODUCT_INPUT, rows, dim, keys);
    const double of_keys = lap_gemm_seconds(costs, LAP_PRODUCT_WEIGHT, keys, dim, rows);
    seconds += backward ? 2 * to_keys + to_rows + 2 * of_keys : to_keys + to_rows;
  }
  return seconds;
}

/* The embedding comes from memory once a chunk and product where the cache does not hold it and its
 * gradient, which is read and written. */
static double stream_seconds(const lap_hardware *h, double weight_bytes) {
  enum { PASSES = 4, BOTH = 2 };
  const double missing = 1 - h->cache_bytes / (BOTH * weight_bytes);
  return missing > 0 ? missing * PASSES * weight_bytes / h->memory_bytes_per_second : 0;
}

static double head_products(const lap_hardware *h, const lap_op_call *call) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const lap_unit_costs *costs = &h->costs;
  const int64_t vocab = call->input[1].rows, hidden = call->input[0].columns;
  const int64_t most = lap_lm_head_chunk(vocab * attributes->shards.of);
  double seconds = 0;
  for (int64_t done = 0; done < call->input[0].rows; done += most) {
    const int64_t rows = done + most < call->input[0].rows ? most : call->input[0].rows - done;
    seconds += product_seconds(costs, LAP_PRODUCT_FORWARD, rows, vocab, hidden) +
               product_seconds(costs, LAP_PRODUCT_INPUT, rows, hidden, vocab) +
               product_seconds(costs, LAP_PRODUCT_WEIGHT, vocab, hidden, rows) +
               stream_seconds(h, (double)(vocab * hidden) * sizeof(float));
  }
  return seconds * attributes->shards.count;
}

/* --- the walk --- */

static lap_cost_op cost_of(const lap_op *op) {
  static const lap_op *const ops[LAP_COST_OPS] = {
      [LAP_COST_ATTENTION] = &lap_op_attention, [LAP_COST_RMSNORM] = &lap_op_rmsnorm,
      [LAP_COST_ROPE] = &lap_op_rope,           [LAP_COST_GEGLU] = &lap_op_geglu,
      [LAP_COST_RESIDUAL] = &lap_op_residual,   [LAP_COST_EMBEDDING] = &lap_op_embedding};
  int cost = 0;
  while (cost < LAP_COST_OPS && ops[cost] != op) ++cost;
  return (lap_cost_op)cost;
}

/* Units of an op that is measured by the unit, and seconds of its products. */
static double units_of(const op_walk *walk, const lap_op *op, const lap_op_call *call,
                       bool backward, double *products) {
  *products = 0;
  if (op != &lap_op_attention) return (double)(call->output.rows * call->output.columns);
  const lap_attention_attributes *a = call->attributes;
  const double heads = (double)(call->output.rows / walk->length * a->heads);
  double visible;
  *products =
      heads * attention_products(&walk->hardware->costs, a, walk->length, backward, &visible);
  return heads * visible;
}

static void visit(void *context, const lap_op *op, const lap_op_call *call, lap_visit kind,
                  int block) {
  op_walk *walk = context;
  const bool backward = kind == LAP_VISIT_BACKWARD;
  lap_time_part part = LAP_TIME_ELEMENTS;
  double seconds = 0;
  const lap_cost_op cost = cost_of(op);
  if (op == &lap_op_column_linear || op == &lap_op_row_linear) {
    part = LAP_TIME_LINEAR;
    seconds = linear_seconds(walk, call, op == &lap_op_row_linear, kind);
  } else if (op == &lap_op_lm_head_loss) {
    part = LAP_TIME_HEAD;
    const double products = head_products(walk->hardware, call);
    walk->units.head_products += products;
    seconds = products + (double)(call->input[0].rows * call->input[1].rows) *
                             ((const lap_lm_head_loss_attributes *)call->attributes)->shards.count *
                             walk->hardware->costs.loss;
  } else if (cost < LAP_COST_OPS) {
    double products;
    if (op == &lap_op_attention) part = LAP_TIME_ATTENTION;
    const double count = units_of(walk, op, call, backward, &products);
    walk->units.count[cost][backward] += count;
    walk->units.products[cost][backward] += products;
    seconds = products + count * walk->hardware->costs.op[cost][backward];
  }
  walk->part[part] += seconds;
  if (block == 0 || op == &lap_op_lm_head_loss) return;
  *(kind == LAP_VISIT_FORWARD ? &walk->forward : &walk->backward) += seconds;
}

void lap_count_units(const lap_gemma2 *model, const lap_hardware *hardware, lap_op_units *units) {
  op_walk walk = {.hardware = hardware, .length = model->length};
  lap_tape_walk(model->tape, visit, &walk);
  *units = walk.units;
}

/* --- the rest of a step --- */

/* The rank with the most lanes. */
static lap_code layout_of(const lap_config *config, int ranks, const lap_hardware *h,
                          lap_rank_layout *place, lap_status *status) {
  *place =
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
    place->fold = fold;
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

static void add_rest(const lap_config *config, const lap_rank_layout *place,
                     const lap_gemma2 *model, int lanes, op_walk *walk) {
  const lap_unit_costs *costs = &walk->hardware->costs;
  const double elements = (double)model->parameters->elements;
  lap_partition *partition = lap_state_partition(model->parameters, place->fold.replicas);
  const double owned = (double)lap_partition_owned(partition, place->fold.replica);
  lap_partition_destroy(partition);
  const double per_lane = (double)(config->batch.sequences / lap_mesh_lanes(&config->mesh) *
                                   config->data.sequence_length);
  /* Each lane's vector is cleared and, but for the first, added; an owner adds what the other
   * ranks send, and takes the sum out. */
  const double merged = place->fold.schedule == LAP_LANES_CYCLIC
                            ? owned * (double)(lap_mesh_lanes(&config->mesh) - 1)
                            : elements * (lanes - 1) + owned * (place->fold.replicas - 1);
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

lap_code lap_step_time_measured(const lap_config *config, int ranks, int64_t teacher_k,
                                const lap_hardware *hardware, lap_step_time *time,
                                lap_status *status) {
  lap_rank_layout place;
  *time = (lap_step_time){0};
  LAP_TRY(layout_of(config, ranks, hardware, &place, status));
  LAP_TRY(check_links(ranks, hardware, status));
  lap_gemma2 *model = lap_gemma2_record(
      &config->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                              .objective = &config->objective,
                                              .sequences = config->batch.micro_sequences,
                                              .length = config->data.sequence_length,
                                              .teacher_k = teacher_k,
                                              .threads = config->threads,
                                              .shards = {config->mesh.model, place.fold.first_shard,
                                                         place.fold.shard_count},
                                              .recompute = config->recompute});
  op_walk walk = {.hardware = hardware, .length = config->data.sequence_length};
  lap_tape_walk(model->tape, visit, &walk);
  const int lanes = place.fold.lanes.count;
  const double micro_batches = (double)lap_config_micro_batches(config);
  for (int part = 0; part <= LAP_TIME_ELEMENTS; ++part) walk.part[part] *= lanes * micro_batches;
  add_rest(config, &place, model, lanes, &walk);
  const double speed = config->threads * hardware->core_share;
  for (int part = 0; part < LAP_TIME_PARTS; ++part) {
    time->part[part] = walk.part[part] / speed;
    time->compute += time->part[part];
  }
  lap_step_sent sent;
  lap_step_sent_of(config, &place, model, teacher_k, &sent);
  const int on_node = ranks < place.ranks_per_node ? ranks : place.ranks_per_node;
  const bool spare_core = hardware->cores_per_node > (double)on_node * config->threads;
  add_communication(hardware, &sent, spare_core, walk.forward / speed, walk.backward / speed, time);
  time->seconds = time->compute + time->exposed;
  lap_gemma2_destroy(model);
  return LAP_OK;
}
