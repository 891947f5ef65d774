/* input_rows: what the input rows of a lane's micro-batches give to the embedding's gradient,
 * summed until the lane ends.
 *
 * The gradient of a row of the embedding is what the output head gives, plus one sum over the
 * lane's positions that read the row, in their order, from +0 (op/embedding.c). A lane of several
 * micro-batches must keep that sum: the head's part of the later ones comes before it. One row of
 * reals for each row that the lane reads; one of int32 for each row of the embedding.
 */
#ifndef LAP_AUTOGRAD_OP_INPUT_ROWS_H
#define LAP_AUTOGRAD_OP_INPUT_ROWS_H

#include <stdint.h>

#include "autograd/kernel/real.h"

#define lap_input_rows LAP_PRECISION(lap_input_rows)
#define lap_input_rows_create LAP_PRECISION(lap_input_rows_create)
#define lap_input_rows_destroy LAP_PRECISION(lap_input_rows_destroy)
#define lap_input_rows_bytes LAP_PRECISION(lap_input_rows_bytes)
#define lap_input_rows_begin LAP_PRECISION(lap_input_rows_begin)
#define lap_input_rows_slot LAP_PRECISION(lap_input_rows_slot)

typedef struct {
  int64_t rows, hidden; /* of the embedding: all shards held here, one behind the other */
  int64_t used;         /* rows that have a sum */
  int32_t *slot;        /* [rows]: where a row's sum is, -1: nowhere */
  int32_t *row;         /* [capacity]: the row of each sum */
  real *sum;            /* [capacity, hidden] */
} lap_input_rows;

/* For lanes of so many positions. */
lap_input_rows *lap_input_rows_create(int64_t rows, int64_t hidden, int64_t positions);
void lap_input_rows_destroy(lap_input_rows *input_rows);
int64_t lap_input_rows_bytes(int64_t rows, int64_t hidden, int64_t positions);

/* Forgets the sums: a lane begins. */
void lap_input_rows_begin(lap_input_rows *input_rows);
/* Where the sum of the row is; a new one is +0. */
int32_t lap_input_rows_slot(lap_input_rows *input_rows, int64_t row);

#endif
