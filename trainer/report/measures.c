#include "trainer/report/measures.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/report/json_file.h"

static const lap_measure measures[] = {
    {"loss", "loss", "nats/token", LAP_LOSS_NATS, LAP_LOSS_TOKENS, 1, false, .key = NULL},
    {"late_loss", "loss in contexts longer than half a window", "nats/token", LAP_LOSS_LATE_NATS,
     LAP_LOSS_LATE_TOKENS, 1, false, .key = NULL},
    {"bits_per_byte", "bits per byte", "bits/byte", LAP_LOSS_TEXT_NATS, LAP_LOSS_BYTES,
     1.4426950408889634, false, .key = NULL},
    {"kl", "KL to the teacher", "nats/token", LAP_LOSS_KL, LAP_LOSS_TOKENS, 1, false, .key = NULL},
    {"accuracy", "accuracy", "share", LAP_LOSS_CORRECT, LAP_LOSS_TOKENS, 1, true, .key = NULL},
    {"agreement", "agreement with the teacher", "share", LAP_LOSS_AGREED, LAP_LOSS_TOKENS, 1, true,
     .key = NULL},
    {"acceptance", "acceptance as a draft of the teacher", "share", LAP_LOSS_ACCEPTED,
     LAP_LOSS_TOKENS, 1, true, .key = NULL},
    {"accuracy_per_byte", "accuracy by likelihood per byte", "share", LAP_LOSS_CORRECT_PER_BYTE,
     LAP_LOSS_TOKENS, 1, true, .key = NULL},
    {"exposure", "exposure of canaries", "bits", LAP_LOSS_EXPOSURE, LAP_LOSS_TOKENS, 1, false,
     .key = NULL},
    {"judge_loss", "loss of the judge on what runs say", "nats/token", LAP_LOSS_NATS,
     LAP_LOSS_TOKENS, 1, false, .key = NULL},
    {"judge_preference", "the judge prefers what runs say to the text itself", "share",
     LAP_LOSS_CORRECT, LAP_LOSS_TOKENS, 1, true, .key = NULL},
    {.name = "perplexity", .title = "perplexity", .unit = "", .key = "perplexity"},
    {.name = "ece", .title = "calibration error (ECE)", .unit = "share", .key = "ece"},
    {.name = "exposure_slope",
     .title = "exposure by doubling of how often it was seen",
     .unit = "bits",
     .key = "exposure_slope"},
    {.name = "exact", .title = "training text said by heart", .unit = "share", .key = "exact"},
    {.name = "near",
     .title = "training text within a tenth of edits",
     .unit = "share",
     .key = "near"},
    {.name = "control_exact",
     .title = "held-out text said the same way, the control",
     .unit = "share",
     .key = "control_exact"},
    {.name = "control_near",
     .title = "held-out text within a tenth of edits, the control",
     .unit = "share",
     .key = "control_near"},
    {.name = "local_entropy",
     .title = "local heads: entropy",
     .unit = "nats",
     .key = "entropy",
     .heads = "local"},
    {.name = "local_distance",
     .title = "local heads: distance to what is seen",
     .unit = "tokens",
     .key = "distance",
     .heads = "local"},
    {.name = "local_bos",
     .title = "local heads: share on BOS",
     .unit = "share",
     .key = "bos",
     .heads = "local"},
    {.name = "local_name",
     .title = "local heads: share on the antecedent of a name",
     .unit = "share",
     .key = "name",
     .heads = "local"},
    {.name = "local_control",
     .title = "local heads: share as far from other words, the control",
     .unit = "share",
     .key = "control",
     .heads = "local"},
    {.name = "global_entropy",
     .title = "global heads: entropy",
     .unit = "nats",
     .key = "entropy",
     .heads = "global"},
    {.name = "global_distance",
     .title = "global heads: distance to what is seen",
     .unit = "tokens",
     .key = "distance",
     .heads = "global"},
    {.name = "global_bos",
     .title = "global heads: share on BOS",
     .unit = "share",
     .key = "bos",
     .heads = "global"},
    {.name = "global_beyond_window",
     .title = "global heads: share beyond the window",
     .unit = "share",
     .key = "beyond_window",
     .heads = "global"},
    {.name = "global_name",
     .title = "global heads: share on the antecedent of a name",
     .unit = "share",
     .key = "name",
     .heads = "global"},
    {.name = "global_control",
     .title = "global heads: share as far from other words, the control",
     .unit = "share",
     .key = "control",
     .heads = "global"},
};
static const char *const of_tokens[] = {"loss",     "late_loss", "bits_per_byte", "kl",
                                        "accuracy", "agreement", "acceptance",    "perplexity",
                                        "ece",      NULL};
