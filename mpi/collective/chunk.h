/* chunk: parts of buckets in flight to their owners, which add them (private to mpi/; what the
 * strategies of gradient_sum are built on).
 *
 * A chunk is a part of one bucket: of each owner's range of the bucket the elements [c E, (c + 1)
 * E). Its messages go from all ranks that have values to all owners, on the communication thread.
 * A few chunks are in flight at once, each with a receive buffer of its own. They are added in the
 * order in which they were sent, in the calls of the thread that waits for them, by its OpenMP
 * threads. Ranks that send the same chunks in the same order never wait for each other in a circle:
 * a rank that waits for a chunk has sent all chunks before it.
 */
#ifndef LAP_MPI_COLLECTIVE_CHUNK_H
#define LAP_MPI_COLLECTIVE_CHUNK_H

#include "mpi/collective/merge_plan.h"
#include "mpi/collective/sum_check.h"
#include "mpi/transport/exchange.h"
#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

enum { LAP_CHUNKS_IN_FLIGHT = 3 };
/* Elements from which waking threads for an addition costs less than it saves. */
enum { LAP_PARALLEL_FROM = 1 << 15 };

typedef struct {
  lap_group group;
  const lap_partition *partition;
  int64_t elements;           /* E, of an owner's range, that move in one chunk */
  int slots;                  /* receive buffers */
  int most_arriving;          /* values of other ranks in a round */
  const int64_t *held_offset; /* [buckets] of the owner's ranges in `held` */
  const lap_merge_plans *plans;
  lap_sum_check *check; /* NULL: none */

  /* Of the current round. */
  const lap_merge_plan *plan;
  const float *const *sources; /* [values of this rank][buckets] */
  float *const *held;          /* [values that the owner holds]; see `held_offset` */

  /* Chunk number n has slot n % slots; chunks [added, sent) are in flight. */
  uint64_t sent, added;
  struct {
    float *arriving; /* [most_arriving][elements] */
    lap_exchange exchange;
    lap_comm_ticket ticket;
    int bucket;
    int64_t begin; /* of the chunk in an owner's range */
  } slot[LAP_CHUNKS_IN_FLIGHT];
  const float **merging; /* [values of all ranks] */
} lap_chunks;

/* For rounds as in `plans`. `held_offset` [buckets] says where the owner's range of each bucket
 * begins in the vectors that it holds; it and the plans must outlive the chunks. */
void lap_chunks_create(lap_chunks *chunks, const lap_group *group, const lap_partition *partition,
                       const lap_merge_plans *plans, const int64_t *held_offset);
void lap_chunks_release(lap_chunks *chunks);
/* From the next step on, parts of the sums are added again (sum_check.h). */
void lap_chunks_check(lap_chunks *chunks, uint64_t seed);
/* Bytes of the receive buffers that create allocates on rank `rank` of the group. */
int64_t lap_chunks_bytes(const lap_partition *partition, const lap_merge_plans *plans, int rank);

/* Begins a round; no chunk may be in flight. `sources`: where each bucket of each value of this
 * rank begins; `held`: the vectors of the values that it holds as an owner. */
void lap_chunks_begin(lap_chunks *chunks, const lap_merge_plan *plan, const float *const *sources,
                      float *const *held);
/* Collective. Sends the bucket, adding earlier chunks where all slots are taken. The ranges of the
 * sources that other ranks own must stay as they are until the bucket's last chunk was added. */
void lap_chunks_send(lap_chunks *chunks, int bucket);
/* Adds what has arrived, without waiting. */
void lap_chunks_add_arrived(lap_chunks *chunks);
/* Waits for and adds the first `count` chunks ever sent: those before `sent` had that value. */
void lap_chunks_add_first(lap_chunks *chunks, uint64_t count);
/* Waits for and adds all that were sent. */
void lap_chunks_add_all(lap_chunks *chunks);
/* Collective. Ends the last round: the first vector that is held has the sums. */
void lap_chunks_finish(lap_chunks *chunks);

#endif
