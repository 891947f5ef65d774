/* parcel: stretches of buckets on their way to owners, who add them (private to mpi/; what
 * gradient_sum is made of).
 *
 * A parcel is a part of one bucket: of each owner's range of the bucket the elements [p chunk, (p +
 * 1) chunk). Its messages go from all that have values to all owners and run on the communication
 * thread; a few parcels are on their way at once, each with a receive buffer of its own. Parcels
 * are added in the order in which they were sent, in calls of the one who waits for them, by that
 * caller's OpenMP threads. Two ranks that send the same parcels in the same order never wait for
 * each other in a circle: who waits has sent all that came before.
 */
#ifndef LAP_MPI_COLLECTIVE_CHUNK_H
#define LAP_MPI_COLLECTIVE_CHUNK_H

#include <stdbool.h>

#include "mpi/transport/exchange.h"
#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

enum { LAP_PARCELS_AT_ONCE = 3 };
/* Elements from which waking threads for an addition costs less than it saves. */
enum { LAP_PARALLEL_FROM = 1 << 15 };

/* How an owner puts together what ranks send in one round: values in the order of the tree, each
 * pushed into a binary counter that already holds some. */
typedef struct {
  const int *first_source; /* [owners + 1]: rank q sends values [first_source[q], [q + 1]) */
  const int *merges;       /* [values]: how often the topmost two become one after each */
  int before, low, after;  /* values in the counter before, at the least, and after */
} lap_merge_plan;

typedef struct {
  lap_group group;
  const lap_partition *partition;
  int64_t chunk;     /* elements of an owner's range that move in one parcel */
  int slots;         /* receive buffers */
  int most_arriving; /* values of other ranks in a round */
  int64_t *place;    /* [buckets] of the owner's ranges in `held` */

  /* Of the round at hand. */
  const lap_merge_plan *plan;
  const float *const *sources; /* [values of this rank][buckets] */
  float *const *held;          /* [counter's depth]: the owner's values; see `place` */

  /* Number n has slot n % slots; [added, sent) are on their way. */
  uint64_t sent, added;
  struct {
    float *arriving; /* [most_arriving][chunk] */
    lap_exchange exchange;
    lap_comm_ticket ticket;
    int bucket;
    int64_t begin; /* of the part in an owner's range */
  } slot[LAP_PARCELS_AT_ONCE];
  const float **merging; /* [values of all] */
} lap_parcels;

/* Elements of a parcel and how many are under way at once: alike on all ranks. Parcels are of the
 * size of the median bucket, a layer; larger buckets go in several. */
int64_t lap_parcel_chunk(const lap_partition *partition);
int lap_parcel_slots(const lap_partition *partition);

/* `most_values` and `most_arriving`: values that all ranks, and all but this one, have in a round.
 * `in_place`: `held` vectors are whole ones; else they are as the owner's own array. */
void lap_parcels_create(lap_parcels *parcels, const lap_group *group,
                        const lap_partition *partition, int most_values, int most_arriving,
                        bool in_place);
void lap_parcels_release(lap_parcels *parcels);

/* Nothing is under way. `sources`: where each bucket of each value of this rank begins. */
void lap_parcels_begin(lap_parcels *parcels, const lap_merge_plan *plan,
                       const float *const *sources, float *const *held);
/* Collective: sends the bucket, adding earlier parcels where all slots are taken. Ranges of the
 * sources that are not this rank's own must stay as they are until the last was added. */
void lap_parcels_send(lap_parcels *parcels, int bucket);
/* Adds what has arrived; waits for nothing. */
void lap_parcels_add_arrived(lap_parcels *parcels);
/* Waits for and adds the first `count` that were ever sent: those before `sent` was that. */
void lap_parcels_add_first(lap_parcels *parcels, uint64_t count);
/* Waits for and adds all that were sent. */
void lap_parcels_add_all(lap_parcels *parcels);

#endif
