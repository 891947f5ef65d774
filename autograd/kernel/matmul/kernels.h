/* kernels: the kernels of matrix products that this build has, and the one that this process uses.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_KERNELS_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_KERNELS_H

#include "autograd/kernel/matmul/kernel.h"
#include "core/status.h"

/* All kernels of this build, the fastest first; NULL ends them. */
const lap_matmul_kernel *const *lap_matmul_kernels(void);

/* The kernel of this process: the first that runs here, is allowed by LAPIDARY_KERNEL=NAME (the
 * environment: for tests and doubts) and agrees with `plain` on a few tiles. Chosen at the first
 * call; one that disagrees is left out, with a line on stderr. */
const lap_matmul_kernel *lap_matmul_kernel_here(void);

/* Limits it to one kernel: for tests. LAP_USAGE where this build or processor has none of that
 * name. */
lap_code lap_matmul_kernel_use(const char *name, lap_status *status);

#endif
