#include "mpi/collective/merge_plan.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

lap_merge_plans lap_merge_plans_create(const lap_leaves *leaves, int ranks, int rounds,
                                       int values) {
  lap_merge_plans plans = {.ranks = ranks, .counter.leaves = *leaves};
  plans.round = lap_allocate(rounds, sizeof *plans.round);
  plans.first_value = lap_allocate((int64_t)rounds * (ranks + 1), sizeof *plans.first_value);
  plans.merges = lap_allocate(values, sizeof *plans.merges);
  return plans;
}

void lap_merge_plans_release(lap_merge_plans *plans) {
  free(plans->round);
  free(plans->first_value);
  free(plans->merges);
}

void lap_merge_plans_add(lap_merge_plans *plans, const lap_tree_node *nodes, const int *counts) {
  int *first_value = plans->first_value + (int64_t)plans->rounds * (plans->ranks + 1);
  int *merges = plans->merges + plans->values;
  for (int q = 0; q < plans->ranks; ++q) first_value[q + 1] = first_value[q] + counts[q];
  const int values = first_value[plans->ranks];
  lap_merge_plan plan = {.first_value = first_value,
                         .merges = merges,
                         .before = plans->counter.depth,
                         .lowest = plans->counter.depth};
  for (int i = 0; i < values; ++i) {
    const int depth = plans->counter.depth;
    merges[i] = lap_tree_push(&plans->counter, nodes[i]);
    if (depth - merges[i] < plan.lowest) plan.lowest = depth - merges[i];
  }
  plan.after = plans->counter.depth;
  plans->round[plans->rounds++] = plan;
  plans->values += values;
}

void lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                    int64_t offset, float *const *held, int64_t held_offset) {
  float stack[LAP_MERGE_DEPTH][LAP_MERGE_TILE];
  int depth = plan->before - plan->lowest;
  for (int i = 0; i < depth; ++i)
    memcpy(stack[i], held[plan->lowest + i] + held_offset, sizeof stack[0]);
  for (int value = 0; value < values; ++value) {
    memcpy(stack[depth++], merging[value] + offset, sizeof stack[0]);
    for (int merge = 0; merge < plan->merges[value]; ++merge, --depth)
      for (int i = 0; i < LAP_MERGE_TILE; ++i)
        stack[depth - 2][i] = stack[depth - 2][i] + stack[depth - 1][i];
  }
  for (int i = 0; i < depth; ++i)
    memcpy(held[plan->lowest + i] + held_offset, stack[i], sizeof stack[0]);
}

int lap_merge_plans_most_values(const lap_merge_plans *plans) {
  int most = 0;
  for (int round = 0; round < plans->rounds; ++round) {
    const int values = plans->round[round].first_value[plans->ranks];
    if (values > most) most = values;
  }
  return most;
}

int lap_merge_plans_most_arriving(const lap_merge_plans *plans, int rank) {
  int most = 0;
  for (int round = 0; round < plans->rounds; ++round) {
    const int *first = plans->round[round].first_value;
    const int arriving = first[plans->ranks] - (first[rank + 1] - first[rank]);
    if (arriving > most) most = arriving;
  }
  return most;
}

int lap_merge_plans_most_held(const lap_merge_plans *plans) {
  int most = 0;
  for (int round = 0; round < plans->rounds; ++round)
    if (plans->round[round].after > most) most = plans->round[round].after;
  return most;
}
