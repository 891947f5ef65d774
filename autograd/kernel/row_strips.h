/* row_strips: a weight matrix [n, k] whose rows lie beside each other, for decoding.
 *
 * A row is one chain of multiply-adds (matmul/product.h), so many rows are summed at once. Row by
 * row, memory is then read at many places at once, and squares of weights have to be transposed.
 * Laid out in strips of LAP_STRIP_ROWS rows, term t of all rows of a strip lies together, and the
 * terms follow each other: memory is read from one end to the other, as fast as it can be. Of
 * weights in bfloat16 pairs of terms, 2 t and 2 t + 1 of each row, lie so.
 *
 * The layout takes the memory that the matrix has. Rows after the last whole strip stay as they
 * were, and so does a matrix in bfloat16 with an odd number of terms. The bits are those of
 * lap_gemm.
 */
#ifndef LAP_AUTOGRAD_KERNEL_ROW_STRIPS_H
#define LAP_AUTOGRAD_KERNEL_ROW_STRIPS_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/kernel/real.h"

#define lap_row_strips_usable LAP_PRECISION(lap_row_strips_usable)
#define lap_row_strips_make LAP_PRECISION(lap_row_strips_make)
#define lap_row_strips_multiply LAP_PRECISION(lap_row_strips_multiply)
#define lap_row_strips_read LAP_PRECISION(lap_row_strips_read)
#define lap_row_strips_by_terms LAP_PRECISION(lap_row_strips_by_terms)

enum { LAP_STRIP_ROWS = 32 };

/* A matrix in one of its forms; the other is NULL. */
typedef struct {
  int64_t n, k;
  real *values;
  uint16_t *bfloat16;
} lap_row_strips;

/* Whether products of this process may read weights so: floats by our own kernels, in bfloat16
 * where they are `held` in it and the processor flushes subnormals as product.h does. */
bool lap_row_strips_usable(bool held);

/* Lays out w, whose rows follow each other, in place. OpenMP-parallel. */
void lap_row_strips_make(const lap_row_strips *w);

/* y [m, n] = x [m, k] w^T, in the process's precision; in bfloat16 x is rounded (lap_gemm_round).
 * OpenMP-parallel. For a few rows of x: each few of them read the weights again. */
void lap_row_strips_multiply(const lap_row_strips *w, int64_t m, const real *x, real *y);

/* Rows [row, row + count) as they were, [count, k], to `values` or `bfloat16`, in the form that w
 * has. */
void lap_row_strips_read(const lap_row_strips *w, int64_t row, int64_t count, real *values,
                         uint16_t *bfloat16);
/* Terms [first, first + terms) of such rows, by terms: [terms, count], for products with many rows
 * of x. `row` is a multiple of LAP_STRIP_ROWS, `first` an even number. OpenMP-parallel. */
void lap_row_strips_by_terms(const lap_row_strips *w, int64_t row, int64_t count, int64_t first,
                             int64_t terms, real *values, uint16_t *bfloat16);

#endif
