/* communication: sums over a step's messages (trainer/step/messages.h) for predicted seconds: how
 * much one rank sends, by the computation that may hide it.
 *
 * Coarser than the bytes of trainer/step/traffic.h: gradients are divided by the elements of
 * layers and of the rest, activations are sums of one size, and of the norm and of flags only the
 * waiting counts.
 */
#ifndef LAP_TRAINER_PLAN_COMMUNICATION_H
#define LAP_TRAINER_PLAN_COMMUNICATION_H

#include "trainer/step/messages.h"

/* Sums over model shards in one micro-batch. */
typedef struct {
  int64_t float_elements, double_elements; /* of all sums */
  int64_t sums;                            /* how many: each is a wait */
} lap_activation_sums;
lap_activation_sums lap_activation_sums_of(const lap_step_messages *messages);

typedef enum {
  LAP_SENT_LAYER_GRADIENTS, /* while earlier layers are still being differentiated */
  LAP_SENT_LAST_GRADIENTS,  /* embedding and norms: whole when nothing is left to compute */
  LAP_SENT_LAYER_WEIGHTS,   /* while the next step's first layers compute */
  LAP_SENT_FIRST_WEIGHTS,   /* embedding and norms: needed at once */
  LAP_SENT_ACTIVATIONS,
  LAP_SENT_SCALARS,
  LAP_SENT_PARTS
} lap_sent_part;

/* Bytes that one rank sends in a step, and the rounds in which it does. */
typedef struct {
  double within_node[LAP_SENT_PARTS], between_nodes[LAP_SENT_PARTS];
  double rounds[LAP_SENT_PARTS];
} lap_step_sent;

/* `messages` and `partition` are those of the rank's shards. */
void lap_step_sent_of(const lap_step_messages *messages, const lap_rank_layout *layout,
                      const lap_partition *partition, lap_step_sent *sent);

#endif
