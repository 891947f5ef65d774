/* node: the fixed tree itself, without values (private to mpi/).
 *
 * Items (lanes, or blocks of the canonical vector) stand at leaves in groups: a group is a pod,
 * padded to a power of two. How many items a node covers is therefore a formula, and with it
 * everything that ranks have to know of each other: which nodes are empty, and which subtree roots
 * a range of items has. Nothing about the tree is ever sent.
 */
#ifndef LAP_MPI_TREE_NODE_H
#define LAP_MPI_TREE_NODE_H

#include <stdint.h>

#include "mpi/tree/mesh.h"

typedef struct {
  int64_t items;  /* in all groups */
  int64_t group;  /* items in a group */
  int64_t stride; /* leaves of a group, a power of two >= group */
  int levels;     /* the root is at this level; leaves are at level 0 */
} lap_leaves;

lap_leaves lap_leaves_of_mesh(const lap_mesh *mesh);
lap_leaves lap_leaves_of_blocks(int64_t blocks);

/* Leaf of an item. */
int64_t lap_leaf_position(const lap_leaves *leaves, int64_t item);

/* Covers leaves [index 2^level, (index + 1) 2^level). */
typedef struct {
  int level;
  int64_t index;
} lap_tree_node;

/* Bounds on subtree roots of a range of items and on nodes that a counter holds: two a level. */
enum { LAP_TREE_DEPTH = 2 * 63 };

/* The maximal nodes whose items all lie in [begin, end), in leaf order; returns how many. */
int lap_tree_roots(const lap_leaves *leaves, int64_t begin, int64_t end,
                   lap_tree_node roots[LAP_TREE_DEPTH]);

/* The binary counter: nodes that wait for their right siblings, in leaf order. */
typedef struct {
  lap_leaves leaves;
  int depth;
  lap_tree_node nodes[LAP_TREE_DEPTH];
} lap_tree_counter;

/* Puts the node to the right of all that are there. Returns how many times the value below the
 * topmost becomes (itself + topmost), the topmost then leaving; after that `depth` values are held.
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
