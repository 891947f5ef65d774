/* break_even: how many times the tokens another arm needs to do as well.
 *
 * The arm to be matched is arm 0 of the sums; the others are one method at several multiples of its
 * tokens, each trained on its own schedule. Their estimates are taken to be linear in the logarithm
 * of the multiple. The interval is Fieller's: the multiples at which the interval of the difference
 * between arm 0 and the line covers 0.
 */
#ifndef LAP_TRAINER_STATISTICS_BREAK_EVEN_H
#define LAP_TRAINER_STATISTICS_BREAK_EVEN_H

#include <stdbool.h>

#include "trainer/statistics/contrast.h"

typedef struct {
  double multiple;   /* where the line meets arm 0, within the range or not; NAN: the line does not
                      fall, so that more tokens do not help */
  double low, high;  /* of the interval, within the range; NAN: none in the range */
  bool below, above; /* the interval goes beyond the smallest, the largest multiple */
  double smallest, largest; /* the range: the multiples that were trained */
  double slope, intercept;  /* of the line over the natural logarithm of the multiple */
  double lack_of_fit;       /* root mean square of the estimates about the line */
} lap_break_even;

/* Lower is better: where higher is, give it the negative sums. `multiples` [arms], > 0, of which
 * the first is not used; two different ones at least. Seeds: 2 or more. `pooled`: as of
 * lap_contrast_make. */
void lap_break_even_make(const lap_sums *sums, const double *multiples, bool pooled,
                         double confidence, lap_break_even *result);

/* The weights [arms] of arm 0 minus the line at `multiple`, for lap_contrast_make. */
void lap_break_even_weights(const double *multiples, size_t arms, double multiple, double *weights);

#endif
