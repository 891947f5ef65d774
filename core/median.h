/* median: the value that as many lie above as below: what repeated measurements come to. */
#ifndef LAP_CORE_MEDIAN_H
#define LAP_CORE_MEDIAN_H

#include <stddef.h>

/* Sorts values [count > 0] and returns their median: of an even number the mean of the middle two.
 * None of them is NaN. */
double lap_median(double *values, size_t count);

#endif
