#include "trainer/step/traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/op/loss_row.h"
#include "autograd/op/op.h"
#include "core/memory.h"
#include "mpi/traffic/plan.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"
#include "trainer/state/block_weights.h"
#include "trainer/step/step.h"

/* --- how often a step does what --- */

/* Gatherings of the weights of each block in a step: of the whole state, or, for layers with
 * mesh.shard: full, in each lane. [layers + 2] */
static uint64_t *gatherings(const lap_config *config) {
  const int layers = (int)config->model.num_hidden_layers;
  uint64_t *times = lap_allocate(layers + 2, sizeof *times);
  const uint64_t once = config->sharding != LAP_SHARDING_NONE;
  for (int block = 0; block <= layers + 1; ++block) times[block] = once;
  if (config->sharding == LAP_SHARDING_FULL)
    lap_block_weights_gatherings(layers, lap_config_micro_batches(config), times);
  return times;
}

/* Sums over shards in one micro-batch: their elements, and how many of them. */
typedef struct {
  int64_t elements;
  size_t element_size; /* 0: the largest, of floats */
  uint64_t times;
} shard_sum;

enum { SHARD_SUMS = 7 };

/* The embedding, two a layer forward (the projections cut by inputs) and two backward (where the
 * shards part); a block that is made again sums its forward ones again. The head exchanges, for
 * each chunk of positions, ends and kept logits of its rows, their masses, and dx. */
static void list_shard_sums(const lap_config *config, int64_t teacher_k,
                            shard_sum sums[SHARD_SUMS]) {
  const int64_t hidden = config->model.hidden_size;
  const int64_t rows = config->batch.micro_sequences * config->data.sequence_length;
  const int64_t most = lap_lm_head_chunk(config->model.vocab_size),
                chunk = most < rows ? most : rows;
  const int64_t whole = rows / chunk, rest = rows % chunk;
  const uint64_t layers = (uint64_t)config->model.num_hidden_layers;
  const uint64_t of_layer = config->recompute == LAP_RECOMPUTE_BLOCK ? 6 : 4;
  sums[0] = (shard_sum){rows * hidden, sizeof(float), 1 + of_layer * layers};
  for (int i = 0; i < 2; ++i) {
    const int64_t n = i ? rest : chunk;
    const uint64_t times = i ? rest > 0 : (uint64_t)whole;
    sums[1 + 3 * i] = (shard_sum){n * (LAP_ROW_ENDS + teacher_k), 0, times};
    sums[2 + 3 * i] = (shard_sum){n * LAP_ROW_MASSES, sizeof(double), times};
    sums[3 + 3 * i] = (shard_sum){n * hidden, sizeof(float), times};
  }
}

/* --- sent --- */

static void add_shard_sums(const lap_config *config, const lap_rank_layout *place,
                           int64_t teacher_k, lap_traffic *sent) {
  if (place->fold.model_ranks == 1) return;
  shard_sum sums[SHARD_SUMS];
  list_shard_sums(config, teacher_k, sums);
  const uint64_t lanes = (uint64_t)place->fold.lanes.count;
  const uint64_t passes = lanes * (uint64_t)lap_config_micro_batches(config);
  for (int i = 0; i < SHARD_SUMS; ++i) {
    const uint64_t times = passes * sums[i].times;
    if (sums[i].element_size)
      lap_sent_by_shard_sum(place, sums[i].elements, sums[i].element_size, times, sent);
    else
      lap_sent_by_shard_largest(place, sums[i].elements, times, sent);
  }
  /* Requests and failures: the ranks of a replica act as one. */
  lap_sent_by_shard_any(place, 1 + passes, sent);
}

static void add_buckets(const lap_config *config, const lap_rank_layout *place,
                        const lap_state *state, const uint64_t *gatherings, lap_traffic *sent) {
  const int layers = (int)config->model.num_hidden_layers;
  const uint64_t rounds = (uint64_t)place->fold.rounds;
  lap_sent_by_gradient_sum(place, state->partition, 1, sent);
  for (int b = 0; b < state->partition->buckets; ++b) {
    const int block = state->parameters->bucket[b].block;
    const bool each_lane = config->sharding == LAP_SHARDING_FULL && block >= 1 && block <= layers;
    if (config->sharding == LAP_SHARDING_NONE)
      lap_sent_by_bucket_gather(place, state->partition, b, LAP_TRAFFIC_GRADIENTS, 1, sent);
    lap_sent_by_bucket_gather(place, state->partition, b, LAP_TRAFFIC_WEIGHTS,
                              (each_lane ? rounds : 1) * gatherings[block], sent);
  }
}

