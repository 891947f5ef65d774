/* gemm_rate: what this rank's cores reach, the roofs that training is compared with.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMM_RATE_H
#define LAP_AUTOGRAD_KERNEL_GEMM_RATE_H

#include "autograd/kernel/gemm_backend.h"

/* Operands of one [2048, 2048] x [2048, 2048] product. */
typedef struct lap_gemm_yardstick lap_gemm_yardstick;
lap_gemm_yardstick *lap_gemm_yardstick_create(int threads);
void lap_gemm_yardstick_destroy(lap_gemm_yardstick *yardstick);

/* GFLOP/s of the product, once. LAP_GEMM_OPENBLAS: the library must be open; a part of the rows for
 * each thread. */
double lap_gemm_yardstick_rate(lap_gemm_yardstick *yardstick, lap_gemm_backend backend);
/* GFLOP/s of fused multiply-adds in registers by the widest unit that a kernel uses, for some
 * milliseconds. */
double lap_gemm_yardstick_peak(lap_gemm_yardstick *yardstick);

/* GFLOP/s of what computes products in this process, the best within about `seconds`; of products
 * of 256 where one of 2048 would take fifty times as long. */
double lap_gemm_rate(int threads, double seconds);

#endif
