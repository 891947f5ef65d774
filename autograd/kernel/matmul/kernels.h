/* kernels: the kernels of matrix products that this build has, and the one that this process uses.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_KERNELS_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_KERNELS_H

#include "autograd/kernel/matmul/kernel.h"
#include "core/status.h"

/* All kernels of this build, the fastest first; NULL ends them. */
const lap_matmul_kernel *const *lap_matmul_kernels(void);

/* Whether it gives the bits of `plain` on a few tiles; takes milliseconds. */
bool lap_matmul_kernel_agrees(const lap_matmul_kernel *kernel);

/* Chooses the kernel of this process: the first that runs here and agrees with `plain`; one that
 * does not agree is left out, with a line on stderr. The environment LAPIDARY_KERNEL=NAME (for
 * tests and doubts) leaves one to choose: LAP_USAGE where this build or processor has none of that
 * name, or it does not agree. */
lap_code lap_matmul_kernel_open(lap_status *status);

/* The kernel of this process. Opens where nothing did; then what is wrong with LAPIDARY_KERNEL does
 * not count. */
const lap_matmul_kernel *lap_matmul_kernel_here(void);

/* As lap_matmul_kernel_open with LAPIDARY_KERNEL=name: for tests, several times a process. */
lap_code lap_matmul_kernel_use(const char *name, lap_status *status);

#endif
