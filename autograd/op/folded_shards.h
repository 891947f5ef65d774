/* folded_shards: all model shards of a lane in one process, without mpi/: for probe and tests.
 *
 * Their parts are added where they are, in the fixed tree over shards
 * (docs/design.md#summation-tree), so that such a process has the bits of processes that share the
 * shards among them.
 */
#ifndef LAP_AUTOGRAD_OP_FOLDED_SHARDS_H
#define LAP_AUTOGRAD_OP_FOLDED_SHARDS_H

#include "autograd/op/shard_group.h"

#define lap_folded_shards LAP_PRECISION(lap_folded_shards)

/* `shards`, M, must outlive the group. Not collective. */
lap_shard_group lap_folded_shards(const int *shards);

#endif