static const char *const of_choices[] = {"accuracy", "accuracy_per_byte", "exposure",
                                         "exposure_slope", NULL};
static const char *const of_judge[] = {"judge_loss", "judge_preference", NULL};
static const char *const of_memorise[] = {"exact", "near", "control_exact", "control_near", NULL};
static const char *const of_attend[] = {"local_entropy",   "local_distance", "local_bos",
                                        "local_name",      "local_control",  "global_entropy",
                                        "global_distance", "global_bos",     "global_beyond_window",
                                        "global_name",     "global_control", NULL};

const lap_measure *lap_measure_find(const char *name) {
  for (size_t i = 0; i < sizeof measures / sizeof *measures; ++i)
    if (strcmp(measures[i].name, name) == 0) return &measures[i];
  return NULL;
}

const char *lap_measure_names(void) {
  return "loss, late_loss, bits_per_byte, kl, accuracy, agreement, acceptance, accuracy_per_byte, "
         "exposure, judge_loss, judge_preference";
}

static const char *const *names_of_kind(const char *kind) {
  static const char *const none[] = {NULL};
  if (strcmp(kind, "choices") == 0) return of_choices;
  if (strcmp(kind, "attend") == 0) return of_attend;
  if (strcmp(kind, "judge") == 0) return of_judge;
  return strcmp(kind, "memorise") == 0 ? of_memorise : none;
}

const lap_measure *lap_measure_of_kind(const char *kind, size_t i) {
  const char *const *names = names_of_kind(kind);
  for (size_t n = 0; names[n]; ++n)
    if (n == i) return lap_measure_find(names[n]);
  return NULL;
}

bool lap_measure_fits(const lap_measure *measure, const char *kind) {
  const bool is_tokens = !*kind || strcmp(kind, "tokens") == 0;
  const char *const *names = is_tokens ? of_tokens : names_of_kind(kind);
  for (; *names; ++names)
    if (strcmp(*names, measure->name) == 0) return true;
  return false;
}

/* --- one run --- */

static bool adds_up_to_something(const double *values, size_t count) {
  for (size_t i = 0; values && i < count; ++i)
    if (values[i] > 0) return true;
  return false;
}

/* Least squares of exposure on log2 of how often an item was seen; those that never were have none.
 */
static double exposure_slope(const json_t *by_seen) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (size_t i = 0; i < json_array_size(by_seen); ++i) {
    const json_t *row = json_array_get(by_seen, i);
    const double seen = lap_json_real(row, "seen"), exposure = lap_json_real(row, "exposure");
    if (!(seen >= 1) || isnan(exposure)) continue;
    n += 1;
    x += log2(seen);
    y += exposure;
    xx += log2(seen) * log2(seen);
    xy += log2(seen) * exposure;
  }
  const double spread = n * xx - x * x;
  return spread > 0 ? (n * xy - x * y) / spread : NAN;
}

static double number_of_run(const lap_study *study, const lap_measure *measure, size_t set,
                            size_t arm, size_t seed) {
  const json_t *evals = json_object_get(lap_study_run(study, arm, seed), "eval");
  const json_t *eval = json_object_get(evals, lap_study_set_name(study, set));
  if (measure->by_position)
    eval = json_array_get(json_object_get(eval, "by_position"), measure->bucket);
  if (measure->heads) eval = json_object_get(json_object_get(eval, "means"), measure->heads);
  if (strcmp(measure->name, "exposure_slope") == 0)
    return exposure_slope(json_object_get(eval, "by_seen"));
  return lap_json_real(eval, measure->key);
}

bool lap_measure_is_in(const lap_study *study, const lap_measure *measure, size_t set, size_t arm,
                       size_t seed) {
  if (measure->key) return isfinite(number_of_run(study, measure, set, arm, seed));
  const lap_run_losses *losses = lap_study_losses(study, set, arm, seed);
  return losses && losses->column[measure->sum] &&
         adds_up_to_something(losses->column[measure->count], losses->documents);
}

