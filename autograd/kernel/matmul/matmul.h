/* matmul: matrix products by one definition, whatever the processor.
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
 *
 * Every kernel computes both definitions: `plain` is the definition itself, in a few lines; `avx2`,
 * `avx512` and `neon` are one source (simd.h) over the vectors of their instruction set; `amx` has
 * tile units for bfloat16. Which one runs is chosen once a process, and no part of the numbers. To
 * add one: write its file beside these, with a lap_matmul_kernel, and list it in kernels.c;
 * tests/autograd/test_matmul.c compares it with `plain`.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_MATMUL_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_MATMUL_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/kernel/matmul/kernel.h"

typedef struct {
  int64_t m, n, k;
  const float *a, *b; /* as stored: A is [m, k], or [k, m] where transposed; B [k, n] or [n, k] */
  float *c;
  int64_t lda, ldb, ldc; /* elements from row to row, as stored */
  bool transpose_a, transpose_b;
  lap_matmul_precision precision;
  lap_matmul_into into; /* LAP_MATMUL_CHAIN: in float32 only */
  int64_t segment;      /* the summation index begins anew at its multiples; 0: never */
  int64_t first;        /* the summation index of the first term: where blocks begin */
} lap_matmul;

/* Computes it with the kernel of the process (kernels.h) and the OpenMP threads of the caller. k =
 * 0 gives +0 or the old value. Operands do not overlap C. Allocates nothing; packs on the stacks of
 * the threads. */
void lap_matmul_run(const lap_matmul *product);
/* The same on the calling thread alone: for tiles that callers make themselves. */
void lap_matmul_run_here(const lap_matmul *product);

#endif
