/* mxcsr: the mode in which x86-64 takes subnormals for zero, for the kernels that emulate bfloat16.
 * Elsewhere nothing does what product.h wants: FLUSHES is 0.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_MXCSR_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_MXCSR_H

#ifdef __x86_64__

#include <immintrin.h>

enum { FLUSHES = 1 };

/* Subnormals are zero, as operands and as results (DAZ, FTZ). Returns the mode before. */
static inline unsigned enter(void) {
  enum { FLUSH = 0x8000, OPERANDS = 0x0040 };
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | FLUSH | OPERANDS);
  return before;
}
static inline void leave(unsigned before) { _mm_setcsr(before); }

#else

enum { FLUSHES = 0 };

static inline unsigned enter(void) { return 0; }
static inline void leave(unsigned before) { (void)before; }

#endif

#endif
