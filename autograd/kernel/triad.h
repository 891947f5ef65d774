/* triad: the bandwidth of memory, a[i] = b[i] + s c[i] over vectors that no cache holds: a roof
 * like those of gemm_rate.h.
 *
 * Counted are the 12 bytes of an element that the loop names; a processor that reads a line before
 * it writes it moves 16. So what writes past the caches, or reads most of what it moves, may come
 * out a little above this rate.
 */
#ifndef LAP_AUTOGRAD_KERNEL_TRIAD_H
#define LAP_AUTOGRAD_KERNEL_TRIAD_H

#include <stdint.h>

/* Three vectors of 64 MiB. */
typedef struct lap_triad lap_triad;
lap_triad *lap_triad_create(int threads);
void lap_triad_destroy(lap_triad *triad);

/* Runs the loop once, a part of the vectors for each thread. The bytes that it moved. */
double lap_triad_run(lap_triad *triad);
/* Of one run, in GB/s (1e9 bytes). */
double lap_triad_rate(lap_triad *triad);

#endif
