#include "trainer/step/messages.h"

#include <stdlib.h>

#include "autograd/tape/walk.h"
#include "core/memory.h"
#include "trainer/state/block_weights.h"
#include "trainer/step/step.h"

/* --- the list --- */

static bool differ(const lap_message *a, const lap_message *b) {
  return a->kind != b->kind || a->bucket != b->bucket || a->elements != b->elements ||
         a->element_size != b->element_size || a->rate != b->rate;
}

static void add(lap_step_messages *messages, lap_message message) {
  if (message.times == 0) return;
  for (int i = 0; i < messages->count; ++i)
    if (!differ(&messages->message[i], &message)) {
      messages->message[i].times += message.times;
      return;
    }
  messages->message =
      lap_reallocate(messages->message, messages->count + 1, sizeof *messages->message);
  messages->message[messages->count++] = message;
}

/* Gathers of the weights of each block, [layers + 2]: of the layers in each lane with mesh.shard:
 * full, else in each step. */
static uint64_t *count_gathers(const lap_config *config) {
  const int layers = (int)config->model.num_hidden_layers;
  uint64_t *times = lap_allocate(layers + 2, sizeof *times);
  for (int block = 0; block <= layers + 1; ++block)
    times[block] = config->sharding != LAP_SHARDING_NONE;
  if (config->sharding == LAP_SHARDING_FULL)
    lap_block_weights_gatherings(layers, lap_config_micro_batches(config), times);
  return times;
}

/* Layers' gradients leave while the layers below are still differentiated; the others are whole
 * when nothing is left to compute. Layers' weights arrive while the layers below compute; the
 * others are needed at once. */
static void add_buckets(lap_step_messages *messages) {
  const lap_config *config = messages->config;
  uint64_t *gathers = count_gathers(config);
  for (int b = 0; b < messages->parameters->bucket_count; ++b) {
    const lap_bucket *bucket = &messages->parameters->bucket[b];
    const bool of_layer = lap_parameters_is_layer(messages->parameters, bucket->block);
    lap_message message = {.kind = LAP_MESSAGE_GRADIENT_SUM,
                           .bucket = b,
                           .block = bucket->block,
                           .elements = bucket->end - bucket->begin,
                           .element_size = sizeof(float),
                           .times = 1,
                           .overlap = of_layer ? LAP_BESIDE_BACKWARD : LAP_BESIDE_NOTHING};
    add(messages, message);
    message.kind = LAP_MESSAGE_GRADIENT_GATHER;
    message.times = config->sharding == LAP_SHARDING_NONE;
    message.overlap = LAP_BESIDE_NOTHING;
    add(messages, message);
    message.kind = LAP_MESSAGE_WEIGHT_GATHER;
    if (config->precision == LAP_MATMUL_BFLOAT16) message.element_size = sizeof(uint16_t);
    message.times = gathers[bucket->block];
    if (of_layer) {
      message.overlap = LAP_BESIDE_FORWARD;
      if (config->sharding == LAP_SHARDING_FULL) message.rate = LAP_EACH_LANE;
    }
    add(messages, message);
  }
  free(gathers);
}

static void add_shard_calls(void *context, const lap_tape_visit *step) {
  lap_shard_call calls[LAP_MAX_SHARD_CALLS];
  if (!step->op->shard_calls) return;
  const int count =
      step->op->shard_calls(step->shapes, step->extent, step->kind == LAP_STEP_BACKWARD, calls);
  for (int i = 0; i < count; ++i)
    add(context,
        (lap_message){.kind = calls[i].kind == LAP_SHARD_CALL_LARGEST ? LAP_MESSAGE_SHARD_LARGEST
                                                                      : LAP_MESSAGE_SHARD_SUM,
                      .bucket = -1,
                      .block = -1,
                      .elements = calls[i].elements,
                      .element_size = calls[i].kind == LAP_SHARD_CALL_SUM_DOUBLE ? sizeof(double)
                                                                                 : sizeof(float),
                      .times = (uint64_t)calls[i].times,
                      .rate = LAP_EACH_MICRO_BATCH});
}

static void add_scalars(lap_step_messages *messages) {
  lap_message message = {.bucket = -1, .block = -1, .times = 1};
  if (messages->config->mesh.model > 1) {
    /* A byte: requests, once, and before each micro-batch failures to read its data. */
    message.kind = LAP_MESSAGE_SHARD_ANY;
    message.elements = message.element_size = 1;
    add(messages, message);
    message.rate = LAP_EACH_MICRO_BATCH;
    add(messages, message);
  }
  message.element_size = sizeof(double);
  message.rate = LAP_EACH_STEP;
  message.kind = LAP_MESSAGE_LANE_SUM;
  message.elements = LAP_STEP_SUMS;
  add(messages, message);
  message.kind = LAP_MESSAGE_SEGMENT_SUM;
  message.elements = messages->parameters->canonical_elements / LAP_SEGMENT;
  add(messages, message);
}

lap_step_messages *lap_step_messages_create(const lap_config *config,
                                            const lap_parameters *parameters,
                                            const lap_tape *tape) {
  lap_step_messages *messages = lap_allocate(1, sizeof *messages);
  messages->config = config;
  messages->parameters = parameters;
  add_buckets(messages);
  lap_tape_walk(tape, add_shard_calls, messages);
  add_scalars(messages);
  return messages;
}

