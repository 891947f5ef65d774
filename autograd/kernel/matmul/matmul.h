/* matmul: matrix products as product.h defines them, by the kernel of this process.
 *
 * Every kernel computes both definitions: `plain` is the definition itself, in a few lines; `avx2`,
 * `avx512` and `neon` are one source (simd.h) over the vectors of their instruction set; for
 * bfloat16 `amx` has tile units, and `avx512_bf16` an instruction for pairs of terms (pairs.h has
 * the strips of both). Which one runs is chosen once a process, and no part of the numbers. To
 * add one: write its file beside these, with a lap_matmul_kernel, and list it in kernels.c;
 * tests/autograd/test_matmul.c compares it with `plain`.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_MATMUL_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_MATMUL_H

#include "autograd/kernel/matmul/product.h"

/* Computes it with the kernel of the process (kernels.h) and the OpenMP threads of the caller. k =
 * 0 gives +0 or the old value. Operands do not overlap C. Allocates nothing; packs on the stacks of
 * the threads, 1.3 MiB of each. */
void lap_matmul_run(const lap_matmul *product);
/* The same on the calling thread alone: for tiles that callers make themselves. */
void lap_matmul_run_here(const lap_matmul *product);

/* For a B that many products share: laid out once instead of by each. lap_matmul_pack_b reads b or
 * b_bfloat16, ldb, transpose_b, n, k and the precision of `product`; `packed` is aligned to 64
 * bytes and has room for lap_matmul_packed_floats; the OpenMP threads of the caller share the work.
 * Products that take it give the bits of those that do not, as long as what they leave out of the
 * first group and add to the last is finite. */
int64_t lap_matmul_packed_floats(lap_matmul_precision precision, int64_t n, int64_t k);
int64_t lap_matmul_packed_width(lap_matmul_precision precision);
void lap_matmul_pack_b(const lap_matmul *product, float *packed);

#endif
