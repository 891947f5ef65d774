/* half: floats of 16 bits unpacked: IEEE half precision and bfloat16. float holds every value of
 * both exactly; NaN stays NaN.
 *
 * HDF5 converts between half and float in software, bit by bit: reading a cache that way takes
 * seven times as long.
 */
#ifndef LAP_CORE_HALF_H
#define LAP_CORE_HALF_H

#include <stdint.h>

/* x[i] = packed[i]. */
void lap_float16_unpack(const uint16_t *packed, int64_t count, float *x);
void lap_bfloat16_unpack(const uint16_t *packed, int64_t count, float *x);

#endif
