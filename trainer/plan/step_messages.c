#include "trainer/plan/step_messages.h"

#include "mpi/collective/shard_sum.h"
#include "trainer/state/state.h"
#include "trainer/step/step.h"

/* --- activations --- */

typedef struct {
  lap_activation_sums sums;
  int64_t teacher_k;
} activation_walk;

static void add_sum(lap_activation_sums *sums, int64_t elements) {
  sums->float_elements += elements;
  sums->sums += 1;
}

/* For each chunk of positions: the largest logits, the masses of the rest, and dx. */
static void add_head(activation_walk *walk, const lap_op_call *call) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t rows = call->input[0].rows;
  const int64_t chunk = lap_lm_head_chunk(call->input[1].rows * attributes->shards.of);
  enum { ENDS = 2, MASSES = 2 };
  walk->sums.float_elements += rows * (ENDS + walk->teacher_k + call->input[0].columns);
  walk->sums.double_elements += rows * MASSES;
  walk->sums.sums += 3 * ((rows + chunk - 1) / chunk);
}

/* What meets where: op/op.h. */
static void visit(void *context, const lap_op *op, const lap_op_call *call, lap_visit kind,
                  int block) {
  activation_walk *walk = context;
  (void)block;
  const int64_t output = call->output.rows * call->output.columns;
  if (op == &lap_op_lm_head_loss)
    add_head(walk, call);
  else if (op == &lap_op_copy_to_shards && kind == LAP_VISIT_BACKWARD)
    add_sum(&walk->sums, output);
  else if ((op == &lap_op_row_linear || op == &lap_op_embedding) && kind != LAP_VISIT_BACKWARD)
    add_sum(&walk->sums, output);
}

lap_activation_sums lap_activation_sums_of(const lap_gemma2 *model, int64_t teacher_k) {
  activation_walk walk = {.teacher_k = teacher_k};
  if (model->parameters->shards.of > 1) lap_tape_walk(model->tape, visit, &walk);
  return walk.sums;
}

int64_t lap_full_gathers(int64_t layers, int64_t micro_batches) {
  /* Two layers have places: the last two of forward serve backward, the first two of backward the
   * lane's next forward. */
  const int64_t again = layers > 2 ? layers - 2 : 0;
  return layers + again + (micro_batches - 1) * 2 * again;
}

/* --- gradients and weights --- */

static double total(const uint64_t bytes[LAP_TRAFFIC_KINDS]) {
  double sum = 0;
  for (int kind = 0; kind < LAP_TRAFFIC_KINDS; ++kind) sum += (double)bytes[kind];
  return sum;
}

static void put(lap_step_sent *sent, lap_sent_part part, const lap_traffic *traffic, double share,
                double rounds) {
  sent->within_node[part] += share * total(traffic->within_node);
  sent->between_nodes[part] += share * total(traffic->between_nodes);
  sent->rounds[part] += rounds;
}

/* Elements of the buckets of layers, as a share of all. */
static double layer_share(const lap_parameters *parameters, int layers) {
  double of_layers = 0;
  for (int b = 0; b < parameters->bucket_count; ++b) {
    const lap_bucket *bucket = &parameters->bucket[b];
    if (bucket->block >= 1 && bucket->block <= layers)
      of_layers += (double)(bucket->end - bucket->begin);
  }
  return of_layers / (double)parameters->elements;
}

static void send_gradients(const lap_config *config, const lap_rank_layout *place,
                           const lap_gemma2 *model, const lap_partition *partition,
                           lap_step_sent *sent) {
  const int layers = (int)config->model.num_hidden_layers;
  const double share = layer_share(model->parameters, layers);
  const int64_t rounds = place->fold.schedule == LAP_LANES_CYCLIC ? place->fold.rounds : 1;
  lap_traffic once = {0}, gathered = {0};
  lap_sent_by_gradient_sum(place, partition, 1, &once);
  /* With cyclic lanes, all rounds but the last have the next one to hide behind. */
  const double hidden = share + (1 - share) * (double)(rounds - 1) / (double)rounds;
  put(sent, LAP_SENT_LAYER_GRADIENTS, &once, hidden, (double)(rounds * layers));
  put(sent, LAP_SENT_LAST_GRADIENTS, &once, 1 - hidden, (double)rounds);
  if (config->sharding != LAP_SHARDING_NONE) return;
  for (int b = 0; b < partition->buckets; ++b)
    lap_sent_by_bucket_gather(place, partition, b, LAP_TRAFFIC_GRADIENTS, 1, &gathered);
  put(sent, LAP_SENT_LAST_GRADIENTS, &gathered, 1, partition->buckets);
}

static void send_weights(const lap_config *config, const lap_rank_layout *place,
                         const lap_gemma2 *model, const lap_partition *partition,
                         lap_step_sent *sent) {
  if (config->sharding == LAP_SHARDING_NONE) return;
  const int layers = (int)config->model.num_hidden_layers;
  const bool full = config->sharding == LAP_SHARDING_FULL;
  const int64_t passes = full ? place->fold.rounds : 1;
  const double each =
      full ? (double)(passes * lap_full_gathers(layers, lap_config_micro_batches(config))) / layers
           : 1;
  for (int b = 0; b < partition->buckets; ++b) {
    const int block = model->parameters->bucket[b].block;
    const bool of_layer = block >= 1 && block <= layers;
    lap_traffic once = {0};
    lap_sent_by_bucket_gather(place, partition, b, LAP_TRAFFIC_WEIGHTS, 1, &once);
    put(sent, of_layer ? LAP_SENT_LAYER_WEIGHTS : LAP_SENT_FIRST_WEIGHTS, &once,
        of_layer ? each : 1, of_layer ? each : 1);
  }
}

static void send_activations(const lap_config *config, const lap_rank_layout *place,
                             const lap_gemma2 *model, int64_t teacher_k, lap_step_sent *sent) {
  if (place->fold.model_ranks == 1) return;
  const uint64_t times = (uint64_t)(place->fold.lanes.count * lap_config_micro_batches(config));
  const lap_activation_sums sums = lap_activation_sums_of(model, teacher_k);
  lap_traffic all = {0};
  lap_sent_by_shard_sum(place, sums.float_elements, sizeof(float), times, &all);
  lap_sent_by_shard_sum(place, sums.double_elements, sizeof(double), times, &all);
  put(sent, LAP_SENT_ACTIVATIONS, &all, 1, (double)times * (double)sums.sums);
}

void lap_step_sent_of(const lap_config *config, const lap_rank_layout *place,
                      const lap_gemma2 *model, int64_t teacher_k, lap_step_sent *sent) {
  *sent = (lap_step_sent){0};
  lap_partition *partition = lap_state_partition(model->parameters, place->fold.replicas);
  if (place->fold.replicas > 1) {
    send_gradients(config, place, model, partition, sent);
    send_weights(config, place, model, partition, sent);
  }
  send_activations(config, place, model, teacher_k, sent);
  lap_traffic scalars = {0};
  lap_sent_by_lane_sum(place, LAP_STEP_SUMS, 1, &scalars);
  if (place->fold.replicas * place->fold.model_ranks > 1)
    put(sent, LAP_SENT_SCALARS, &scalars, 1, 2); /* losses, and the norm */
  lap_partition_destroy(partition);
}
