/* calibration: whether a model is as often right as it says.
 */
#ifndef LAP_TRAINER_MEASURE_CALIBRATION_H
#define LAP_TRAINER_MEASURE_CALIBRATION_H

#include <stdint.h>

enum { LAP_CALIBRATION_BINS = 15 };

/* Expected calibration error of the likeliest token (ECE): positions are sorted by the probability
 * that the model gave it, and cut into `bins` bins of equally many; the mean over positions of
 * |share that was right - mean probability| of their bin, in [0, 1]. Of equal probabilities that
 * are cut apart, each bin has the right ones in proportion: a model that always says 0.3 and is
 * right as often has no error. confidence [count]: the probability, negative where the token was
 * not the next one; it is sorted. NaN where there are none. */
double lap_calibration_error(float *confidence, uint64_t count, int bins);

#endif