double lap_measure_of_run(const lap_study *study, const lap_measure *measure, size_t set,
                          size_t arm, size_t seed) {
  if (!lap_measure_is_in(study, measure, set, arm, seed)) return NAN;
  if (measure->key) return number_of_run(study, measure, set, arm, seed);
  const lap_run_losses *losses = lap_study_losses(study, set, arm, seed);
  double sum = 0, count = 0;
  for (size_t d = 0; d < losses->documents; ++d) {
    sum += losses->column[measure->sum][d];
    count += losses->column[measure->count][d];
  }
  return measure->scale * sum / count;
}

/* --- all of them --- */

/* cluster [documents]: which sum a document belongs to. Returns how many there are. Documents of
 * one file, or shard, follow each other. */
static size_t cluster_documents(const lap_study *study, size_t set, const lap_run_losses *losses,
                                size_t *cluster) {
  const double *of = study->file[set];
  if (!of && strcmp(lap_study_cluster(study, set), "document") != 0)
    of = losses->column[LAP_LOSS_SHARD];
  size_t count = 0;
  for (size_t d = 0; d < losses->documents; ++d) {
    if (d == 0 || !of || of[d] != of[d - 1]) ++count;
    cluster[d] = count - 1;
  }
  return count;
}

size_t lap_study_clusters(const lap_study *study, size_t set) {
  const lap_run_losses *losses = lap_study_any_losses(study, set);
  if (!losses) return 0;
  size_t *cluster = lap_allocate((int64_t)losses->documents, sizeof *cluster);
  const size_t count = cluster_documents(study, set, losses, cluster);
  free(cluster);
  return count;
}

size_t lap_study_counted(const lap_study *study, const lap_measure *measure, size_t set) {
  const lap_run_losses *losses = lap_study_any_losses(study, set);
  if (!losses || measure->key || !losses->column[measure->count]) return 0;
  size_t *cluster = lap_allocate((int64_t)losses->documents, sizeof *cluster), counted = 0;
  const size_t clusters = cluster_documents(study, set, losses, cluster);
  bool *counts = lap_allocate((int64_t)clusters, sizeof *counts);
  for (size_t d = 0; d < losses->documents; ++d)
    counts[cluster[d]] = counts[cluster[d]] || losses->column[measure->count][d] > 0;
  for (size_t i = 0; i < clusters; ++i) counted += counts[i];
  free(counts);
  free(cluster);
  return counted;
}

/* A number a run: one document, all of it. */
static lap_sums sums_of_numbers(const lap_study *study, const lap_measure *measure, size_t set,
                                const size_t *arms, size_t arm_count, const size_t *seeds,
                                size_t seed_count) {
  double *sums = lap_allocate((int64_t)(arm_count * seed_count), sizeof *sums);
  double *counts = lap_allocate(1, sizeof *counts);
  counts[0] = 1;
  for (size_t run = 0; run < arm_count * seed_count; ++run)
    sums[run] = number_of_run(study, measure, set, arms[run / seed_count], seeds[run % seed_count]);
  return (lap_sums){arm_count, seed_count, 1, sums, counts};
}

lap_sums lap_measure_sums(const lap_study *study, const lap_measure *measure, size_t set,
                          const size_t *arms, size_t arm_count, const size_t *seeds,
                          size_t seed_count) {
  if (measure->key) return sums_of_numbers(study, measure, set, arms, arm_count, seeds, seed_count);
  const lap_run_losses *first = lap_study_losses(study, set, arms[0], seeds[0]);
  size_t *cluster = lap_allocate((int64_t)first->documents, sizeof *cluster);
  const size_t clusters = cluster_documents(study, set, first, cluster);
  double *sums = lap_allocate((int64_t)(arm_count * seed_count * clusters), sizeof *sums);
  double *counts = lap_allocate((int64_t)clusters, sizeof *counts);
  for (size_t d = 0; d < first->documents; ++d)
    counts[cluster[d]] += first->column[measure->count][d];
  for (size_t run = 0; run < arm_count * seed_count; ++run) {
    const lap_run_losses *losses =
        lap_study_losses(study, set, arms[run / seed_count], seeds[run % seed_count]);
    assert(losses && losses->documents == first->documents);
    for (size_t d = 0; d < losses->documents; ++d)
      sums[run * clusters + cluster[d]] += measure->scale * losses->column[measure->sum][d];
  }
  free(cluster);
  return (lap_sums){arm_count, seed_count, clusters, sums, counts};
}

void lap_measure_release(lap_sums *sums) {
  free((void *)sums->sums);
  free((void *)sums->counts);
  *sums = (lap_sums){0};
}
