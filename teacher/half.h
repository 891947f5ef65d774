/* half: IEEE half precision, packed and unpacked.
 *
 * HDF5 converts between half and float in software, bit by bit: reading a cache that way takes
 * seven times as long. These are exact (unpack) and round to nearest, ties to even (pack),
 * everywhere the same.
 */
#ifndef LAP_TEACHER_HALF_H
#define LAP_TEACHER_HALF_H

#include <stddef.h>
#include <stdint.h>

/* half[i] = x[i]; beyond 65504 it becomes infinite, NaN stays NaN. */
void lap_half_pack(const float *x, size_t count, uint16_t *half);
void lap_half_unpack(const uint16_t *half, size_t count, float *x);

#endif
