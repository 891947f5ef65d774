#include "mpi/collective/shard_sum.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/exchange.h"
#include "mpi/tree/shard_roots.h"

/* Elements from which waking threads costs less than it saves. */
enum { PARALLEL_FROM = 1 << 15 };

typedef enum { ADD_FLOATS, ADD_DOUBLES, LARGEST_FLOAT } operation;

/* How values are added: rank r of the group has values [first[r], first[r + 1]), and after each the
 * topmost two become one as often as `merges` says. */
typedef struct {
  int *first;  /* [ranks + 1] */
  int *merges; /* [values] */
} merge_plan;

struct lap_shard_sum {
  lap_group group;
  lap_mesh mesh;
  lap_fold fold;
  int *merges_here; /* [shards held] */
  merge_plan sums, largest;
  char **rows, **stack; /* [model shards]: values, and values that wait for their siblings */
  char *arriving;       /* grows to the largest call, then stays */
  size_t arriving_bytes;
  lap_exchange scatter, gather, any;
};

static merge_plan plan_sums(const lap_leaves *leaves, int ranks) {
  merge_plan plan = {.first = lap_allocate(ranks + 1, sizeof *plan.first),
                     .merges = lap_allocate(leaves->items, sizeof *plan.merges)};
  lap_tree_counter counter = {.leaves = *leaves};
  for (int rank = 0; rank < ranks; ++rank) {
    lap_tree_node roots[LAP_TREE_DEPTH];
    const int count = lap_roots_of_model_rank(leaves, ranks, rank, roots);
    plan.first[rank + 1] = plan.first[rank] + count;
    for (int i = 0; i < count; ++i)
      plan.merges[plan.first[rank] + i] = lap_tree_push(&counter, roots[i]);
  }
  assert(counter.depth == 1);
  return plan;
}

/* One value a rank, in any order. */
static merge_plan plan_largest(int ranks) {
  merge_plan plan = {.first = lap_allocate(ranks + 1, sizeof *plan.first),
                     .merges = lap_allocate(ranks, sizeof *plan.merges)};
  for (int rank = 0; rank < ranks; ++rank) {
    plan.first[rank + 1] = rank + 1;
    plan.merges[rank] = rank > 0;
  }
  return plan;
}

lap_shard_sum *lap_shard_sum_create(const lap_group *shards, const lap_mesh *mesh,
                                    const lap_fold *fold) {
  assert(shards->size == fold->model_ranks && shards->index == fold->model_rank);
  lap_shard_sum *sum = lap_allocate(1, sizeof *sum);
  sum->group = *shards;
  sum->mesh = *mesh;
  sum->fold = *fold;
  const lap_leaves leaves = lap_leaves_of_items(mesh->model);
  sum->merges_here = lap_allocate(fold->shard_count, sizeof *sum->merges_here);
  lap_tree_counter counter = {.leaves = leaves};
  for (int i = 0; i < fold->shard_count; ++i)
    sum->merges_here[i] = lap_tree_push(&counter, (lap_tree_node){0, fold->first_shard + i});
  sum->sums = plan_sums(&leaves, shards->size);
  sum->largest = plan_largest(shards->size);
  sum->rows = lap_allocate(mesh->model, sizeof *sum->rows);
  sum->stack = lap_allocate(mesh->model, sizeof *sum->stack);
  sum->scatter = (lap_exchange){
      .tag = LAP_TAG_SHARDS, .kind = LAP_TRAFFIC_ACTIVATIONS, .what = "sum over model shards"};
  sum->gather = sum->any = sum->scatter;
  sum->any.kind = LAP_TRAFFIC_SCALARS;
  return sum;
}

void lap_shard_sum_destroy(lap_shard_sum *sum) {
  if (!sum) return;
  lap_exchange_release(&sum->scatter);
  lap_exchange_release(&sum->gather);
  lap_exchange_release(&sum->any);
  free(sum->merges_here);
  free(sum->sums.first);
  free(sum->sums.merges);
  free(sum->largest.first);
  free(sum->largest.merges);
  free(sum->rows);
  free(sum->stack);
  free(sum->arriving);
  free(sum);
}

int64_t lap_shard_sum_bytes(const lap_mesh *mesh, const lap_fold *fold, int64_t elements) {
  const lap_leaves leaves = lap_leaves_of_items(mesh->model);
  int64_t values = 0; /* of other ranks */
  for (int rank = 0; rank < fold->model_ranks; ++rank) {
    lap_tree_node roots[LAP_TREE_DEPTH];
    if (rank != fold->model_rank)
      values += lap_roots_of_model_rank(&leaves, fold->model_ranks, rank, roots);
  }
  const lap_range here = lap_shard_sum_range(elements, fold->model_ranks, fold->model_rank);
  return values * lap_range_count(here) * (int64_t)sizeof(float);
}

