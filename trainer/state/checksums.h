/* checksums: whether the state is still what the last update has left; a bit that flips in memory
 * between two updates is found before it becomes part of the next one.
 *
 * Of the ranges that this rank updates, a checksum (XXH3) of each kind of value is kept for each
 * block of LAP_CHECKSUM_BLOCK elements. An update checks a block, changes it and takes its
 * checksums again while it lies in the core's cache. A bit that has flipped stays flipped, so that
 * what is found whole before an update was whole in all passes since the last one.
 *
 * Where weights are whole and moments are not (mesh.shard: optimizer, gradients), each owner's
 * checksums of its weights go to the ranks that hold copies, which check these before the next
 * update: from the owner's update to the last use of the copy. With mesh.shard: full what is
 * gathered is in memory for a moment, and is not checked beyond the hash of its messages.
 *
 * Where passes read a vector in bfloat16, all of it is a copy, also what this rank owns: it is
 * checked against checksums of the weights as their owners round them.
 */
#ifndef LAP_TRAINER_STATE_CHECKSUMS_H
#define LAP_TRAINER_STATE_CHECKSUMS_H

#include "trainer/state/state.h"

enum { LAP_CHECKSUM_BLOCK = 16384 };

typedef struct lap_checksums lap_checksums;

/* Not collective. Of a state with moments, which outlives it. No checksum is valid yet. */
lap_checksums *lap_checksums_create(const lap_state *state);
/* Collective over the ranks that hold the same shards, after a share that nothing waited for. */
void lap_checksums_destroy(lap_checksums *checksums);
/* What create allocates; an outline of the state will do. */
void lap_checksums_bytes(const lap_state *state, lap_memory_table *memory);

/* The blocks that this rank updates, in the order of its vector. */
typedef struct {
  int bucket;
  int64_t begin, end; /* elements of the vector */
} lap_checksum_block;
int64_t lap_checksums_count(const lap_checksums *checksums);
lap_checksum_block lap_checksums_block(const lap_checksums *checksums, int64_t index);

/* Any thread. Takes the checksums of one block, as it is now; compares them with it. */
void lap_checksums_take(lap_checksums *checksums, int64_t index);
void lap_checksums_check(lap_checksums *checksums, int64_t index);
void lap_checksums_take_all(lap_checksums *checksums);
void lap_checksums_check_all(lap_checksums *checksums);

/* Collective over the ranks that hold the same shards. After all checksums were taken: those of
 * weights begin to travel to the ranks that hold copies. Copies are checked from now on. */
void lap_checksums_share(lap_checksums *checksums);
/* Collective as lap_checksums_share, after it. Compares the copies with what their owners have
 * told, if they have yet. Once all gathers of weights have been waited for. */
void lap_checksums_check_copies(lap_checksums *checksums);

/* Not collective. LAP_OK, or what the checks have found, as lap_wrong_arithmetic says it of `step`:
 * the first difference, with its tensor and elements. */
lap_code lap_checksums_verdict(const lap_checksums *checksums, uint64_t step, lap_status *status);

#endif
