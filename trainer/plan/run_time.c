#include "trainer/plan/run_time.h"

#include <math.h>
#include <stdio.h>

#include "trainer/cli/human.h"
#include "trainer/cli/table.h"

int lap_plan_time_chips(const lap_config *config) {
  return lap_mesh_lanes(&config->mesh) * config->mesh.model;
}

/* What the program itself takes is not on the chip. */
static void fit(const lap_plan *plan, const lap_hardware *h, lap_plan_time *time) {
  const double rank = (double)lap_memory_total(&plan->memory);
  if (h->is_chip) {
    time->bytes = rank - (double)plan->memory.bytes[LAP_MEMORY_PROCESS];
    time->capacity = h->chip.hbm_bytes;
    return;
  }
  time->bytes = rank * fmin(lap_hardware_ranks_per_node(h), plan->ranks);
  time->capacity = h->memory_bytes;
}

lap_code lap_plan_time_make(const lap_config *config, const lap_plan *plan,
                            const lap_hardware *hardware, lap_plan_time *time, lap_status *status) {
  *time = (lap_plan_time){.hardware = hardware};
  if (hardware->is_chip) {
    LAP_TRY(lap_step_time_chips(config, plan->teacher_k, plan->forward_flops + plan->backward_flops,
                                hardware, &time->chips, status));
    time->seconds_per_step = time->chips.seconds;
  } else {
    LAP_TRY(lap_step_time_measured(config, plan->ranks, plan->teacher_k, hardware, &time->measured,
                                   status));
    time->seconds_per_step = time->measured.seconds;
  }
  time->tokens_per_second = (double)plan->tokens_per_step / time->seconds_per_step;
  time->hours = (double)plan->steps * time->seconds_per_step / 3600;
  fit(plan, hardware, time);
  return LAP_OK;
}

/* --- output --- */

static void add_row(lap_table *table, const char *name, double seconds, double of) {
  char exact[32], share[16];
  snprintf(exact, sizeof exact, "%.6f", seconds);
  snprintf(share, sizeof share, "%.1f", 100 * seconds / of);
  lap_table_add(table, (const char *[]){name, exact, share});
}

static void print_measured(const lap_plan_time *time) {
  const char *const headers[] = {"a step", "seconds", "%"};
  const lap_step_time *t = &time->measured;
  lap_table *table = lap_table_create(3, headers);
  for (int part = 0; part < LAP_TIME_PARTS; ++part)
    add_row(table, lap_time_part_name((lap_time_part)part), t->part[part], t->seconds);
  add_row(table, "exposed communication", t->exposed, t->seconds);
  add_row(table, "total", t->seconds, t->seconds);
  lap_table_print(table, stdout);
  lap_table_destroy(table);
  printf("all communication %.6f s; unit costs of %s, core_share %.2f\n", t->communication,
         time->hardware->name, time->hardware->core_share);
}

static void print_chips(const lap_plan_time *time) {
  const char *const headers[] = {"a step", "seconds", "bytes over the busiest link", ""};
  const lap_chip_time *t = &time->chips;
  char name[64];
  snprintf(name, sizeof name, "compute at %.0f %% of peak", 100 * time->hardware->chip.efficiency);
  const struct {
    const char *name;
    double seconds, bytes;
  } rows[] = {{name, t->compute, 0},
              {"compute at peak", t->compute_peak, 0},
              {"model axis (ICI)", t->model_seconds, t->model_link_bytes},
              {"data axis (ICI)", t->data_seconds, t->data_link_bytes},
              {"between pods (DCN), a chip", t->dcn_seconds, t->dcn_bytes}};
  lap_table *table = lap_table_create(4, headers);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
    char seconds[32], bytes[32], human[LAP_HUMAN_TEXT];
    snprintf(seconds, sizeof seconds, "%.6f", rows[i].seconds);
    snprintf(bytes, sizeof bytes, "%.0f", rows[i].bytes);
    lap_table_add(
        table, (const char *[]){rows[i].name, seconds, rows[i].bytes > 0 ? bytes : "-",
                                rows[i].bytes > 0 ? lap_human_bytes(rows[i].bytes, human) : "-"});
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

void lap_plan_time_print(const lap_plan_time *time) {
  char rate[LAP_HUMAN_TEXT], bytes[LAP_HUMAN_TEXT], capacity[LAP_HUMAN_TEXT];
  printf("\n");
  if (time->hardware->is_chip)
    print_chips(time);
  else
    print_measured(time);
  printf("%.6f s a step, %s tokens/s", time->seconds_per_step,
         lap_human_count(time->tokens_per_second, rate));
  if (time->hours > 0) printf(", %.4g hours (%.3g days) in all", time->hours, time->hours / 24);
  printf("\nmemory of a %s: %s of %s: %s\n", time->hardware->is_chip ? "chip" : "node",
         lap_human_bytes(time->bytes, bytes), lap_human_bytes(time->capacity, capacity),
         time->bytes <= time->capacity ? "fits" : "DOES NOT FIT");
}

static void add_measured(const lap_plan_time *time, json_t *object) {
  json_t *parts = json_object();
  for (int part = 0; part < LAP_TIME_PARTS; ++part)
    json_object_set_new(parts, lap_time_part_name((lap_time_part)part),
                        json_real(time->measured.part[part]));
  json_object_set_new(object, "seconds_by_part", parts);
  json_object_set_new(object, "exposed_communication_seconds", json_real(time->measured.exposed));
  json_object_set_new(object, "communication_seconds", json_real(time->measured.communication));
}

static void add_chips(const lap_plan_time *time, json_t *object) {
  const lap_chip_time *t = &time->chips;
  json_t *parts = json_pack("{s:f, s:f, s:f, s:f, s:f}", "compute", t->compute, "compute_at_peak",
                            t->compute_peak, "model_axis", t->model_seconds, "data_axis",
                            t->data_seconds, "between_pods", t->dcn_seconds);
  json_object_set_new(object, "seconds_by_part", parts);
  json_object_set_new(
      object, "link_bytes",
      json_pack("{s:f, s:f}", "model_axis", t->model_link_bytes, "data_axis", t->data_link_bytes));
}

json_t *lap_plan_time_to_json(const lap_plan_time *time) {
  json_t *object = json_pack(
      "{s:s, s:f, s:f, s:o, s:f, s:f, s:b}", "hardware", time->hardware->name, "seconds_per_step",
      time->seconds_per_step, "tokens_per_second", time->tokens_per_second, "hours",
      time->hours > 0 ? json_real(time->hours) : json_null(), "bytes", time->bytes, "capacity",
      time->capacity, "fits", time->bytes <= time->capacity);
  if (time->hardware->is_chip)
    add_chips(time, object);
  else
    add_measured(time, object);
  return object;
}