/* --- additions --- */

/* Results may lie where either operand does. */
static void add_floats(float *sum, const float *left, const float *right, int64_t count) {
#pragma omp parallel for simd schedule(static) if (count > PARALLEL_FROM)
  for (int64_t i = 0; i < count; ++i) sum[i] = left[i] + right[i];
}

static void add_doubles(double *sum, const double *left, const double *right, int64_t count) {
#pragma omp parallel for simd schedule(static) if (count > PARALLEL_FROM)
  for (int64_t i = 0; i < count; ++i) sum[i] = left[i] + right[i];
}

/* A NaN is largest, and wins on every rank: a comparison alone would lose it on some. */
static void take_larger(float *larger, const float *left, const float *right, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    larger[i] = right[i] > left[i] || isnan(right[i]) ? right[i] : left[i];
}

static void combine(operation how, void *out, const void *left, const void *right, int64_t count) {
  if (how == ADD_FLOATS) add_floats(out, left, right, count);
  if (how == ADD_DOUBLES) add_doubles(out, left, right, count);
  if (how == LARGEST_FLOAT) take_larger(out, left, right, count);
}

static size_t size_of(operation how) { return how == ADD_DOUBLES ? sizeof(double) : sizeof(float); }

/* Pushes `rows` [count] through the counter; the rows that are left come first in `stack`, in
 * order. Adds in place, but for the last addition of all, which goes to `last`; NULL: it does too.
 * Returns how many rows are left. */
static int merge_rows(operation how, char *const *rows, const int *merges, int count,
                      int64_t elements, char *last, char **stack) {
  int depth = 0;
  for (int row = 0; row < count; ++row) {
    stack[depth++] = rows[row];
    for (int merge = 0; merge < merges[row]; ++merge, --depth) {
      const bool is_last = row == count - 1 && merge == merges[row] - 1;
      char *out = is_last && last ? last : stack[depth - 2];
      combine(how, out, stack[depth - 2], stack[depth - 1], elements);
      stack[depth - 2] = out;
    }
  }
  return depth;
}

/* --- between ranks --- */

/* The range of the vector that a rank adds. */
static lap_range range_of(const lap_shard_sum *sum, int64_t elements, int rank) {
  return lap_shard_sum_range(elements, sum->group.size, rank);
}

static void make_room(lap_shard_sum *sum, size_t bytes) {
  if (bytes <= sum->arriving_bytes) return;
  sum->arriving = lap_reallocate(sum->arriving, bytes, 1);
  sum->arriving_bytes = bytes;
}

/* The values of every rank go, range by range, to the ranks that add them. `mine` are the values of
 * this rank; afterwards `rows` are the values of all ranks, of the range that this rank adds. */
static void scatter_values(lap_shard_sum *sum, const merge_plan *plan, size_t size,
                           int64_t elements, char *const *mine, char **rows) {
  const lap_group *group = &sum->group;
  const int own = plan->first[group->index + 1] - plan->first[group->index];
  const lap_range here = range_of(sum, elements, group->index);
  const size_t bytes = (size_t)lap_range_count(here) * size;
  make_room(sum, (size_t)(plan->first[group->size] - own) * bytes);
  char *next = sum->arriving;
  lap_exchange_clear(&sum->scatter);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    const lap_range there = range_of(sum, elements, to);
    for (int i = 0; i < own; ++i)
      lap_exchange_send(&sum->scatter, lap_group_rank(group, to),
                        mine[i] + (size_t)there.begin * size,
                        (size_t)lap_range_count(there) * size);
    for (int value = plan->first[from]; value < plan->first[from + 1]; ++value, next += bytes) {
      rows[value] = next;
      lap_exchange_receive(&sum->scatter, lap_group_rank(group, from), next, bytes);
    }
  }
  for (int i = 0; i < own; ++i)
    rows[plan->first[group->index] + i] = mine[i] + (size_t)here.begin * size;
  lap_comm_run_exchange(group->comm, &sum->scatter);
}

/* Every rank sends the range that it has added to all others. */
static void gather_ranges(lap_shard_sum *sum, size_t size, int64_t elements, char *out) {
  const lap_group *group = &sum->group;
  const lap_range here = range_of(sum, elements, group->index);
  lap_exchange_clear(&sum->gather);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    const lap_range there = range_of(sum, elements, from);
    lap_exchange_send(&sum->gather, lap_group_rank(group, to), out + (size_t)here.begin * size,
                      (size_t)lap_range_count(here) * size);
    lap_exchange_receive(&sum->gather, lap_group_rank(group, from),
                         out + (size_t)there.begin * size, (size_t)lap_range_count(there) * size);
  }
  lap_comm_run_exchange(group->comm, &sum->gather);
}

