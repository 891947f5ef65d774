#include "autograd/op/input_rows.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static int64_t capacity_of(int64_t rows, int64_t positions) {
  return rows < positions ? rows : positions;
}

lap_input_rows *lap_input_rows_create(int64_t rows, int64_t hidden, int64_t positions) {
  lap_input_rows *made = lap_allocate(1, sizeof *made);
  const int64_t capacity = capacity_of(rows, positions);
  *made = (lap_input_rows){.rows = rows,
                           .hidden = hidden,
                           .slot = lap_allocate_aligned(rows, sizeof *made->slot),
                           .row = lap_allocate_aligned(capacity, sizeof *made->row),
                           .sum = lap_allocate_aligned(capacity * hidden, sizeof *made->sum)};
  for (int64_t i = 0; i < rows; ++i) made->slot[i] = -1;
  return made;
}

void lap_input_rows_destroy(lap_input_rows *input_rows) {
  if (!input_rows) return;
  lap_release_aligned(input_rows->slot);
  lap_release_aligned(input_rows->row);
  lap_release_aligned(input_rows->sum);
  free(input_rows);
}

int64_t lap_input_rows_bytes(int64_t rows, int64_t hidden, int64_t positions) {
  const int64_t capacity = capacity_of(rows, positions);
  return (rows + capacity) * (int64_t)sizeof(int32_t) + capacity * hidden * (int64_t)sizeof(real);
}

void lap_input_rows_begin(lap_input_rows *input_rows) {
  for (int64_t i = 0; i < input_rows->used; ++i) input_rows->slot[input_rows->row[i]] = -1;
  input_rows->used = 0;
}

int32_t lap_input_rows_slot(lap_input_rows *input_rows, int64_t row) {
  if (input_rows->slot[row] >= 0) return input_rows->slot[row];
  const int64_t slot = input_rows->used++;
  input_rows->row[slot] = (int32_t)row;
  input_rows->slot[row] = (int32_t)slot;
  memset(input_rows->sum + slot * input_rows->hidden, 0,
         (size_t)input_rows->hidden * sizeof *input_rows->sum);
  return (int32_t)slot;
}
