/* detectable: the smallest difference that a plan would find, from a pilot.
 */
#ifndef LAP_TRAINER_STATISTICS_DETECTABLE_H
#define LAP_TRAINER_STATISTICS_DETECTABLE_H

#include <stddef.h>

/* The upper limit, at `confidence`, of a standard deviation that was estimated as `deviation` with
 * `df` degrees of freedom. A pilot of 8 seeds has 7, and its 80 % limit is 1.35 times the
 * estimate. */
double lap_deviation_upper(double deviation, double df, double confidence);

/* What a comparison is planned with. */
typedef struct {
  double seed_deviation;     /* of the paired difference, over seeds */
  size_t seeds;              /* that the suite will run */
  double document_deviation; /* standard error over documents alone; 0: left out */
  double document_df;        /* its degrees of freedom; not used where it is 0 */
  double confidence;         /* 1 - level of the two-sided test, after Bonferroni if wanted */
} lap_design;

/* The probability that the test finds a true difference of `effect`. */
double lap_power(const lap_design *design, double effect);

/* The difference that is found with probability `power` (.8). */
double lap_detectable_effect(const lap_design *design, double power);

#endif
