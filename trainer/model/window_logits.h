/* window_logits: the model's logits for one window after the other, for evaluate and teach.
 *
 * One window at a time, whatever the ranks and threads, so that what is made of it has the same
 * bits everywhere; a chunk of rows of logits at a time, so that memory does not grow with the
 * window. The ranks of a replica make the logits of their model shards together; whole rows come to
 * its first rank, the leader, alone.
 */
#ifndef LAP_TRAINER_MODEL_WINDOW_LOGITS_H
#define LAP_TRAINER_MODEL_WINDOW_LOGITS_H

#include "trainer/state/block_weights.h"
#include "trainer/state/memory_table.h"
#include "trainer/step/batches.h"

typedef struct lap_window_logits lap_window_logits;

/* Not collective. `weights` are those of `state`; everything given must outlive the object. */
lap_window_logits *lap_window_logits_create(const lap_gemma2_config *model, lap_state *state,
                                            lap_block_weights *weights, const lap_data *data,
                                            int threads);
void lap_window_logits_destroy(lap_window_logits *windows);
/* What create would allocate with this state, of which an outline will do, for windows of this
 * length with `teacher_k` kept ids. */
void lap_window_logits_bytes(const lap_gemma2_config *config, const lap_state *state,
                             int64_t length, int64_t teacher_k, int threads,
                             lap_memory_table *memory);
/* Matrix FLOPs of one window: causal and windowed scores of one document. */
double lap_window_logits_flops(const lap_gemma2_config *config, int64_t length);

/* Not collective, on all ranks alike: visits end also where `leave` says so on a rank of the
 * replica. For a run that has deferred requests to stop. */
void lap_window_logits_set_leave(lap_window_logits *windows, bool (*leave)(void *context),
                                 void *context);

/* Called for each counted position, by several threads at once, each with another one. `logits` [V]
 * are soft-capped and may be overwritten. */
typedef void (*lap_position_visitor)(void *context, const lap_micro_batch *window, int64_t position,
                                     float *logits);

/* Collective over the replica (with mesh.shard: full over all of them, see join_pass). Runs window
 * `index` of data's set; its leader visits the counted positions. LAP_DATA where tokens or cache
 * rows cannot be read, LAP_STOPPED where any rank of the replica is to stop (lap_stop_check, or
 * set_leave), on all ranks of the replica. */
lap_code lap_window_logits_visit(lap_window_logits *windows, uint64_t index,
                                 lap_position_visitor visitor, void *context, lap_status *status);
/* The window that was visited last. */
const lap_micro_batch *lap_window_logits_window(const lap_window_logits *windows);
/* Collective: takes part in the messages of a pass in which this replica has no window to visit. */
void lap_window_logits_join_pass(lap_window_logits *windows);

/* Of this rank, since creation. */
typedef struct {
  uint64_t windows;
  double forward_seconds, visit_seconds; /* making logits; the visitor, waiting for threads too */
} lap_window_times;
lap_window_times lap_window_logits_times(const lap_window_logits *windows);

/* Whether this rank is the one of its replica that visits. */
bool lap_window_logits_leads(const lap_window_logits *windows);
/* Collective over the replica. Whether it is true on any of its ranks. */
bool lap_window_logits_any(const lap_window_logits *windows, bool mine);

#endif
