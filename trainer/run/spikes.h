/* spikes: losses that stand out from those before them.
 *
 * A loss is a spike where it lies more than 6 standard deviations above the mean of the last 128
 * (at least 64) steps. It enters them only as far as that limit: spikes do not hide each other, and
 * a loss that stays high soon counts as usual. Reported, and nothing else: a spike changes no step.
 * Not collective: rank 0 looks.
 */
#ifndef LAP_TRAINER_RUN_SPIKES_H
#define LAP_TRAINER_RUN_SPIKES_H

#include "core/status.h"

enum { LAP_SPIKE_STEPS = 128, LAP_SPIKE_FEWEST = 64, LAP_SPIKE_SIGMAS = 6 };

/* Zero-initialised. */
typedef struct {
  double loss[LAP_SPIKE_STEPS]; /* in turn */
  int count, next;
  double mean, deviation; /* of the `steps` before the one that was observed last */
  int steps;
} lap_spikes;

/* How many standard deviations the loss of the next step lies above the mean, where it is a spike;
 * else 0. One that is not finite is not looked at. */
double lap_spikes_observe(lap_spikes *spikes, double loss);

/* Observes the losses of a metrics.jsonl that the run goes on with. No file: none. LAP_DATA where
 * it cannot be read; lines that are not those of steps are ignored. */
lap_code lap_spikes_restore(lap_spikes *spikes, const char *metrics, lap_status *status);

#endif
