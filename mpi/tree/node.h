/* node: the one fixed binary tree in which everything is summed, whatever the ranks
 * (docs/design.md#summation-tree); the tree itself, without values (private to mpi/).
 *
 * A node covers an aligned range [i 2^j, (i+1) 2^j) of leaves; its value is left + right, or left
 * alone where right is empty, or right alone where left is empty. The order of additions is
 * therefore a property of the leaves, never of the ranks that hold them:
 *
 *       lanes 0..4           0 1   2 3   4           ((0+1) + (2+3)) + 4
 *                             +     +    |
 *                             \--+--/    |
 *                                 \--+---/
 *
 * A rank merges the items it holds with a binary counter (at most log2 of them wait at a time), and
 * so does the owner of a range with the subtree roots it receives: adding from left to right would
 * be wrong for uneven ranges. MPI's own reductions change bits with rank count and message size and
 * are never used for floats.
 *
 * All sums of mpi/ use this tree: gradients (collective/gradient_sum.h) and scalars
 * (collective/lane_sum.h) over lanes, norms over segments of the canonical vector
 * (collective/segment_sum.h), activations over model shards (collective/shard_sum.h).
 *
 * Items (lanes, segments, shards) stand at the leaves in groups: a group is a pod, padded to a
 * power of two with empty leaves, so that a pod is summed before it is added to another. How many
 * items a node covers is a formula, and from it every rank knows which nodes are empty and which
 * subtree roots a range of items has. Nothing about the tree is ever sent.
 */
#ifndef LAP_MPI_TREE_NODE_H
#define LAP_MPI_TREE_NODE_H

#include <stdint.h>

typedef struct {
  int64_t items;  /* in all groups */
  int64_t group;  /* items in a group */
  int64_t stride; /* leaves of a group, a power of two >= group */
  int levels;     /* the root is at this level; leaves are at level 0 */
} lap_leaves;

/* `groups` of `group` items each. */
lap_leaves lap_leaves_create(int64_t groups, int64_t group);
/* One group. */
static inline lap_leaves lap_leaves_of_items(int64_t items) { return lap_leaves_create(1, items); }

/* The leaf of an item. */
int64_t lap_leaf_position(const lap_leaves *leaves, int64_t item);

/* Covers leaves [index 2^level, (index + 1) 2^level). */
typedef struct {
  int level;
  int64_t index;
} lap_tree_node;

/* The most subtree roots of a range of items, and the most nodes in a counter: two a level. */
enum { LAP_TREE_DEPTH = 2 * 63 };

/* The subtree roots of a range: the largest nodes whose items all lie in [begin, end), in leaf
 * order. Returns how many. */
int lap_tree_roots(const lap_leaves *leaves, int64_t begin, int64_t end,
                   lap_tree_node roots[LAP_TREE_DEPTH]);

/* The binary counter: nodes that wait for their right siblings, in leaf order. */
typedef struct {
  lap_leaves leaves;
  int depth;
  lap_tree_node nodes[LAP_TREE_DEPTH];
} lap_tree_counter;

/* Adds the node to the right of all that are there. Returns the number of additions that this
 * allows: in each the two topmost values become one, their sum. After them `depth` values are left.
 */
int lap_tree_push(lap_tree_counter *counter, lap_tree_node node);

/* The counter with values of `width` doubles each. */
typedef struct {
  lap_tree_counter nodes;
  int width;
  double *values; /* [LAP_TREE_DEPTH][width]; the first nodes.depth are held */
} lap_scalar_counter;

lap_scalar_counter lap_scalar_counter_create(const lap_leaves *leaves, int width);
void lap_scalar_counter_release(lap_scalar_counter *counter);
void lap_scalar_counter_push(lap_scalar_counter *counter, lap_tree_node node, const double *values);

#endif
