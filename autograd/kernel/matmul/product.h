/* product: a matrix product, by one definition, whatever the processor.
 *
 * C [m, n] (+)= op(A) [m, k] op(B) [k, n], row-major, of float32. In float32 each element of C is
 *
 *     c = c0
 *     for each block of 256 terms, in order:
 *       s = 0;  for each of its terms, in order: s = fma(a, b, s)
 *       c = c + s
 *
 * where c0 is +0 or the old value. Blocks lie at absolute multiples of 256 of the summation index;
 * where the index counts positions of several sequences, each sequence begins a new block
 * (`segment`). Nothing else decides a bit: not the shape of a call, a tile, the number of threads,
 * nor the instruction set. NaN equals NaN. 256 terms: relative error at 262,144 normal terms is
 * 6.5e-7 (OpenBLAS 5.7e-7, one chain 93e-7), and reading C again costs nothing visible.
 *
 * In bfloat16 the operands are rounded to nearest even, and each element of C is
 *
 *     c = c0
 *     for each group of 32 terms, in order:
 *       e = 0;  for each even term, in order: e = fma(a, b, e)
 *       o = 0;  for each odd term, in order:  o = fma(a, b, o)
 *       c = c + (e + o)
 *
 * in float32, which is what tile units compute (Intel's TDPBF16PS). Groups lie at multiples of 32
 * as blocks do at those of 256; missing terms are zero. Subnormals are zero everywhere: operands
 * before they are rounded, C, and each result that would be one with no bound on its exponent.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_PRODUCT_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/kernel/matmul/kernel.h"

typedef struct {
  int64_t m, n, k;
  const float *a, *b; /* as stored: A is [m, k], or [k, m] where transposed; B [k, n] or [n, k] */
  /* An operand that is held in bfloat16, `a` or `b` then NULL: the same result as of these values
   * in float32, in either precision. */
  const uint16_t *a_bfloat16, *b_bfloat16;
  /* B, or a part of it, as lap_matmul_pack_b has laid it out; `b` then NULL, `segment` 0. Its term
   * t is the one with summation index t (so `first` says which part), and its first column here is
   * packed_column, a multiple of lap_matmul_packed_width. */
  const float *b_packed;
  int64_t packed_terms, packed_columns, packed_column; /* of all that was laid out; which part */
  float *c;
  int64_t lda, ldb, ldc; /* elements from row to row, as stored */
  bool transpose_a, transpose_b;
  lap_matmul_precision precision;
  lap_matmul_into into; /* LAP_MATMUL_CHAIN: in float32 only */
  int64_t segment;      /* the summation index begins anew at its multiples; 0: never */
  int64_t first;        /* the summation index of the first term: where blocks begin */
} lap_matmul;

/* Whether rows this far apart lie in enough different places of a cache that a tile keeps all of
 * its rows: not at multiples of 2 KB. Products with few columns read such an A where it lies, and
 * pack the others. */
enum { LAP_MATMUL_LINE = 16, LAP_MATMUL_CLASH = 32 }; /* floats of a cache line; lines */
static inline bool lap_matmul_spreads(int64_t lda) {
  return lda / LAP_MATMUL_LINE % LAP_MATMUL_CLASH != 0;
}
/* The least such distance for rows of `columns`, in whole lines. */
static inline int64_t lap_matmul_spread(int64_t columns) {
  const int64_t lines = (columns + LAP_MATMUL_LINE - 1) / LAP_MATMUL_LINE;
  return (lines + (lines % LAP_MATMUL_CLASH == 0)) * LAP_MATMUL_LINE;
}

#endif
