/* reliability: whether the likeliest token is right as often as it is said to be, with its errors.
 *
 *   ECE = sum over bins b |R_b - C_b| / N     R_b: right ones, C_b: sum of probabilities in bin b
 *
 * Positions are sorted by the probability p of the likeliest token and cut into 15 bins of equally
 * many; of equal ones that are cut apart, each bin has the right ones in proportion, as `eval` does
 * (trainer/measure/calibration.h). `teach` rounds log-probabilities, which makes many equal.
 *
 * Where p is exactly right, R_b - C_b is not 0: its variance is sum p (1 - p), whatever the
 * positions of a text have to do with each other, since each is right or not given all before it.
 * The mean of its size is sqrt(2 / pi) times its standard deviation: these, over N, are the floor.
 * An ECE near its floor says nothing against the teacher.
 *
 * The interval is of documents: with the sign s_b of R_b - C_b and x_d = sum over the positions of
 * document d of s_b (right - p), the ECE is the ratio sum x_d / sum n_d, and its variance
 * D / (D - 1) sum (x_d - ECE n_d)^2 / N^2, with D - 1 degrees of freedom of Student's t. It is
 * linear in the sums of the bins, and so too narrow below where the ECE is near its floor.
 */
#ifndef LAP_TRAINER_AUDIT_RELIABILITY_H
#define LAP_TRAINER_AUDIT_RELIABILITY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  float probability; /* of the likeliest token */
  bool right;        /* it came */
  uint32_t document; /* below `documents` */
} lap_claim;

typedef struct {
  double error, floor;       /* ECE, and what perfect calibration would show */
  double low, high;          /* 95 %; NAN with fewer than 2 documents */
  double right, claimed;     /* means over positions */
  uint64_t count, documents; /* documents with a position */
} lap_reliability;

/* positions [count] are sorted. All NAN and 0 where there are none. */
lap_reliability lap_reliability_of(lap_claim *positions, uint64_t count, uint32_t documents);

/* Full-ECE (arXiv 2406.11345): every probability that a row gives is a prediction, not the largest
 * alone. Predictions go into 15 bins of equal width from 0 to 1; with R_b, C_b as above over all
 * predictions of bin b, and N positions, it is sum |R_b - C_b| / N. Ids that a cache does not keep
 * are not predicted. The floor is that of perfect calibration: a position's predictions in bin b
 * have mass q, of which one comes with probability q, so the variance is sum q (1 - q). */
enum { LAP_FULL_BINS = 15 };
typedef struct {
  uint64_t count; /* positions */
  double right[LAP_FULL_BINS], claimed[LAP_FULL_BINS], variance[LAP_FULL_BINS];
} lap_full_calibration;

/* Adds a position: probabilities [k] of ids [k] (-1: unused), and the token that came. */
void lap_full_calibration_add(lap_full_calibration *full, const float *probability,
                              const int32_t *ids, uint32_t k, int32_t token);
/* NAN where there are none. */
double lap_full_calibration_error(const lap_full_calibration *full);
double lap_full_calibration_floor(const lap_full_calibration *full);

#endif
