/* decode_linear: the products of a decoder with its weights, which lie row by row, or in strips
 * (kernel/row_strips.h).
 *   x [R, I]     w [O, I] weight     y = x w^T [R, O]
 */
#ifndef LAP_AUTOGRAD_GEMMA2_DECODE_LINEAR_H
#define LAP_AUTOGRAD_GEMMA2_DECODE_LINEAR_H

#include <stdint.h>

#include "autograd/op/op.h"

#define lap_rows_linear LAP_PRECISION(lap_rows_linear)
#define lap_strips_lay_out LAP_PRECISION(lap_strips_lay_out)
#define lap_strips_part LAP_PRECISION(lap_strips_part)
#define lap_strips_linear LAP_PRECISION(lap_strips_linear)
#define lap_strips_rows LAP_PRECISION(lap_strips_rows)

/* y of x; w lies row by row. */
void lap_rows_linear(const lap_operand *w, int64_t rows, const real *x, real *y);

/* Lays w out in strips, in its memory. The functions below are for such a w. */
void lap_strips_lay_out(const lap_operand *w);

/* Reals of scratch memory, `part`, for products and for rows of so many reals. */
int64_t lap_strips_part(int64_t reals_of_rows);

/* y of x. In bfloat16 x is rounded as the product rounds it. */
void lap_strips_linear(const lap_operand *w, int64_t rows, real *x, real *y, real *part);

/* Rows `index` [count] of w, one after the other, in `part`. */
lap_operand lap_strips_rows(const lap_operand *w, const int32_t *index, int64_t count, real *part);

#endif
