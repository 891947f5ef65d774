/* angles_report: what the angles of students are, as JSON and as tables. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/audit/angles.h"
#include "trainer/cli/table.h"

static const char *const group_names[LAP_ANGLE_GROUPS] = {"embedding", "other", "all"};

static const char *rule_name(lap_tail tail) {
  static const char *const names[] = {"ghost", "drop",     "renormalise", "renormalise_both",
                                      "none",  "decoupled"};
  return names[tail];
}

/* Dense rows are topk's with all ids; only decoupled is compared with them. */
static const char *codec_name(const lap_angle_target *target) {
  const lap_kept *kept = &target->kept;
  if (kept->codec == LAP_CODEC_TOPK && target->tail == LAP_TAIL_DECOUPLED) return "dense";
  return lap_codec_name(kept->codec);
}

/* --- JSON --- */

static void set_estimate(json_t *object, const char *name, lap_estimate estimate) {
  char *error = lap_format("%s_error", name);
  json_object_set_new(object, name, lap_json_number(estimate.value));
  json_object_set_new(object, error, lap_json_number(estimate.error));
  free(error);
}

static json_t *angles_to_json(const lap_angles *angles) {
  json_t *object = json_object();
  set_estimate(object, "angle", angles->angle);
  set_estimate(object, "cross_angle", angles->cross);
  set_estimate(object, "bias_squared", angles->bias_squared);
  json_object_set_new(object, "bias", lap_json_number(angles->bias));
  json_object_set_new(object, "error", lap_json_number(angles->error));
  json_object_set_new(object, "draw_noise", lap_json_number(angles->draw_noise));
  json_object_set_new(object, "dense_norm", lap_json_number(angles->norm));
  return object;
}

static json_t *target_to_json(const lap_angle_target *target,
                              const lap_angles angles[LAP_ANGLE_GROUPS]) {
  const lap_kept *kept = &target->kept;
  json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "codec", codec_name(target), "rule",
                             rule_name(target->tail), "slots", (json_int_t)lap_kept_slots(kept),
                             "exact", (json_int_t)kept->exact, "draws", (json_int_t)kept->draws,
                             "head", (json_int_t)target->head);
  json_object_set_new(object, "bytes_per_token", lap_json_number(target->bytes_per_token));
  for (int g = 0; g < LAP_ANGLE_GROUPS; ++g)
    json_object_set_new(object, group_names[g], angles_to_json(&angles[g]));
  return object;
}

static json_t *student_to_json(const lap_angle_audit *audit, const lap_student_angles *student) {
  json_t *control = json_object(), *targets = json_array();
  for (int g = 0; g < LAP_ANGLE_GROUPS; ++g) {
    json_t *group = json_object();
    set_estimate(group, "angle", student->control[g]);
    json_object_set_new(control, group_names[g], group);
  }
  for (int i = 0; i < audit->target_count; ++i)
    json_array_append_new(targets, target_to_json(&audit->targets[i], student->angles[i]));
  return json_pack("{s:o, s:o, s:f, s:o, s:o}", "checkpoint", lap_json_path(student->path), "step",
                   student->step < 0 ? json_null() : json_integer(student->step), "tokens",
                   audit->tokens, "control", control, "targets", targets);
}

json_t *lap_angle_audit_to_json(const lap_angle_audit *audit) {
  json_t *students = json_array();
  for (int i = 0; i < audit->student_count; ++i)
    json_array_append_new(students, student_to_json(audit, &audit->students[i]));
  return json_pack("{s:I, s:I, s:f, s:[i, i], s:o}", "blocks", (json_int_t)audit->blocks,
                   "block_windows", (json_int_t)audit->windows, "block_tokens", audit->tokens,
                   "draw_seeds", 1, 2, "students", students);
}

/* --- tables --- */

enum { COLUMNS = 11, CELL = 48 };

/* "12.3 +- 0.4" */
static void print_estimate(lap_estimate estimate, char cell[CELL]) {
  if (isnan(estimate.error))
    snprintf(cell, CELL, "%.2f", estimate.value);
  else
    snprintf(cell, CELL, "%.2f +- %.2f", estimate.value, estimate.error);
}

/* In shares of the norm of the dense gradient. A bias below two standard errors is not shown. */
static void print_bias(const lap_angles *a, char cell[CELL]) {
  const double square = a->norm * a->norm;
  const bool seen = a->bias_squared.value > 2 * a->bias_squared.error;
  if (seen)
    snprintf(cell, CELL, "%.4f", a->bias / a->norm);
  else
    snprintf(cell, CELL, "< %.4f",
             sqrt(fmax(a->bias_squared.value + 2 * a->bias_squared.error, 0) / square));
}

static void add_row(lap_table *table, const lap_angle_audit *audit,
                    const lap_student_angles *student, const char *target[4], int group,
                    const char *const measured[4]) {
  char step[CELL], tokens[CELL];
  snprintf(step, sizeof step, "%" PRId64, student->step);
  snprintf(tokens, sizeof tokens, "%.0f", audit->tokens);
  lap_table_add(table, (const char *[COLUMNS]){student->step < 0 ? "-" : step, tokens, target[0],
                                               target[1], target[2], target[3], group_names[group],
                                               measured[0], measured[1], measured[2], measured[3]});
}

static void add_target(lap_table *table, const lap_angle_audit *audit,
                       const lap_student_angles *student, int index, int group) {
  char slots[CELL], bytes[CELL], angle[CELL], cross[CELL], bias[CELL], noise[CELL];
  const lap_angle_target *target = &audit->targets[index];
  const lap_angles *a = &student->angles[index][group];
  snprintf(slots, sizeof slots, "%u", lap_kept_slots(&target->kept));
  snprintf(bytes, sizeof bytes, "%.1f", target->bytes_per_token);
  print_estimate(a->angle, angle);
  print_estimate(a->cross, cross);
  print_bias(a, bias);
  snprintf(noise, sizeof noise, "%.4f", a->draw_noise / a->norm);
  add_row(table, audit, student,
          (const char *[4]){codec_name(target), rule_name(target->tail), slots, bytes}, group,
          (const char *[4]){angle, cross, bias, noise});
}

static void print_student(const lap_angle_audit *audit, const lap_student_angles *student,
                          FILE *out) {
  lap_table *table = lap_table_create(
      COLUMNS, (const char *[COLUMNS]){"step", "tokens", "codec", "rule", "slots", "B/token",
                                       "weights", "angle", "other text", "bias", "draws"});
  for (int group = 0; group < LAP_ANGLE_ALL; ++group) {
    char cross[CELL];
    print_estimate(student->control[group], cross);
    add_row(table, audit, student, (const char *[4]){"dense", "itself", "", ""}, group,
            (const char *[4]){"0", cross, "0", "0"});
    for (int i = 0; i < audit->target_count; ++i) add_target(table, audit, student, i, group);
  }
  fprintf(out, "\nstudent        %s\n", student->path);
  lap_table_print(table, out);
  lap_table_destroy(table);
}

void lap_angle_audit_print(const lap_angle_audit *audit, FILE *out) {
  fprintf(out,
          "\ngradient angles to the dense teacher, in degrees, at %.0f tokens a block, %d blocks;\n"
          "other text: on another block; bias and draws: in shares of the dense gradient's norm\n",
          audit->tokens, (int)audit->blocks);
  for (int i = 0; i < audit->student_count; ++i) print_student(audit, &audit->students[i], out);
}
