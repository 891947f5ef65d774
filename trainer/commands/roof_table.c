#include "trainer/commands/roof_table.h"

#include <stdio.h>

#include "trainer/cli/table.h"

/* A row, of a mean step. */
typedef struct {
  const char *name;
  double forward, recompute, backward, seconds;
  double flops, computed, moved;
  bool beside; /* goes on beside other parts, which get most of its time: has no rate */
} part;

static part of_op(const lap_roof_profile *profile, const lap_tape_profile_row *row) {
  const double steps = (double)profile->steps;
  return (part){
      .name = row->op->name,
      .forward = row->forward_seconds / steps,
      .recompute = row->recompute_seconds / steps,
      .backward = row->backward_seconds / steps,
      .seconds = (row->forward_seconds + row->recompute_seconds + row->backward_seconds) / steps,
      .flops = row->flops / steps,
      .computed = row->computed_flops / steps,
      .moved = row->moved / steps,
  };
}

static part of_phase(const lap_roof_profile *profile, lap_phase phase) {
  return (part){.name = lap_phase_name(phase),
                .seconds = profile->phase_seconds[phase] / (double)profile->steps,
                .moved = profile->phase_moved[phase],
                .beside = phase == LAP_PHASE_GATHER};
}

static double bytes_rate(const part *p) { return p->beside ? 0 : p->moved / p->seconds; }

/* Seconds that the roofs alone would take: at the peak, and at the bandwidth. */
typedef struct {
  double products, memory;
} least_seconds;

static least_seconds least_of(const lap_roof_profile *profile, const part *p) {
  if (profile->peak_gflops == 0 || profile->triad_gbps == 0 || p->beside)
    return (least_seconds){0, 0};
  return (least_seconds){p->flops / (1e9 * profile->peak_gflops),
                         p->moved / (1e9 * profile->triad_gbps)};
}

static double longer(least_seconds least) {
  return least.products > least.memory ? least.products : least.memory;
}

static const char *bound_by(least_seconds least) {
  return least.products > least.memory ? "products" : "memory";
}

/* --- text --- */

enum { CELL = 32, COLUMNS = 10 };

/* "-" for what is not there. */
static void number(const char *format, double value, char cell[CELL]) {
  if (value > 0)
    snprintf(cell, CELL, format, value); /* NOLINT(clang-diagnostic-format-nonliteral) */
  else
    snprintf(cell, CELL, "-");
}

static void add_line(const lap_roof_profile *profile, const part *p, lap_table *table) {
  const least_seconds least = least_of(profile, p);
  const bool known = longer(least) > 0 && p->seconds > 0;
  char cell[COLUMNS][CELL];
  const char *cells[COLUMNS];
  const bool op = p->forward + p->backward > 0;
  snprintf(cell[0], CELL, "%s", p->name);
  number("%.2f", 1e3 * (op ? p->forward : p->seconds), cell[1]);
  number("%.2f", 1e3 * (p->recompute + p->backward), cell[2]);
  number("%.1f", 100 * p->seconds * (double)profile->steps / profile->seconds, cell[3]);
  number("%.3f", p->flops / 1e9, cell[4]);
  number("%.1f", p->flops / p->seconds / 1e9, cell[5]);
  number("%.1f", p->computed / p->seconds / 1e9, cell[6]);
  number("%.4f", p->moved / 1e9, cell[7]);
  number("%.1f", bytes_rate(p) / 1e9, cell[8]);
  snprintf(cell[9], CELL, "-");
  if (known) snprintf(cell[9], CELL, "%.2f %s", longer(least) / p->seconds, bound_by(least));
  for (int i = 0; i < COLUMNS; ++i) cells[i] = cell[i];
  lap_table_add(table, cells);
}

void lap_roof_table_print(const lap_roof_profile *profile) {
  static const char *const headers[COLUMNS] = {
      "part (rank 0, a step)", "forward ms", "backward ms", "%", "GFLOP", "GFLOP/s", "computed",
      "GB at the least",       "GB/s",       "of the roof"};
  lap_table *table = lap_table_create(COLUMNS, headers);
  for (int i = 0; i < profile->row_count; ++i) {
    const part p = of_op(profile, &profile->rows[i]);
    add_line(profile, &p, table);
  }
  for (int phase = 0; phase < LAP_PHASES; ++phase) {
    if (phase == LAP_PHASE_MODEL) continue;
    const part p = of_phase(profile, (lap_phase)phase);
    add_line(profile, &p, table);
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
  if (profile->peak_gflops > 0)
    printf("a rank's roofs: products %.1f GFLOP/s, memory %.1f GB/s\n", profile->peak_gflops,
           profile->triad_gbps);
}

/* --- JSON --- */

static json_t *known(double value) { return value > 0 ? json_real(value) : json_null(); }

static json_t *part_json(const lap_roof_profile *profile, const part *p, const char *kind) {
  const least_seconds least = least_of(profile, p);
  const double roof = longer(least), seconds = p->seconds;
  const bool measured = roof > 0 && seconds > 0;
  return json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:o, s:o}", "part",
                   p->name, "kind", kind, "seconds", seconds, "forward_seconds", p->forward,
                   "recompute_seconds", p->recompute, "backward_seconds", p->backward, "flops",
                   p->flops, "computed_flops", p->computed, "moved_bytes", p->moved, "gflops",
                   known(p->flops / seconds / 1e9), "gbps", known(bytes_rate(p) / 1e9), "bound",
                   measured ? json_string(bound_by(least)) : json_null(), "roof_share",
                   measured ? json_real(roof / seconds) : json_null());
}

json_t *lap_roof_table_to_json(const lap_roof_profile *profile) {
  json_t *list = json_array();
  for (int i = 0; i < profile->row_count; ++i) {
    const part p = of_op(profile, &profile->rows[i]);
    json_array_append_new(list, part_json(profile, &p, "op"));
  }
  for (int phase = 0; phase < LAP_PHASES; ++phase) {
    if (phase == LAP_PHASE_MODEL) continue;
    const part p = of_phase(profile, (lap_phase)phase);
    json_array_append_new(list, part_json(profile, &p, "phase"));
  }
  return list;
}
