/* stacks: threads get the stack that products take.
 *
 * A product packs its operands on the stack of the thread that computes it: 1.3 MiB
 * (autograd/kernel/matmul/matmul.h). Linux gives 8 MiB. Where a shell, a container or a queue gives
 * less (ulimit -s), or OMP_STACKSIZE does, as modules of some clusters do, the thread would die of
 * SIGSEGV without a word. libgomp reads both when it is loaded, before main, so a change holds for
 * the process that this one executes (share_cores.h).
 */
#ifndef LAP_TRAINER_CLI_STACKS_H
#define LAP_TRAINER_CLI_STACKS_H

#include <stdbool.h>

/* Makes the limit of the stack and OMP_STACKSIZE 8 MiB where they are below LAP_GEMM_STACK
 * (autograd/kernel/gemm_backend.h), as far as the hard limit lets it. Returns whether it changed
 * anything. A limit that cannot be raised is refused by lap_gemm_open. */
bool lap_stacks_enlarge(void);

#endif
