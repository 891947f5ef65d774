/* gemm_rate: what this rank's cores reach, the roofs that training is compared with.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMM_RATE_H
#define LAP_AUTOGRAD_KERNEL_GEMM_RATE_H

#include "autograd/kernel/gemm_backend.h"

/* Operands of one [2048, 2048] x [2048, 2048] product. */
typedef struct lap_gemm_yardstick lap_gemm_yardstick;
lap_gemm_yardstick *lap_gemm_yardstick_create(int threads);
void lap_gemm_yardstick_destroy(lap_gemm_yardstick *yardstick);

/* GFLOP/s of the product in the process's precision, once. LAP_GEMM_OPENBLAS: float32; the library
 * must be open; a part of the rows for each thread. */
double lap_gemm_yardstick_rate(lap_gemm_yardstick *yardstick, lap_gemm_backend backend);
/* Multiply-adds in registers, of the process's precision, by the widest unit that a kernel uses,
 * for some milliseconds: how many FLOPs that were. */
double lap_gemm_yardstick_fill(const lap_gemm_yardstick *yardstick);
/* The same in GFLOP/s of elapsed time. */
double lap_gemm_yardstick_peak(const lap_gemm_yardstick *yardstick);

/* GFLOP/s of what computes products in this process, the best within about `seconds` (> 0): of
 * products of 2048^3, or of the largest smaller power of two that can be done in that time. */
double lap_gemm_rate(int threads, double seconds);

#endif
