/* tune: values of a few keys for each arm, chosen on dev, with seeds that the suite does not use.
 *
 * All arms have the same grid: each key's own value times the same factors. The best point is that
 * with the lowest mean loss on dev; a run that has diverged is infinitely bad. Where the best of
 * some arm lies at an edge, the grid grows there by one factor, for all arms alike, `extend` times
 * at most, unless the config of some arm refuses what comes of it. Runs lie in
 * OUT/tune/ARM/KEY=VALUE,.../seed-N. Longer arms of break_even take the values of their baseline.
 */
#ifndef LAP_TRAINER_ABLATE_TUNE_H
#define LAP_TRAINER_ABLATE_TUNE_H

#include "trainer/ablate/execute.h"
#include "trainer/ablate/graph.h"

/* Below OUT: what was chosen, once all arms are tuned. */
#define LAP_TUNE_CHOSEN "tune/chosen.json"
/* And the point that all compared arms share: that of the lowest mean over them. */
#define LAP_TUNE_SHARED "tune/shared.json"

/* Below OUT: runs at that point, of arms whose own best is another. */
#define LAP_SHARED_RATE "shared-rate"

/* A grid of factors, as far as it has grown. */
typedef struct {
  lap_tune_key *key; /* [key_count], copies of the suite's */
  size_t key_count;
} lap_tune_grid;

void lap_tune_grid_copy(const lap_suite *suite, lap_tune_grid *grid);
void lap_tune_grid_release(lap_tune_grid *grid);
size_t lap_tune_grid_points(const lap_tune_grid *grid);
/* The factor of a key at a point, the last key counting fastest. */
double lap_tune_grid_factor(const lap_tune_grid *grid, size_t point, size_t key);
/* Whether runs may have the new factor `index` of a key, in the grid as it has grown. */
typedef struct {
  bool (*allow)(const void *context, const lap_tune_grid *grid, size_t key, size_t index);
  const void *context;
} lap_tune_limits;
/* Adds a factor beyond each edge at which the best point of some arm lies, where `limits` (NULL:
 * none) allows it: best [count] points. Whether any was added; points have other numbers then. */
bool lap_tune_grid_grow(lap_tune_grid *grid, const size_t *best, size_t count,
                        const lap_tune_limits *limits);

/* Adds the runs of all points. */
lap_code lap_tune_add_runs(lap_graph *graph, const lap_tune_grid *grid, lap_status *status);

/* What tuning has found: [suite->arm_count] each; NULL where nothing is tuned. */
typedef struct {
  lap_changes *own;    /* of an arm's best point */
  lap_changes *shared; /* of the point that all compared arms share */
  bool *apart;         /* whether the arm is compared, and its best point is another one */
} lap_tuned;
void lap_tuned_release(const lap_suite *suite, lap_tuned *tuned);

/* Whether the arm is in a pair of `compare`. */
bool lap_tune_is_compared(const lap_suite *suite, const lap_arm *arm);

/* Tunes all arms. Writes OUT/tune/chosen.json and shared.json. As lap_execute. */
lap_code lap_tune(lap_graph *graph, const lap_execute_options *options, lap_tuned *tuned,
                  lap_status *status);

#endif
