/* recheck_draw: which lanes are computed again, by whom, and who is right; for recheck.h.
 *
 * Pure functions: every rank comes to the same answer by itself.
 */
#ifndef LAP_TRAINER_STEP_RECHECK_DRAW_H
#define LAP_TRAINER_STEP_RECHECK_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#include "mpi/tree/mesh.h"

/* Chooses min(count, lanes) of the lanes, each as likely as any other: a function of seed and step.
 * `chosen` [min(count, lanes)] is in no order. Returns how many. */
int lap_recheck_choose(uint64_t seed, uint64_t step, int lanes, int64_t count, int *chosen);

/* Which replica computes each of the chosen lanes first, and which one again: another one where
 * there are several, and no replica gets a second lane before all others that could take it have
 * one. */
void lap_recheck_assign(const lap_mesh *mesh, lap_lane_schedule schedule, int replicas,
                        uint64_t seed, uint64_t step, const int *chosen, int count, int *first,
                        int *again);

/* Votes of several computations: same_as[v] is the first one with the same outcome, v itself at the
 * least. Returns a vote of the largest camp, where it has two votes or more and no other has as
 * many; *wrong [votes] then says which are not in it. -1: it cannot be told; all are suspects. */
int lap_recheck_vote(const int *same_as, int votes, bool *wrong);

#endif
