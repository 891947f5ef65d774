/* step_messages: what one rank sends in a training step, by when it is sent, because that decides
 * what of it can hide behind computation: for trainer/plan/step_time.h. Bytes of all ranks by kind,
 * to the byte, are in trainer/step/traffic.h.
 */
#ifndef LAP_TRAINER_PLAN_STEP_MESSAGES_H
#define LAP_TRAINER_PLAN_STEP_MESSAGES_H

#include "autograd/gemma2/model.h"
#include "mpi/traffic/plan.h"
#include "trainer/config/config.h"

/* What the tape sends between model shards in one micro-batch. */
typedef struct {
  int64_t float_elements, double_elements; /* of all sums */
  int64_t sums;                            /* how many: each is a wait */
} lap_activation_sums;
lap_activation_sums lap_activation_sums_of(const lap_gemma2 *model, int64_t teacher_k);

/* Which of a step's messages. */
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

/* `model` is recorded for the shards of the rank at `place`, a micro-batch of the config. */
void lap_step_sent_of(const lap_config *config, const lap_rank_layout *place,
                      const lap_gemma2 *model, int64_t teacher_k, lap_step_sent *sent);

/* Whole passes over a layer's weights that a lane needs gathered (mesh.shard: full), in layers. */
int64_t lap_full_gathers(int64_t layers, int64_t micro_batches);

#endif
