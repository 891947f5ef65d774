#include "trainer/step/traffic.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"
#include "trainer/state/state.h"
#include "trainer/step/messages.h"
#include "trainer/step/step.h"

/* --- the plan --- */

/* Ranks with the same shards have the same buckets and messages. */
static void plan_sent(const lap_config *config, int ranks, int ranks_per_node, const lap_tape *tape,
                      lap_traffic *sent) {
  lap_rank_layout layout = {.mesh = config->mesh, .ranks_per_node = ranks_per_node};
  const lap_lane_schedule schedule = lap_sharding_lane_schedule(config->sharding);
  lap_fold *fold = &layout.fold;
  lap_status status;
  for (int first = 0, model_ranks = 1; first < model_ranks; ++first) {
    lap_mesh_fold(&config->mesh, config->model_ranks, schedule, ranks, first, fold, &status);
    model_ranks = fold->model_ranks;
    lap_parameters *parameters = lap_parameters_create_shards(
        &config->model,
        (lap_shard_range){config->mesh.model, fold->first_shard, fold->shard_count});
    lap_partition *partition = lap_state_partition(parameters, fold->replicas);
    lap_step_messages *messages = lap_step_messages_create(config, parameters, tape);
    for (int rank = first; rank < ranks; rank += model_ranks) {
      lap_mesh_fold(&config->mesh, config->model_ranks, schedule, ranks, rank, fold, &status);
      for (int i = 0; i < messages->count; ++i)
        lap_message_add_sent(messages, &messages->message[i], &layout, partition, sent);
    }
    lap_step_messages_destroy(messages);
    lap_partition_destroy(partition);
    lap_parameters_destroy(parameters);
  }
}

static void plan_mesh(const lap_config *config, const lap_tape *tape, lap_mesh_traffic *traffic) {
  const int shards = config->mesh.model;
  lap_parameters *all =
      lap_parameters_create_shards(&config->model, (lap_shard_range){shards, 0, shards});
  lap_step_messages *messages = lap_step_messages_create(config, all, tape);
  for (int i = 0; i < messages->count; ++i)
    lap_message_add_mesh(messages, &messages->message[i], traffic);
  lap_step_messages_destroy(messages);
  lap_parameters_destroy(all);
}

void lap_step_traffic_plan(const lap_config *config, int ranks, int ranks_per_node,
                           int64_t teacher_k, lap_step_traffic *traffic) {
  *traffic = (lap_step_traffic){0};
  lap_gemma2 *model =
      lap_stepper_record(config, (lap_shard_range){config->mesh.model, 0, 1}, teacher_k, false);
  plan_sent(config, ranks, ranks_per_node, model->tape, &traffic->sent);
  plan_mesh(config, model->tape, &traffic->mesh);
  lap_gemma2_destroy(model);
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
  meter->checks_mark = lap_comm_check_bytes(comm);
}

void lap_traffic_meter_stop(lap_traffic_meter *meter, lap_comm *comm) {
  if (!meter->running) return;
  meter->running = false;
  const lap_step_traffic now = counted_by_now(comm);
  for (int i = 0; i < NUMBERS; ++i)
    ((uint64_t *)&meter->counted)[i] +=
        ((const uint64_t *)&now)[i] - ((const uint64_t *)&meter->mark)[i];
  meter->checks += lap_comm_check_bytes(comm) - meter->checks_mark;
}

void lap_traffic_meter_mean(const lap_traffic_meter *meter, lap_comm *comm,
                            lap_step_traffic *traffic, uint64_t *check_bytes) {
  const int ranks = lap_comm_size(comm);
  lap_step_traffic *all = lap_allocate(ranks, sizeof *all);
  uint64_t *checks = lap_allocate(ranks, sizeof *checks);
  lap_gather_all(comm, &meter->counted, sizeof *all, all);
  lap_gather_all(comm, &meter->checks, sizeof *checks, checks);
  *traffic = (lap_step_traffic){0};
  *check_bytes = 0;
  uint64_t *sum = (uint64_t *)traffic;
  for (int rank = 0; rank < ranks; ++rank) {
    for (int i = 0; i < NUMBERS; ++i) sum[i] += ((const uint64_t *)&all[rank])[i];
    *check_bytes += checks[rank];
  }
  for (int i = 0; i < NUMBERS && meter->steps > 0; ++i) sum[i] /= meter->steps;
  if (meter->steps > 0) *check_bytes /= meter->steps;
  free(checks);
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

void lap_step_traffic_print(const lap_step_traffic *traffic, uint64_t check_bytes) {
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
  char text[LAP_HUMAN_TEXT];
  if (check_bytes)
    printf("checks of these send %s a step beside them\n",
           lap_human_bytes((double)check_bytes, text));
}
