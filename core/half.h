/* half: IEEE half precision unpacked, for caches of other programs.
 *
 * HDF5 converts between half and float in software, bit by bit: reading a cache that way takes
 * seven times as long.
 */
#ifndef LAP_CORE_HALF_H
#define LAP_CORE_HALF_H

#include <stddef.h>
#include <stdint.h>

/* x[i] = half[i], exactly. */
void lap_half_unpack(const uint16_t *half, size_t count, float *x);

#endif