/* `state` is an outline of some rank with the same shards; owned ranges are taken from its
 * partition. */
static void add_norm(const lap_rank_layout *place, const lap_state *state, lap_traffic *sent) {
  const int64_t base = state->parameters->parameter[0].canonical;
  const int counted = state->partition->counted_buckets;
  lap_range *own = lap_allocate(counted, sizeof *own);
  for (int b = 0; b < counted; ++b) {
    const lap_range range = lap_partition_range(state->partition, b, place->fold.replica);
    own[b] = (lap_range){base + range.begin, base + range.end};
  }
  lap_sent_by_segment_sum(place, state->all->canonical_elements, own, counted, 1, sent);
  free(own);
}

static void plan_sent(const lap_config *config, int ranks, int ranks_per_node, int64_t teacher_k,
                      const uint64_t *gatherings, lap_traffic *sent) {
  lap_placement first;
  lap_status status;
  lap_placement_of_rank(&config->mesh, config->model_ranks, config->sharding, ranks, 0, &first,
                        &status);
  for (int model_rank = 0; model_rank < first.fold.model_ranks; ++model_rank) {
    lap_placement placement;
    lap_placement_of_rank(&config->mesh, config->model_ranks, config->sharding, ranks, model_rank,
                          &placement, &status);
    lap_state *state = lap_state_outline(&config->model, &placement);
    for (int rank = model_rank; rank < ranks; rank += first.fold.model_ranks) {
      lap_rank_layout place = {.mesh = config->mesh, .ranks_per_node = ranks_per_node};
      lap_mesh_fold(&config->mesh, config->model_ranks, placement.fold.schedule, ranks, rank,
                    &place.fold, &status);
      add_buckets(config, &place, state, gatherings, sent);
      add_shard_sums(config, &place, teacher_k, sent);
      add_norm(&place, state, sent);
      lap_sent_by_lane_sum(&place, LAP_STEP_SUMS, 1, sent);
    }
    lap_state_destroy(state);
  }
}

/* --- mesh --- */

static void plan_mesh(const lap_config *config, int64_t teacher_k, const uint64_t *gatherings,
                      lap_mesh_traffic *traffic) {
  const lap_mesh *mesh = &config->mesh;
  const uint64_t passes = (uint64_t)lap_config_micro_batches(config);
  lap_parameters *all =
      lap_parameters_create_shards(&config->model, (lap_shard_range){mesh->model, 0, mesh->model});
  for (int b = 0; b < all->bucket_count; ++b) {
    const lap_bucket *bucket = &all->bucket[b];
    const int64_t elements = bucket->end - bucket->begin;
    const uint64_t gradients = config->sharding == LAP_SHARDING_NONE ? 2 : 1; /* and gathered */
    lap_mesh_plan_bucket(mesh, elements, LAP_TRAFFIC_GRADIENTS, gradients, traffic);
    lap_mesh_plan_bucket(mesh, elements, LAP_TRAFFIC_WEIGHTS, gatherings[bucket->block], traffic);
    lap_mesh_plan_segment_sum(mesh, all->canonical_elements, bucket->begin, elements, 1, traffic);
  }
  lap_parameters_destroy(all);
  shard_sum sums[SHARD_SUMS];
  list_shard_sums(config, teacher_k, sums);
  for (int i = 0; i < SHARD_SUMS && mesh->model > 1; ++i)
    lap_mesh_plan_shard_sum(mesh, sums[i].elements,
                            sums[i].element_size ? sums[i].element_size : sizeof(float),
                            passes * sums[i].times, traffic);
  lap_mesh_plan_lane_sum(mesh, LAP_STEP_SUMS, 1, traffic);
}

