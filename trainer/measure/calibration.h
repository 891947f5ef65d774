/* calibration: whether a model is as often right as it says.
 */
#ifndef LAP_TRAINER_MEASURE_CALIBRATION_H
#define LAP_TRAINER_MEASURE_CALIBRATION_H

#include <stdint.h>

enum { LAP_CALIBRATION_BINS = 15 };

/* Expected calibration error of the likeliest token (ECE): positions are sorted by the probability
 * that the model gave it, of equal ones the right ones first, and cut into `bins` bins of equally
 * many; the mean over positions of |share that was right - mean probability| of their bin, in
 * [0, 1]. confidence [count]: the probability, negative where the token was not the next one; it is
 * sorted. NaN where there are none. */
double lap_calibration_error(float *confidence, uint64_t count, int bins);

#endif
