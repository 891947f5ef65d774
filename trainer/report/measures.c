#include "trainer/report/measures.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static const lap_measure measures[] = {
    {"loss", "loss", "nats/token", LAP_LOSS_NATS, LAP_LOSS_TOKENS, 1, false},
    {"bits_per_byte", "bits per byte", "bits/byte", LAP_LOSS_TEXT_NATS, LAP_LOSS_BYTES,
     1.4426950408889634, false},
    {"kl", "KL to the teacher", "nats/token", LAP_LOSS_KL, LAP_LOSS_TOKENS, 1, false},
    {"accuracy", "accuracy", "share", LAP_LOSS_CORRECT, LAP_LOSS_TOKENS, 1, true},
    {"agreement", "agreement with the teacher", "share", LAP_LOSS_AGREED, LAP_LOSS_TOKENS, 1, true},
};

const lap_measure *lap_measure_find(const char *name) {
  for (size_t i = 0; i < sizeof measures / sizeof *measures; ++i)
    if (strcmp(measures[i].name, name) == 0) return &measures[i];
  return NULL;
}

const char *lap_measure_names(void) { return "loss, bits_per_byte, kl, accuracy, agreement"; }

static bool adds_up_to_something(const double *values, size_t count) {
  for (size_t i = 0; values && i < count; ++i)
    if (values[i] > 0) return true;
  return false;
}

bool lap_measure_is_in(const lap_measure *measure, const lap_losses *losses) {
  return losses->column[measure->sum] &&
         adds_up_to_something(losses->column[measure->count], losses->documents);
}

/* cluster [documents]: which sum a document belongs to. Returns how many there are. */
static size_t cluster_documents(const lap_losses *losses, bool by_shard, size_t *cluster) {
  const double *shard = losses->column[LAP_LOSS_SHARD];
  size_t count = 0;
  for (size_t d = 0; d < losses->documents; ++d) {
    if (d == 0 || !by_shard || shard[d] != shard[d - 1]) ++count;
    cluster[d] = count - 1;
  }
  return count;
}

lap_sums lap_measure_sums(const lap_study *study, const lap_measure *measure, size_t set,
                          const size_t *arms, size_t arm_count, const size_t *seeds,
                          size_t seed_count, bool by_shard) {
  const lap_losses *first = lap_study_losses(study, set, arms[0], seeds[0]);
  size_t *cluster = lap_allocate((int64_t)first->documents, sizeof *cluster);
  const size_t clusters = cluster_documents(first, by_shard, cluster);
  double *sums = lap_allocate((int64_t)(arm_count * seed_count * clusters), sizeof *sums);
  double *counts = lap_allocate((int64_t)clusters, sizeof *counts);
  for (size_t d = 0; d < first->documents; ++d)
    counts[cluster[d]] += first->column[measure->count][d];
  for (size_t run = 0; run < arm_count * seed_count; ++run) {
    const lap_losses *losses =
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
