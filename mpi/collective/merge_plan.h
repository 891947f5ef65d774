/* merge_plan: how an owner adds what the ranks send it, round by round (private to mpi/).
 *
 * A value is what one rank sends of one node of the tree over lanes (mpi/tree/node.h). The values
 * of a round have the order of the tree, whichever ranks send them; the owner pushes each into a
 * binary counter that holds what is left of the rounds before. Which additions that allows follows
 * from the nodes alone, so all of it is planned once.
 */
#ifndef LAP_MPI_COLLECTIVE_MERGE_PLAN_H
#define LAP_MPI_COLLECTIVE_MERGE_PLAN_H

#include "mpi/tree/node.h"

/* Of one round. */
typedef struct {
  const int *first_value;    /* [ranks + 1]: rank q sends values [first_value[q], [q + 1]) */
  const int *merges;         /* [values]: how often the topmost two become one after each */
  int before, lowest, after; /* values held before the round, at the least, and after it */
} lap_merge_plan;

typedef struct {
  int ranks;
  lap_tree_counter counter; /* after all rounds planned so far */
  lap_merge_plan *round;    /* [rounds] */
  int rounds;
  int *first_value, *merges; /* of all rounds */
  int values;
} lap_merge_plans;

/* With room for `rounds` rounds, and `values` values in all of them together. */
lap_merge_plans lap_merge_plans_create(const lap_leaves *leaves, int ranks, int rounds, int values);
void lap_merge_plans_release(lap_merge_plans *plans);

/* The next round: `nodes` are those of all ranks in the order of the tree, which is rank by rank;
 * rank q has `counts`[q] of them. */
void lap_merge_plans_add(lap_merge_plans *plans, const lap_tree_node *nodes, const int *counts);

/* Elements that are merged at a time by one thread: the stack of partial sums stays in its
 * first-level cache. A divisor of LAP_SEGMENT. The counter holds less than half of the depth. */
enum { LAP_MERGE_TILE = 256, LAP_MERGE_DEPTH = 64 };
/* One tile: the values `merging` [values], in the order of the tree, each from `offset` on, go
 * through the counter as planned, on top of what the vectors `held` hold already from `held_offset`
 * on. */
void lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                    int64_t offset, float *const *held, int64_t held_offset);

/* The most values that are sent in a round, by all ranks; by all but `rank`. */
int lap_merge_plans_most_values(const lap_merge_plans *plans);
int lap_merge_plans_most_arriving(const lap_merge_plans *plans, int rank);
/* The most values that an owner holds between rounds. */
int lap_merge_plans_most_held(const lap_merge_plans *plans);

#endif
