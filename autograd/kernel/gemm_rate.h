/* gemm_rate: what this rank's cores reach in sgemm, the roof that training is compared with. */
#ifndef LAP_AUTOGRAD_KERNEL_GEMM_RATE_H
#define LAP_AUTOGRAD_KERNEL_GEMM_RATE_H

/* GFLOP/s of one [2048, 2048] x [2048, 2048] product cut over `threads`, best of a few within about
 * `seconds`. BLAS must be open. */
double lap_gemm_rate(int threads, double seconds);

#endif
