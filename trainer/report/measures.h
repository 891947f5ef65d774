/* measures: what can be said of documents in sums: how each comes from the losses by document.
 */
#ifndef LAP_TRAINER_REPORT_MEASURES_H
#define LAP_TRAINER_REPORT_MEASURES_H

#include <stdbool.h>

#include "trainer/report/study.h"
#include "trainer/statistics/contrast.h"

typedef struct {
  const char *name, *title, *unit;
  lap_loss_column sum, count;
  double scale; /* sum over count, times this */
  bool higher_is_better;
} lap_measure;

/* By name: loss, bits_per_byte, kl, accuracy, agreement. NULL: another one. */
const lap_measure *lap_measure_find(const char *name);
/* "loss, bits_per_byte, ..." for messages. */
const char *lap_measure_names(void);

/* Whether these losses have what the measure is made of. */
bool lap_measure_is_in(const lap_measure *measure, const lap_losses *losses);

/* The sums of `arms` [arm_count] and of `seeds` [seed_count], all of which are there, on one set;
 * documents of one shard added up where `by_shard`. The arrays are the caller's: free both. */
lap_sums lap_measure_sums(const lap_study *study, const lap_measure *measure, size_t set,
                          const size_t *arms, size_t arm_count, const size_t *seeds,
                          size_t seed_count, bool by_shard);
void lap_measure_release(lap_sums *sums);

#endif
