/* mean: the mean of several distributions over the vocabulary, row by row.
 *
 * For a cache of several teachers: probabilities are averaged, not logits. The same bits on every
 * machine; the order of the teachers is an order of addition.
 */
#ifndef LAP_TEACHER_MEAN_H
#define LAP_TEACHER_MEAN_H

#include <stdint.h>

/* mean[i] += share x softmax(logits)[i], both [vocab]. NaN logits make NaN; no temporary memory. */
void lap_mean_add(const float *logits, uint32_t vocab, float share, float *mean);

/* Each element becomes its natural log, -inf for 0: what softmax makes the mean of again. */
void lap_mean_to_logits(float *mean, uint32_t vocab);

#endif
