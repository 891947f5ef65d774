/* comparisons: what a study says on its sets: estimates of arms, differences, verdicts.
 */
#ifndef LAP_TRAINER_REPORT_COMPARISONS_H
#define LAP_TRAINER_REPORT_COMPARISONS_H

#include <jansson.h>

#include "core/status.h"
#include "trainer/report/measures.h"

/* The arms of a set that all planned seeds have finished: which, and the sums of one measure. */
typedef struct {
  size_t *arm;   /* [count] */
  size_t *seeds; /* [study->seed_count] 0, 1, ... */
  size_t count;
  lap_sums sums; /* arms 0 where count is 0 */
} lap_whole_arms;

/* Of all arms, or with `planned` of those that are not exploratory. Release with
 * lap_whole_arms_release. */
lap_whole_arms lap_whole_arms_find(const lap_study *study, const lap_measure *measure, size_t set,
                                   bool planned);
void lap_whole_arms_release(lap_whole_arms *whole);

/* "" where every planned run of the arm is done and evaluated on the set, else why not: "seed 3 is
 * missing". malloc'ed. */
char *lap_arm_problem(const lap_study *study, const lap_measure *measure, size_t set, size_t arm);

/* [{name, documents, tokens, primary, measures: [...]}] for the report. LAP_DATA where the plan
 * compares arms, or ends in a set or measure, that are not there. */
lap_code lap_study_sets(const lap_study *study, json_t **sets, lap_status *status);

/* [low, high], null where there is none. */
json_t *lap_interval_json(lap_interval interval);

#endif
