/* measures: what can be said of runs on a set: in sums by document, clustered as the plan says, or
 * in one number a run, of which only seeds are known to vary.
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
  const char *key; /* NULL, or where eval/SET.json has its number: then sum and count say nothing */
  size_t bucket;   /* of by_position, where `key` is in there */
  bool by_position;
  const char *heads; /* of attention maps: "local", "global", whose mean `key` is in; else NULL */
} lap_measure;

/* By name: loss, bits_per_byte, kl, ... NULL: another one. */
const lap_measure *lap_measure_find(const char *name);
/* Those by document, which may be an endpoint: "loss, bits_per_byte, ..." for messages. */
const char *lap_measure_names(void);
/* The measures that a set of this kind ("" for tokens, "choices", "memorise", "judge", "attend")
 * has beside those that the plan names: the i-th; NULL: no more. */
const lap_measure *lap_measure_of_kind(const char *kind, size_t i);
/* Whether sets of this kind can have it. */
bool lap_measure_fits(const lap_measure *measure, const char *kind);

/* Whether the run has what the measure is made of; what it is of this run: NAN where it has not. */
bool lap_measure_is_in(const lap_study *study, const lap_measure *measure, size_t set, size_t arm,
                       size_t seed);
double lap_measure_of_run(const lap_study *study, const lap_measure *measure, size_t set,
                          size_t arm, size_t seed);

/* How many clusters the documents of a set fall into; 0 where nothing is evaluated there. */
size_t lap_study_clusters(const lap_study *study, size_t set);
/* Those of them of which the measure counts anything: of late_loss, documents that are long enough.
 * 0 where nothing is evaluated yet, and of a number a run. */
size_t lap_study_counted(const lap_study *study, const lap_measure *measure, size_t set);

/* The sums of `arms` [arm_count] and of `seeds` [seed_count], all of which are there, on one set;
 * documents of one cluster added up; a number a run is one document. The arrays are the caller's:
 * free both. */
lap_sums lap_measure_sums(const lap_study *study, const lap_measure *measure, size_t set,
                          const size_t *arms, size_t arm_count, const size_t *seeds,
                          size_t seed_count);
void lap_measure_release(lap_sums *sums);

#endif
