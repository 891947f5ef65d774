/* loss_row: the loss of one position in the steps that the shards of a vocabulary take together.
 *
 * A shard has a stretch of the ids, a slice of the row. Whoever calls starts `ends` and `kept` with
 * -inf, then: begin for each slice; the largest of ends and kept over all shards; masses for each
 * slice; their sum over all shards; judge, once, with the same numbers everywhere; gradient for
 * each slice. lap_loss_row (op.h) is the same for a row in one slice.
 */
#ifndef LAP_AUTOGRAD_OP_LOSS_ROW_H
#define LAP_AUTOGRAD_OP_LOSS_ROW_H

#include "autograd/op/op.h"

/* What is known of a position; as in lap_batch. */
typedef struct {
  int32_t target;
  int64_t k;
  const int32_t *ids;
  const real *probability;
  real tail;
  double teacher_entropy;
  const lap_objective *objective;
  double softcap;
} lap_row_labels;

/* Soft-capped logits of ids [first, first + count). */
typedef struct {
  real *z;
  int64_t first, count;
} lap_row_slice;

/* Where the numbers that shards exchange stand. */
enum { LAP_ROW_REST, LAP_ROW_TARGET, LAP_ROW_ENDS }; /* ends: largest of the rest; target's logit */
enum { LAP_ROW_MASSES = 2 }; /* sums: of the rest at temperature 1, and at that of the objective */

/* Log-sum-exp of the two parts of a row at one temperature; -inf where a part is empty. */
typedef struct {
  double max_rest, rest, kept, all;
} lap_row_mass;

/* What a tail rule makes of a row: the coefficients of the table in loss_row.c, without w. */
typedef struct {
  double a, r; /* r = 0 where the rest is empty */
  double all, kept, rest, target;
} lap_row_rule;

typedef struct {
  lap_row_mass one, hot; /* at temperature 1, and at that of the objective */
  lap_row_rule rule;
} lap_row_coefficients;

/* Takes the kept logits out of the slice (their places hold -inf), and raises ends [LAP_ROW_ENDS]
 * and kept [k] to what the slice has. */
void lap_row_begin(const lap_row_labels *labels, const lap_row_slice *slice, real *ends,
                   real *kept);
/* The slice's part of the masses of the rest, sums [LAP_ROW_MASSES], relative to its largest. */
void lap_row_masses(const lap_row_labels *labels, const lap_row_slice *slice, const real *ends,
                    double *sums);
/* Losses, and what the gradient is made of; weight [k] gets t'. */
lap_row_loss lap_row_coefficients_of(const lap_row_labels *labels, const real *ends,
                                     const real *kept, const double *sums, real *weight,
                                     lap_row_coefficients *verdict);
/* The slice's logits become d loss / d u. */
void lap_row_gradient(const lap_row_labels *labels, const lap_row_slice *slice, const real *ends,
                      const real *kept, const real *weight, const lap_row_coefficients *verdict);

#endif