/* All ranks' values of `elements` become one in `out`. `mine` are overwritten. */
static void combine_all(lap_shard_sum *sum, operation how, const merge_plan *plan, int64_t elements,
                        char **mine, char *out) {
  const size_t size = size_of(how);
  lap_mesh_count_shard_sum(lap_comm_mesh_traffic(sum->group.comm), &sum->mesh,
                           sum->fold.first_shard, sum->fold.shard_count, elements, size);
  const bool direct = elements <= LAP_SHARD_SUM_DIRECT;
  const int ranks = sum->group.size;
  char *rows[LAP_TREE_DEPTH], **all = sum->rows;
  const int own = plan->first[sum->group.index + 1] - plan->first[sum->group.index];
  assert(own <= LAP_TREE_DEPTH);
  memcpy(rows, mine, (size_t)own * sizeof *rows);
  scatter_values(sum, plan, size, elements, rows, all);
  const lap_range here = range_of(sum, elements, sum->group.index);
  char *target = out + (size_t)here.begin * size;
  const int depth = merge_rows(how, all, plan->merges, plan->first[ranks], lap_range_count(here),
                               target, sum->stack);
  assert(depth == 1);
  (void)depth;
  if (target != sum->stack[0]) memcpy(target, sum->stack[0], (size_t)lap_range_count(here) * size);
  if (!direct) gather_ranges(sum, size, elements, out);
}

static void sum_parts(lap_shard_sum *sum, operation how, char *parts, int64_t elements, char *out) {
  const int shards = sum->fold.shard_count;
  for (int i = 0; i < shards; ++i)
    sum->rows[i] = parts + (size_t)i * (size_t)elements * size_of(how);
  merge_rows(how, sum->rows, sum->merges_here, shards, elements, NULL, sum->stack);
  combine_all(sum, how, &sum->sums, elements, sum->stack, out);
}

/* --- what the autograd calls --- */

static void sum_floats(void *context, real *parts, int64_t elements, real *out) {
  sum_parts(context, ADD_FLOATS, (char *)parts, elements, (char *)out);
}

static void sum_doubles(void *context, double *parts, int64_t elements, double *out) {
  sum_parts(context, ADD_DOUBLES, (char *)parts, elements, (char *)out);
}

static void largest(void *context, real *values, int64_t count) {
  lap_shard_sum *sum = context;
  char *mine = (char *)values;
  combine_all(sum, LARGEST_FLOAT, &sum->largest, count, &mine, mine);
}

lap_shard_group lap_shard_sum_group(lap_shard_sum *sum) {
  return (lap_shard_group){sum, sum_floats, sum_doubles, largest};
}

uint8_t lap_shard_sum_any(lap_shard_sum *sum, uint8_t flags) {
  const lap_group *group = &sum->group;
  if (group->size == 1) return flags;
  make_room(sum, (size_t)group->size);
  lap_exchange_clear(&sum->any);
  for (int step = 1; step < group->size; ++step) {
    const int from = lap_group_from(group, step);
    lap_exchange_send(&sum->any, lap_group_rank(group, lap_group_to(group, step)), &flags,
                      sizeof flags);
    lap_exchange_receive(&sum->any, lap_group_rank(group, from), sum->arriving + from, 1);
  }
  lap_comm_run_exchange(group->comm, &sum->any);
  for (int rank = 0; rank < group->size; ++rank)
    if (rank != group->index) flags |= sum->arriving[rank];
  return flags;
}

void lap_shard_sum_collect(lap_shard_sum *sum, const float *parts, int64_t elements, float *all) {
  const lap_group *group = &sum->group;
  const int shards = sum->fold.shard_count;
  const int64_t count = shards * elements;
  const size_t bytes = (size_t)count * sizeof(float);
  lap_mesh_count_collect(lap_comm_mesh_traffic(group->comm), sum->fold.first_shard, shards,
                         elements);
  lap_exchange_clear(&sum->gather);
  if (group->index > 0)
    lap_exchange_send(&sum->gather, lap_group_rank(group, 0), parts, bytes);
  else if (bytes > 0)
    memcpy(all, parts, bytes);
  for (int from = 1; from < group->size && group->index == 0; ++from)
    lap_exchange_receive(&sum->gather, lap_group_rank(group, from), all + from * count, bytes);
  lap_comm_run_exchange(group->comm, &sum->gather);
}
