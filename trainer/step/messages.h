/* messages: everything that the ranks of a training step send each other, in one list.
 *
 * What `plan` says of communication are sums over this list: bytes between processes and between
 * the chips of the logical mesh (traffic.h), and seconds (trainer/plan/step_time.h). Runs count
 * where messages start (mpi/); tests hold the counts to the list, to the byte.
 *
 * The list is that of a steady step, one that makes an update. It follows from the config, from
 * the buckets of a vector of parameters, and from what the ops of the recorded micro-batch say they
 * send between model shards (autograd/op/op.h: shard_calls).
 */
#ifndef LAP_TRAINER_STEP_MESSAGES_H
#define LAP_TRAINER_STEP_MESSAGES_H

#include "autograd/gemma2/parameters.h"
#include "autograd/tape/types.h"
#include "mpi/traffic/plan.h"
#include "trainer/config/config.h"

typedef enum {
  LAP_MESSAGE_GRADIENT_SUM,    /* a bucket's gradient, from all lanes to its owners */
  LAP_MESSAGE_GRADIENT_GATHER, /* its sum, from its owners to all (mesh.shard: none) */
  LAP_MESSAGE_WEIGHT_GATHER,   /* a bucket's weights, from its owners to all */
  LAP_MESSAGE_SHARD_SUM,       /* of activations, over the model shards of a lane */
  LAP_MESSAGE_SHARD_LARGEST,
  LAP_MESSAGE_SHARD_ANY,   /* failures and requests, among the ranks of a replica; not of chips */
  LAP_MESSAGE_LANE_SUM,    /* losses and counts */
  LAP_MESSAGE_SEGMENT_SUM, /* sums of squares, for the norm of the gradient */
} lap_message_kind;

/* How often `times` counts. Every rank takes part in the gathers of every round of lanes; in the
 * sums over shards of its own lanes. */
typedef enum { LAP_EACH_STEP, LAP_EACH_LANE, LAP_EACH_MICRO_BATCH } lap_message_rate;

/* The computation that runs while a message travels. */
typedef enum {
  LAP_BESIDE_NOTHING,
  LAP_BESIDE_BACKWARD, /* of the layers below */
  LAP_BESIDE_FORWARD,  /* of the layers below, in the pass that follows */
} lap_message_overlap;

typedef struct {
  lap_message_kind kind;
  int bucket, block; /* of gradients and weights; else -1 */
  int64_t elements;  /* of one message, all parts of it together */
  size_t element_size;
  uint64_t times;
  lap_message_rate rate;
  lap_message_overlap overlap;
} lap_message;

typedef struct {
  const lap_config *config;
  const lap_parameters *parameters;
  lap_message *message; /* messages that differ in nothing are one, with their number in `times` */
  int count;
} lap_step_messages;

/* Of the buckets of `parameters`. `tape` is a recorded and planned micro-batch of the config, with
 * any of the model's shards: all of them send the same. Both outlive the list. Not collective, as
 * all below. */
lap_step_messages *lap_step_messages_create(const lap_config *config,
                                            const lap_parameters *parameters, const lap_tape *tape);
void lap_step_messages_destroy(lap_step_messages *messages);

/* How often the rank takes part in the message in a step. */
uint64_t lap_message_times(const lap_step_messages *messages, const lap_message *message,
                           const lap_rank_layout *layout);

/* Adds the bytes that one rank sends for the message in a step. `parameters` of the list, and
 * `partition`, are those of its shards. */
void lap_message_add_sent(const lap_step_messages *messages, const lap_message *message,
                          const lap_rank_layout *layout, const lap_partition *partition,
                          lap_traffic *sent);

/* Adds the bytes that all chips of the mesh send for the message in a step. `parameters` of the
 * list are those of all shards. */
void lap_message_add_mesh(const lap_step_messages *messages, const lap_message *message,
                          lap_mesh_traffic *traffic);

#endif