void lap_step_messages_destroy(lap_step_messages *messages) {
  if (!messages) return;
  free(messages->message);
  free(messages);
}

/* --- sums over it --- */

uint64_t lap_message_times(const lap_step_messages *messages, const lap_message *message,
                           const lap_rank_layout *layout) {
  const lap_fold *fold = &layout->fold;
  const bool gathers = message->kind == LAP_MESSAGE_WEIGHT_GATHER;
  const int lanes = gathers ? fold->rounds : fold->lanes.count;
  switch (message->rate) {
    case LAP_EACH_STEP:
      return message->times;
    case LAP_EACH_LANE:
      return message->times * (uint64_t)lanes;
    case LAP_EACH_MICRO_BATCH:
      return message->times * (uint64_t)(lanes * lap_config_micro_batches(messages->config));
  }
  return 0;
}

/* The ranges that this rank owns, without copies, as elements of the canonical vector. */
static void add_segment_sum(const lap_step_messages *messages, const lap_rank_layout *layout,
                            const lap_partition *partition, uint64_t times, lap_traffic *sent) {
  const int64_t base = messages->parameters->parameter[0].canonical;
  const int counted = partition->counted_buckets;
  lap_range *own = lap_allocate(counted, sizeof *own);
  for (int b = 0; b < counted; ++b) {
    const lap_range range = lap_partition_range(partition, b, layout->fold.replica);
    own[b] = (lap_range){base + range.begin, base + range.end};
  }
  lap_sent_by_segment_sum(layout, messages->parameters->canonical_elements, own, counted, times,
                          sent);
  free(own);
}

void lap_message_add_sent(const lap_step_messages *messages, const lap_message *message,
                          const lap_rank_layout *layout, const lap_partition *partition,
                          lap_traffic *sent) {
  const uint64_t times = lap_message_times(messages, message, layout);
  switch (message->kind) {
    case LAP_MESSAGE_GRADIENT_SUM:
      lap_sent_by_gradient_sum(layout, partition, message->bucket, times, sent);
      break;
    case LAP_MESSAGE_GRADIENT_GATHER:
      lap_sent_by_bucket_gather(layout, partition, message->bucket, message->element_size,
                                LAP_TRAFFIC_GRADIENTS, times, sent);
      break;
    case LAP_MESSAGE_WEIGHT_GATHER:
      lap_sent_by_bucket_gather(layout, partition, message->bucket, message->element_size,
                                LAP_TRAFFIC_WEIGHTS, times, sent);
      break;
    case LAP_MESSAGE_SHARD_SUM:
      lap_sent_by_shard_sum(layout, message->elements, message->element_size, times, sent);
      break;
    case LAP_MESSAGE_SHARD_LARGEST:
      lap_sent_by_shard_largest(layout, message->elements, times, sent);
      break;
    case LAP_MESSAGE_SHARD_ANY:
      lap_sent_by_shard_any(layout, times, sent);
      break;
    case LAP_MESSAGE_LANE_SUM:
      lap_sent_by_lane_sum(layout, (int)message->elements, times, sent);
      break;
    case LAP_MESSAGE_SEGMENT_SUM:
      add_segment_sum(messages, layout, partition, times, sent);
      break;
  }
}

void lap_message_add_mesh(const lap_step_messages *messages, const lap_message *message,
                          lap_mesh_traffic *traffic) {
  const lap_mesh *mesh = &messages->config->mesh;
  const lap_parameters *all = messages->parameters;
  const int64_t elements = message->elements, canonical = all->canonical_elements;
  /* What a lane does, its own chips do: the functions below count all lanes. */
  const uint64_t passes = message->rate == LAP_EACH_MICRO_BATCH
                              ? (uint64_t)lap_config_micro_batches(messages->config)
                              : 1;
  const uint64_t times = passes * message->times;
  switch (message->kind) {
    case LAP_MESSAGE_GRADIENT_SUM:
    case LAP_MESSAGE_GRADIENT_GATHER:
      lap_mesh_plan_bucket(mesh, elements, message->element_size, LAP_TRAFFIC_GRADIENTS, times,
                           traffic);
      break;
    case LAP_MESSAGE_WEIGHT_GATHER:
      lap_mesh_plan_bucket(mesh, elements, message->element_size, LAP_TRAFFIC_WEIGHTS, times,
                           traffic);
      break;
    case LAP_MESSAGE_SHARD_SUM:
    case LAP_MESSAGE_SHARD_LARGEST:
      lap_mesh_plan_shard_sum(mesh, elements, message->element_size, times, traffic);
      break;
    case LAP_MESSAGE_SHARD_ANY: /* of processes alone */
      break;
    case LAP_MESSAGE_LANE_SUM:
      lap_mesh_plan_lane_sum(mesh, (int)elements, times, traffic);
      break;
    case LAP_MESSAGE_SEGMENT_SUM:
      for (int b = 0; b < all->bucket_count; ++b)
        lap_mesh_plan_segment_sum(mesh, canonical, all->bucket[b].begin,
                                  all->bucket[b].end - all->bucket[b].begin, times, traffic);
      break;
  }
}
