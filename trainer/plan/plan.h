/* plan: what a config will take, without taking it: parameters, memory of a rank, FLOPs, steps.
 *
 * Sizes come from the modules that allocate (their `..._bytes` functions), FLOPs from the ops, as
 * `bench` counts them: matrix products and the scores that a window of one document can see
 * (documents of real text hide more of them). Nothing here is collective, nothing large is
 * allocated, no file is read.
 *
 * The memory is the peak of the rank that holds most. It is that of a process which runs from
 * start to end:
 *   train   weights, moments, the step, and, where data.eval is given, an evaluation beside it
 *   eval    weights, one window at a time
 *   teach   the same, and on rank 0 the largest shard's cache as it is put together
 *           (eval and teach hold weights in bfloat16 where the precision is)
 * plus LAP_MEMORY_PROCESS: the program with its libraries, heap and stacks, measured once (see
 * lap_plan_process_bytes) and the same for every config.
 */
#ifndef LAP_TRAINER_PLAN_PLAN_H
#define LAP_TRAINER_PLAN_PLAN_H

#include "autograd/gemma2/model.h"
#include "trainer/config/config.h"
#include "trainer/state/memory_table.h"
#include "trainer/step/traffic.h"

typedef enum { LAP_PLAN_TRAIN, LAP_PLAN_EVAL, LAP_PLAN_TEACH } lap_plan_command;

/* "train", "eval", "teach". */
const char *lap_plan_command_name(lap_plan_command command);

/* What the config cannot say. */
typedef struct {
  lap_plan_command command;
  int ranks, ranks_per_node; /* ranks_per_node 0: one node has them all */
  int64_t teacher_k;     /* kept ids of the cache that is read, or written (teach); 0: no cache */
  int64_t teachers;      /* models that teach at once; 0 is 1 */
  int64_t token_bytes;   /* of token shards in memory */
  int64_t largest_shard; /* tokens of the largest one, for teach */
  uint64_t window_count; /* of data.train, for schedule.epochs; 0: not known */
} lap_plan_request;

typedef struct {
  lap_plan_command command;
  int64_t embedding_parameters, non_embedding_parameters;
  int ranks, model_ranks, fullest_rank;
  int64_t teacher_k; /* as asked for; training with objective.smoothing: the whole vocabulary */
  double efficiency; /* of lanes over replicas: 1 where they are even */
  lap_memory_table memory; /* of the fullest rank */
  /* Of a step, all ranks together; a step of eval or teach is a window. */
  int64_t tokens_per_step; /* inputs, padding included */
  double forward_flops, backward_flops;
  lap_step_traffic traffic; /* of train */
  uint64_t steps;           /* of the schedule; 0: not known, or eval, teach */
  double tokens, flops;     /* of all steps */
} lap_plan;

/* Needs the model, data.sequence_length and, for train, batch.sequences: LAP_USAGE naming the first
 * key that is missing. LAP_USAGE too where the ranks do not fold the mesh. */
lap_code lap_plan_make(const lap_config *config, const lap_plan_request *request, lap_plan *plan,
                       lap_status *status);

/* Of a plan of train: the micro-batch that its fullest rank records, without memory; the caller's
 * to destroy. */
lap_gemma2 *lap_plan_record(const lap_config *config, const lap_plan *plan);

/* What a rank takes whatever the config: text and data of the program and its libraries (HDF5, Open
 * MPI; OpenBLAS, where it computes, comes on top), heap, stacks of its threads. Measured as the
 * peak of `lapidary train` with a model of 20 thousand parameters, Debian 12. */
int64_t lap_plan_process_bytes(int ranks, int threads);

#endif
