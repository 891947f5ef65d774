/* multiply: one product by a given unit of a kernel, on the calling thread.
 *
 * Panels of columns of C, in each the blocks of terms in order: packs the panel's part of B, then
 * chunk after chunk of rows of A, each for all of its tiles. In float32 a block is one of the
 * definition's; in bfloat16 it is what caches hold, and groups are counted within it.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_MULTIPLY_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_MULTIPLY_H

#include "autograd/kernel/matmul/product.h"

/* As lap_matmul_run_here, by this unit. */
void lap_matmul_multiply(const lap_matmul *product, const lap_matmul_unit *unit);
/* As lap_matmul_packed_floats and lap_matmul_pack_b, for this unit; of B's columns only [begin,
 * end), of which begin is a multiple of the unit's width. */
int64_t lap_matmul_packed_floats_of(const lap_matmul_unit *unit, int64_t n, int64_t k);
void lap_matmul_pack_b_for(const lap_matmul *product, const lap_matmul_unit *unit, int64_t begin,
                           int64_t end, float *packed);

#endif
