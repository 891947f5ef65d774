#include "trainer/plan/tape_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "autograd/tape/walk.h"
#include "core/memory.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"

static const char *const step_names[LAP_STEP_KINDS] = {"forward", "recompute", "backward"};

static int64_t rotary_bytes(const lap_gemma2 *model) {
  return lap_gemma2_bytes(model) - lap_tape_bytes(model->tape);
}

/* --- text --- */

enum { CELL = 128, MOST_CELLS = 16 };

static void format_step(int step, char cell[CELL]) {
  if (step < 0)
    snprintf(cell, CELL, "-");
  else
    snprintf(cell, CELL, "%d", step);
}

/* "#3 [51, 7]" of op 3, "w [7, 24]" of a parameter, "2 x w [7, 24]" of one a shard. */
static void format_inputs(const lap_tape_row *row, char cell[CELL]) {
  int at = snprintf(cell, CELL, "%s", row->inputs ? "" : "-");
  for (int i = 0, next; i < row->inputs; i = next) {
    const lap_operand *input = &row->shapes.input[i];
    for (next = i + 1; next < row->inputs && row->producer[i] < 0 && row->producer[next] < 0 &&
                       row->shapes.input[next].rows == input->rows &&
                       row->shapes.input[next].columns == input->columns;)
      ++next;
    char name[32], times[32] = "";
    snprintf(name, sizeof name, row->producer[i] < 0 ? "w" : "#%d", row->producer[i]);
    if (next > i + 1) snprintf(times, sizeof times, "%d x ", next - i);
    if (at < CELL)
      at += snprintf(cell + at, (size_t)(CELL - at), "%s%s%s [%" PRId64 ", %" PRId64 "]",
                     i ? "  " : "", times, name, input->rows, input->columns);
  }
}

/* "1024+512": bytes at an offset; of each of `count` that is there. */
static void format_memory(const lap_tape_memory *memory, int count, char cell[CELL]) {
  int at = snprintf(cell, CELL, "-");
  for (int i = 0, shown = 0; i < count; ++i) {
    if (!memory[i].bytes) continue;
    if (!shown++) at = 0;
    at += snprintf(cell + at, (size_t)(CELL - at), "%s%" PRId64 "+%" PRId64, shown > 1 ? "  " : "",
                   memory[i].offset, memory[i].bytes);
  }
}

static void add_line(lap_table *table, const lap_tape_row *row, int op) {
  char cell[MOST_CELLS][CELL];
  const char *cells[MOST_CELLS];
  int c = 0;
  snprintf(cell[c++], CELL, "#%d", op);
  snprintf(cell[c++], CELL, "%d", row->block);
  snprintf(cell[c++], CELL, "%s", row->op->name);
  for (int kind = 0; kind < LAP_STEP_KINDS; ++kind) format_step(row->step[kind], cell[c++]);
  format_inputs(row, cell[c++]);
  snprintf(cell[c++], CELL, "[%" PRId64 ", %" PRId64 "]", row->shapes.output.rows,
           row->shapes.output.columns);
  format_memory(row->value, LAP_LIVES, cell[c++]);
  format_memory(&row->gradient, 1, cell[c++]);
  format_memory(row->saved, LAP_LIVES, cell[c++]);
  format_memory(row->scratch, LAP_STEP_KINDS, cell[c++]);
  for (int i = 0; i < c; ++i) cells[i] = cell[i];
  lap_table_add(table, cells);
}

void lap_tape_table_print(const lap_gemma2 *model) {
  const char *const headers[] = {"op",     "block",  "name",  "forward",  "recompute", "backward",
                                 "inputs", "output", "value", "gradient", "saved",     "scratch"};
  printf(
      "forward, recompute, backward: steps of the schedule; #: ops, w: parameters\n"
      "memory: offset+bytes in the arena, a second one where it is recomputed; scratch of each "
      "step\n");
  lap_table *table = lap_table_create(sizeof headers / sizeof *headers, headers);
  for (int op = 0; op < lap_tape_op_count(model->tape); ++op) {
    lap_tape_row row;
    lap_tape_describe(model->tape, op, &row);
    add_line(table, &row, op);
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
  const int64_t arena = lap_tape_bytes(model->tape), angles = rotary_bytes(model);
  char human[LAP_HUMAN_TEXT];
  printf("arena %" PRId64 " + rotary angles %" PRId64 " = %" PRId64
         " bytes (%s): activations and logits of a micro-batch\n",
         arena, angles, arena + angles, lap_human_bytes((double)(arena + angles), human));
}

/* --- JSON --- */

static json_t *memory_json(const lap_tape_memory *memory) {
  if (!memory->bytes) return json_null();
  return json_pack("{s:I, s:I}", "offset", (json_int_t)memory->offset, "bytes",
                   (json_int_t)memory->bytes);
}

static json_t *lives_json(const lap_tape_memory lives[LAP_LIVES]) {
  json_t *list = json_array();
  for (int life = 0; life < LAP_LIVES; ++life)
    if (lives[life].bytes) json_array_append_new(list, memory_json(&lives[life]));
  return list;
}

static json_t *shape_json(const lap_operand *operand) {
  return json_pack("[I, I]", (json_int_t)operand->rows, (json_int_t)operand->columns);
}

static json_t *row_json(const lap_tape_row *row) {
  json_t *steps = json_object(), *inputs = json_array(), *scratch = json_object();
  for (int kind = 0; kind < LAP_STEP_KINDS; ++kind) {
    const int step = row->step[kind];
    json_object_set_new(steps, step_names[kind], step < 0 ? json_null() : json_integer(step));
    json_object_set_new(scratch, step_names[kind], memory_json(&row->scratch[kind]));
  }
  for (int i = 0; i < row->inputs; ++i)
    json_array_append_new(
        inputs, json_pack("{s:o, s:o}", "op",
                          row->producer[i] < 0 ? json_null() : json_integer(row->producer[i]),
                          "shape", shape_json(&row->shapes.input[i])));
  return json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "block", row->block, "name",
                   row->op->name, "steps", steps, "inputs", inputs, "output",
                   shape_json(&row->shapes.output), "value", lives_json(row->value), "gradient",
                   memory_json(&row->gradient), "saved", lives_json(row->saved), "scratch",
                   scratch);
}

json_t *lap_tape_table_to_json(const lap_gemma2 *model) {
  json_t *ops = json_array();
  for (int op = 0; op < lap_tape_op_count(model->tape); ++op) {
    lap_tape_row row;
    lap_tape_describe(model->tape, op, &row);
    json_array_append_new(ops, row_json(&row));
  }
  return json_pack("{s:o, s:I, s:I, s:I}", "ops", ops, "arena_bytes",
                   (json_int_t)lap_tape_bytes(model->tape), "rotary_bytes",
                   (json_int_t)rotary_bytes(model), "total_bytes",
                   (json_int_t)lap_gemma2_bytes(model));
}