void lap_step_traffic_plan(const lap_config *config, int ranks, int ranks_per_node,
                           int64_t teacher_k, lap_step_traffic *traffic) {
  *traffic = (lap_step_traffic){0};
  uint64_t *times = gatherings(config);
  plan_sent(config, ranks, ranks_per_node, teacher_k, times, &traffic->sent);
  plan_mesh(config, teacher_k, times, &traffic->mesh);
  free(times);
}

/* --- counting --- */

/* Both tables are arrays of uint64_t throughout. */
enum { NUMBERS = sizeof(lap_step_traffic) / sizeof(uint64_t) };

static lap_step_traffic counted_by_now(lap_comm *comm) {
  return (lap_step_traffic){*lap_comm_traffic(comm), *lap_comm_mesh_traffic(comm)};
}

void lap_traffic_meter_start(lap_traffic_meter *meter, lap_comm *comm) {
  if (meter->running) return;
  meter->running = true;
  meter->mark = counted_by_now(comm);
}

void lap_traffic_meter_stop(lap_traffic_meter *meter, lap_comm *comm) {
  if (!meter->running) return;
  meter->running = false;
  const lap_step_traffic now = counted_by_now(comm);
  for (int i = 0; i < NUMBERS; ++i)
    ((uint64_t *)&meter->counted)[i] +=
        ((const uint64_t *)&now)[i] - ((const uint64_t *)&meter->mark)[i];
}

void lap_traffic_meter_mean(const lap_traffic_meter *meter, lap_comm *comm,
                            lap_step_traffic *traffic) {
  const int ranks = lap_comm_size(comm);
  lap_step_traffic *all = lap_allocate(ranks, sizeof *all);
  lap_gather_all(comm, &meter->counted, sizeof *all, all);
  *traffic = (lap_step_traffic){0};
  uint64_t *sum = (uint64_t *)traffic;
  for (int rank = 0; rank < ranks; ++rank)
    for (int i = 0; i < NUMBERS; ++i) sum[i] += ((const uint64_t *)&all[rank])[i];
  for (int i = 0; i < NUMBERS && meter->steps > 0; ++i) sum[i] /= meter->steps;
  free(all);
}

/* --- output --- */

/* One table: its two columns, and their names. */
static json_t *table_json(const uint64_t *left, const char *left_name, const uint64_t *right,
                          const char *right_name) {
  json_t *object = json_object();
  for (int kind = 0; kind < LAP_TRAFFIC_KINDS; ++kind)
    json_object_set_new(object, lap_traffic_kind_name((lap_traffic_kind)kind),
                        json_pack("{s:I, s:I}", left_name, (json_int_t)left[kind], right_name,
                                  (json_int_t)right[kind]));
  return object;
}

json_t *lap_step_traffic_to_json(const lap_step_traffic *traffic) {
  return json_pack("{s:o, s:o}", "sent",
                   table_json(traffic->sent.within_node, "within_node", traffic->sent.between_nodes,
                              "between_nodes"),
                   "mesh", table_json(traffic->mesh.ici, "ici", traffic->mesh.dcn, "dcn"));
}

void lap_step_traffic_print(const lap_step_traffic *traffic) {
  const char *const headers[] = {"sent a step, all ranks", "within nodes", "between nodes",
                                 "mesh: ICI", "mesh: DCN"};
  const uint64_t *const columns[] = {traffic->sent.within_node, traffic->sent.between_nodes,
                                     traffic->mesh.ici, traffic->mesh.dcn};
  enum { COLUMNS = 4 };
  lap_table *table = lap_table_create(COLUMNS + 1, headers);
  for (int kind = 0; kind <= LAP_TRAFFIC_KINDS; ++kind) {
    char text[COLUMNS][LAP_HUMAN_TEXT];
    for (int c = 0; c < COLUMNS; ++c) {
      uint64_t bytes = 0;
      for (int k = 0; k < LAP_TRAFFIC_KINDS; ++k)
        if (k == kind || kind == LAP_TRAFFIC_KINDS) bytes += columns[c][k];
      if (bytes)
        lap_human_bytes((double)bytes, text[c]);
      else
        snprintf(text[c], sizeof text[c], "-");
    }
    const char *name =
        kind == LAP_TRAFFIC_KINDS ? "total" : lap_traffic_kind_name((lap_traffic_kind)kind);
    lap_table_add(table, (const char *[]){name, text[0], text[1], text[2], text[3]});
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}
