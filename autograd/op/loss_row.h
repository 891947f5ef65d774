/* loss_row: the loss of one position in the steps that the shards of a vocabulary take together.
 *
 * A shard has a stretch of the ids, and reads it slice by slice, so that a slice need not leave the
 * nearest cache. The caller fills `ends` and `kept` with -inf and begins `rest` for each shard.
 * Then come: begin for each slice; the largest of ends and kept over all shards; masses for each
 * shard; their sum over all shards; the coefficients, once, from the same numbers everywhere; the
 * gradient for each slice. lap_loss_row is all of it for a row in one slice.
 */
#ifndef LAP_AUTOGRAD_OP_LOSS_ROW_H
#define LAP_AUTOGRAD_OP_LOSS_ROW_H

#include <math.h>

#include "autograd/op/objective.h"
#include "autograd/op/op.h"

#define lap_row_head_first LAP_PRECISION(lap_row_head_first)
#define lap_row_begin LAP_PRECISION(lap_row_begin)
#define lap_row_masses LAP_PRECISION(lap_row_masses)
#define lap_row_coefficients_of LAP_PRECISION(lap_row_coefficients_of)
#define lap_row_gradient LAP_PRECISION(lap_row_gradient)
#define lap_loss_row LAP_PRECISION(lap_loss_row)

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

/* The numbers that shards exchange. Ends: the largest logit of the rest, and the target's. Masses:
 * of the rest at temperature 1, and at that of the objective. */
enum { LAP_ROW_REST, LAP_ROW_TARGET, LAP_ROW_ENDS };
enum { LAP_ROW_MASSES = 2 };

/* Masses are sums over panels of so many ids of a shard, each relative to its own largest logit:
 * part of the numbers. */
enum { LAP_ROW_PANEL = 1024 };

/* What a shard has read of the rest of a row: its masses relative to its largest logit. */
typedef struct {
  real largest;
  double sums[LAP_ROW_MASSES];
} lap_row_rest;

static inline lap_row_rest lap_row_nothing_read(void) { return (lap_row_rest){-INFINITY, {0}}; }

typedef struct {
  double loss, ce, kd, kl;
} lap_row_loss;

/* Log-sum-exp of the two parts of a row at one temperature; -inf where a part is empty. */
typedef struct {
  double max_rest, rest, kept, all;
  double tail; /* of all but the head; decoupled only */
} lap_row_mass;

/* The coefficients that a tail rule gives a row: the table in loss_row.c, without w. */
typedef struct {
  double a, r; /* r = 0 where the rest is empty */
  double all, kept, rest, target;
  double tail, tail_mass; /* decoupled: coefficient of the softmax over the tail; r_T */
} lap_row_rule;

typedef struct {
  lap_row_mass one, hot; /* at temperature 1, and at that of the objective */
  lap_row_rule rule;
} lap_row_coefficients;

/* The most probable of `k` slots come first, `head` of them, by as many exchanges: what `decoupled`
 * takes for the head. A row that has it so already stays. */
void lap_row_head_first(int32_t *ids, real *probability, int64_t k, int64_t head);

/* Reads a slice: takes the kept logits out of it, where -inf stays, raises ends [LAP_ROW_ENDS] and
 * kept [k] to what it has, and adds its masses to `rest`. A shard's slices come in the order of
 * their ids, and hold whole panels of LAP_ROW_PANEL ids but for the last. */
void lap_row_begin(const lap_row_labels *labels, const lap_row_slice *slice, real *ends, real *kept,
                   lap_row_rest *rest);
/* The masses of a shard's rest, sums [LAP_ROW_MASSES], relative to the largest of all shards. */
void lap_row_masses(const lap_row_labels *labels, const lap_row_rest *rest, const real *ends,
                    double *sums);
/* Losses, and the coefficients of the gradient; weight [k] gets t'. */
lap_row_loss lap_row_coefficients_of(const lap_row_labels *labels, const real *ends,
                                     const real *kept, const double *sums, real *weight,
                                     lap_row_coefficients *coefficients);
/* gradient [slice.count] = d loss / d u of the slice. May be slice.z. */
void lap_row_gradient(const lap_row_labels *labels, const lap_row_slice *slice, const real *ends,
                      const real *kept, const real *weight,
                      const lap_row_coefficients *coefficients, real *gradient);

/* One position whose logits are all here: losses from its soft-capped logits z [V]; where
 * `gradient`, z is replaced by d loss / d u with z = softcap tanh(u / softcap), else z is left with
 * -inf at the kept ids. scratch: [2 k]. */
lap_row_loss lap_loss_row(const lap_row_labels *labels, real *z, int64_t vocab, bool gradient,
                          real *scratch);

#endif
