/* run_facts: what one run directory says of itself, while it runs and after.
 */
#ifndef LAP_TRAINER_REPORT_RUN_FACTS_H
#define LAP_TRAINER_REPORT_RUN_FACTS_H

#include <jansson.h>

#include "core/status.h"

/* An object with (null, or no such key, where not known)
 *   status         "done", "diverged", "running" (it has steps, and no train.json), "missing"
 *   steps, tokens  so far
 *   flops_per_token, flops   of training, all ranks together, as `plan` counts them
 *   hours          of training, on the clock
 *   hours_cpu      of cores, where the suite measured them; else hours x ranks x threads
 *   train_loss     the mean of -log p over the last 50 steps
 *   eval_loss      of the last evaluation during training
 *   state_sha256, numbers_sha256, git_commit, versions, hosts, ranks, threads, started, inputs
 *   config         {dotted key: text}, of config.resolved.yaml
 *   curve          [[tokens, ce, kl], ...] of each step; evals [[tokens, loss, kl], ...]
 * LAP_DATA naming a file that is damaged. */
lap_code lap_run_facts_read(const char *directory, json_t **facts, lap_status *status);

/* At most `most` rows of a curve: means over runs of rows of equal length. A new reference. */
json_t *lap_curve_thin(const json_t *curve, size_t most);

/* {key: [text in a, text in b]} of keys that differ, without those that only name files, seeds and
 * places. A new reference. */
json_t *lap_config_difference(const json_t *a, const json_t *b);

#endif
