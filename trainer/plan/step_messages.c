#include "trainer/plan/step_messages.h"

#include "autograd/tape/walk.h"
#include "trainer/state/state.h"
#include "trainer/step/step.h"

/* --- activations --- */

static void visit(void *context, const lap_tape_visit *step) {
  lap_activation_sums *sums = context;
  lap_shard_call list[LAP_MAX_SHARD_CALLS];
  if (!step->op->shard_calls) return;
  const int count =
      step->op->shard_calls(step->shapes, step->extent, step->kind == LAP_STEP_BACKWARD, list);
  for (int i = 0; i < count; ++i) {
    const int64_t elements = list[i].elements * list[i].times;
    *(list[i].kind == LAP_SHARD_CALL_SUM_DOUBLE ? &sums->double_elements : &sums->float_elements) +=
        elements;
    sums->sums += list[i].times;
  }
}

lap_activation_sums lap_activation_sums_of(const lap_gemma2 *model, int64_t teacher_k) {
  lap_activation_sums sums = {0};
  (void)teacher_k;
  lap_tape_walk(model->tape, visit, &sums);
  return sums;
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
  const int64_t rounds =
      place->schedule == LAP_LANES_CYCLIC ? lap_fold_rounds(&place->fold, &place->mesh) : 1;
  lap_traffic once = {0}, gathered = {0};
  lap_sent_by_gradient_sum(place, partition, 1, &once);
  /* Dealt, all rounds but the last have the next one to hide behind. */
  const double hidden = share + (1 - share) * (double)(rounds - 1) / (double)rounds;
  put(sent, LAP_SENT_LAYER_GRADIENTS, &once, hidden, (double)(rounds * layers));
  put(sent, LAP_SENT_LAST_GRADIENTS, &once, 1 - hidden, (double)rounds);
  if (config->shard != LAP_SHARD_NONE) return;
  for (int b = 0; b < partition->buckets; ++b)
    lap_sent_by_bucket_gather(place, partition, b, LAP_TRAFFIC_GRADIENTS, 1, &gathered);
  put(sent, LAP_SENT_LAST_GRADIENTS, &gathered, 1, partition->buckets);
}

static void send_weights(const lap_config *config, const lap_rank_layout *place,
                         const lap_gemma2 *model, const lap_partition *partition,
                         lap_step_sent *sent) {
  if (config->shard == LAP_SHARD_NONE) return;
  const int layers = (int)config->model.num_hidden_layers;
  const bool full = config->shard == LAP_SHARD_FULL;
  const int64_t passes = full ? lap_fold_rounds(&place->fold, &place->mesh) : 1;
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
  const lap_lanes lanes = lap_fold_lanes(&place->fold, &place->mesh, place->schedule);
  const uint64_t times = (uint64_t)(lanes.count * lap_config_micro_batches(config));
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
