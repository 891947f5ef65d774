#include "trainer/plan/communication.h"

lap_activation_sums lap_activation_sums_of(const lap_step_messages *messages) {
  lap_activation_sums sums = {0};
  for (int i = 0; i < messages->count; ++i) {
    const lap_message *m = &messages->message[i];
    if (m->kind != LAP_MESSAGE_SHARD_SUM && m->kind != LAP_MESSAGE_SHARD_LARGEST) continue;
    const int64_t times = (int64_t)m->times;
    *(m->element_size == sizeof(double) ? &sums.double_elements : &sums.float_elements) +=
        m->elements * times;
    sums.sums += times;
  }
  return sums;
}

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

/* Of layers, and all. */
typedef struct {
  lap_traffic sent;
  double of_layers, elements;
} gradient_sums;

/* Cyclic lanes leave one by one: all but the last have the next one's computation to hide behind.
 */
static void put_gradients(const lap_step_messages *messages, const lap_rank_layout *layout,
                          const gradient_sums *gradients, lap_step_sent *sent) {
  const int64_t rounds = layout->fold.schedule == LAP_LANES_CYCLIC ? layout->fold.rounds : 1;
  const int64_t layers = messages->config->model.num_hidden_layers;
  const double share = gradients->of_layers / gradients->elements;
  const double hidden = share + (1 - share) * (double)(rounds - 1) / (double)rounds;
  put(sent, LAP_SENT_LAYER_GRADIENTS, &gradients->sent, hidden, (double)(rounds * layers));
  put(sent, LAP_SENT_LAST_GRADIENTS, &gradients->sent, 1 - hidden, (double)rounds);
}

static void put_buckets(const lap_step_messages *messages, const lap_rank_layout *layout,
                        const lap_partition *partition, lap_step_sent *sent) {
  gradient_sums gradients = {0};
  for (int i = 0; i < messages->count; ++i) {
    const lap_message *m = &messages->message[i];
    lap_traffic bytes = {0};
    if (m->bucket < 0) continue;
    if (m->kind == LAP_MESSAGE_GRADIENT_SUM) {
      lap_message_add_sent(messages, m, layout, partition, &gradients.sent);
      gradients.elements += (double)m->elements;
      if (m->overlap == LAP_BESIDE_BACKWARD) gradients.of_layers += (double)m->elements;
      continue;
    }
    const lap_sent_part part = m->kind == LAP_MESSAGE_GRADIENT_GATHER ? LAP_SENT_LAST_GRADIENTS
                               : m->overlap == LAP_BESIDE_FORWARD     ? LAP_SENT_LAYER_WEIGHTS
                                                                      : LAP_SENT_FIRST_WEIGHTS;
    lap_message_add_sent(messages, m, layout, partition, &bytes);
    put(sent, part, &bytes, 1, (double)lap_message_times(messages, m, layout));
  }
  put_gradients(messages, layout, &gradients, sent);
}

static void put_activations(const lap_step_messages *messages, const lap_rank_layout *layout,
                            lap_step_sent *sent) {
  const lap_lanes lanes = layout->fold.lanes;
  const uint64_t times = (uint64_t)(lanes.count * lap_config_micro_batches(messages->config));
  const lap_activation_sums sums = lap_activation_sums_of(messages);
  lap_traffic bytes = {0};
  lap_sent_by_shard_sum(layout, sums.float_elements, sizeof(float), times, &bytes);
  lap_sent_by_shard_sum(layout, sums.double_elements, sizeof(double), times, &bytes);
  put(sent, LAP_SENT_ACTIVATIONS, &bytes, 1, (double)times * (double)sums.sums);
}

/* A double or so a block, and flags of a byte, are lost in the time of their rounds. */
static void put_scalars(const lap_step_messages *messages, const lap_rank_layout *layout,
                        const lap_partition *partition, lap_step_sent *sent) {
  for (int i = 0; i < messages->count; ++i) {
    const lap_message *m = &messages->message[i];
    lap_traffic bytes = {0};
    if (m->kind == LAP_MESSAGE_LANE_SUM)
      lap_message_add_sent(messages, m, layout, partition, &bytes);
    else if (m->kind != LAP_MESSAGE_SEGMENT_SUM)
      continue;
    put(sent, LAP_SENT_SCALARS, &bytes, 1, (double)lap_message_times(messages, m, layout));
  }
}

void lap_step_sent_of(const lap_step_messages *messages, const lap_rank_layout *layout,
                      const lap_partition *partition, lap_step_sent *sent) {
  *sent = (lap_step_sent){0};
  if (layout->fold.replicas > 1) put_buckets(messages, layout, partition, sent);
  if (layout->fold.model_ranks > 1) put_activations(messages, layout, sent);
  if (layout->fold.replicas * layout->fold.model_ranks > 1)
    put_scalars(messages, layout, partition, sent);
}
