#include "autograd/gemma2/decode_linear.h"

#include <stddef.h>

#include "autograd/kernel/gemm.h"
#include "autograd/kernel/gemv.h"
#include "autograd/kernel/row_strips.h"
#include "autograd/op/projection.h"

enum {
  FEW = 16,         /* most rows of x that read strips */
  PART_ROWS = 512,  /* and terms of them, of weights that more of them meet at a time: */
  PART_TERMS = 1024 /* a multiple of LAP_MATMUL_BLOCK */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void lap_rows_linear(const lap_operand *w, int64_t rows, const real *x, real *y) {
  const lap_projection p = {.rows = rows, .in = w->columns, .out = w->rows};
  if (rows == 1)
    lap_gemv(p.out, p.in, w->value, w->bfloat16, x, y);
  else
    lap_projection_forward(&p, x, w, y);
}

static lap_row_strips strips_of(const lap_operand *w) {
  return (lap_row_strips){w->rows, w->columns, w->value, (uint16_t *)w->bfloat16};
}

void lap_strips_lay_out(const lap_operand *w) {
  const lap_row_strips strips = strips_of(w);
  lap_row_strips_make(&strips);
}

int64_t lap_strips_part(int64_t reals_of_rows) {
  enum { MOST = PART_ROWS * PART_TERMS };
  return reals_of_rows > MOST ? reals_of_rows : MOST;
}

/* Many rows meet the weights as operands of products, a part after the other: whole blocks of
 * terms, so that they may be added one by one. */
static void multiply_by_parts(const lap_row_strips *w, int64_t rows, const real *x, real *y,
                              real *part) {
  real *values = w->values ? part : NULL;
  uint16_t *held = w->values ? NULL : (uint16_t *)part;
  for (int64_t row = 0; row < w->n; row += PART_ROWS)
    for (int64_t first = 0; first < w->k; first += PART_TERMS) {
      const int64_t count = smaller(PART_ROWS, w->n - row);
      const int64_t terms = smaller(PART_TERMS, w->k - first);
      lap_row_strips_by_terms(w, row, count, first, terms, values, held);
      lap_gemm(&(lap_gemm_operands){.m = rows,
                                    .n = count,
                                    .k = terms,
                                    .a = x + first,
                                    .lda = w->k,
                                    .b = values,
                                    .b_bfloat16 = held,
                                    .ldb = count,
                                    .c = y + row,
                                    .ldc = w->n,
                                    .into = lap_gemm_into(first > 0)});
    }
}

void lap_strips_linear(const lap_operand *w, int64_t rows, real *x, real *y, real *part) {
  const lap_row_strips strips = strips_of(w);
  if (rows > FEW) {
    multiply_by_parts(&strips, rows, x, y, part);
    return;
  }
  if (lap_gemm_holds()) lap_gemm_round(x, rows * strips.k);
  lap_row_strips_multiply(&strips, rows, x, y);
}

lap_operand lap_strips_rows(const lap_operand *w, const int32_t *index, int64_t count, real *part) {
  const lap_row_strips strips = strips_of(w);
  uint16_t *held = (uint16_t *)part;
  for (int64_t i = 0; i < count; ++i)
    lap_row_strips_read(&strips, index[i], 1, w->value ? part + i * w->columns : NULL,
                        w->value ? NULL : held + i * w->columns);
  return (lap_operand){.rows = count,
                       .columns = w->columns,
                       .value = w->value ? part : NULL,
                       .bfloat16 = w->value ? NULL : held};
}
