/* study: the output folder of `ablate`, read: its plan, its runs, their losses by document. It may
 * be read while the suite runs.
 */
#ifndef LAP_TRAINER_REPORT_STUDY_H
#define LAP_TRAINER_REPORT_STUDY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/hash.h"
#include "core/status.h"
#include "trainer/report/losses.h"

typedef struct {
  char *directory;
  char *plan_name;                  /* plan.json, or plan.amended.json */
  json_t *plan;                     /* the newest */
  char plan_sha256[LAP_SHA256_HEX]; /* of plan.json, which the runs began with */
  bool plan_is_kept;                /* plan.sha256 says the same */
  json_t *amendments;               /* an array */
  size_t arm_count, seed_count, set_count;
  json_t **run;            /* [arms, seeds]: lap_run_facts_read with seed and directory; NULL: not
                          planned for this arm */
  lap_run_losses **losses; /* [sets, arms, seeds]; NULL: not there */
  double **file;  /* [sets] [documents]: the file each is of, where documents are clustered so;
                          NULL: they are not, or a shard is a file */
  json_t *shared; /* [{kind, directory, hours_cpu, key_sha256}] of what is done */
} lap_study;

/* LAP_DATA naming file and key where the plan or a file of a run is not valid. */
lap_code lap_study_open(const char *directory, lap_study **study, lap_status *status);
/* The same suite by another plan, which is taken over. */
lap_code lap_study_open_plan(const lap_study *of, json_t *plan, lap_study **study,
                             lap_status *status);
void lap_study_close(lap_study *study);

const json_t *lap_study_arm(const lap_study *study, size_t arm);
const char *lap_study_arm_name(const lap_study *study, size_t arm);
/* Of an arm that evaluates the runs of another with this window; NULL: it is of its own runs. */
const json_t *lap_study_sliding_window(const lap_study *study, size_t arm);
const char *lap_study_set_name(const lap_study *study, size_t set);
/* The place of an arm by its name; LAP_DATA naming it where the plan has none. */
lap_code lap_study_find_arm(const lap_study *study, const char *name, size_t *arm,
                            lap_status *status);
json_t *lap_study_run(const lap_study *study, size_t arm, size_t seed);
const lap_run_losses *lap_study_losses(const lap_study *study, size_t set, size_t arm, size_t seed);

/* "document", "file" or "shard": what the plan says varies alike. */
const char *lap_study_cluster(const lap_study *study, size_t set);
/* "" for token shards, "choices", "memorise", "judge", "attend". */
const char *lap_study_set_kind(const lap_study *study, size_t set);
/* Any run's losses on the set. NULL: nothing has been evaluated there. */
const lap_run_losses *lap_study_any_losses(const lap_study *study, size_t set);

/* All losses that are there, for lap_run_losses_write; *entries is the caller's. */
size_t lap_study_entries(const lap_study *study, lap_run_losses_entry **entries);

#endif
