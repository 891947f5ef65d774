/* evaluation_detail: what an evaluation says beyond its totals: sums by document and by the length
 * of the context, and how sure the model was at each position.
 *
 * Each window is cut into groups, one for each document in it and one for each length of context.
 * A group's positions are added in order, the groups of one document in the order of windows; ranks
 * hand over groups, not totals. So every figure has the same bits at any number of ranks and
 * threads, and the counts of the parts add up to those of the whole.
 *
 * The context of a position are the tokens that the model may see there, its own included: those of
 * its document in its window, and the window's prefix where the document began before it. Lengths
 * come in buckets of powers of two: bucket b holds [2^b, 2^(b+1)).
 */
#ifndef LAP_TRAINER_MODEL_EVALUATION_DETAIL_H
#define LAP_TRAINER_MODEL_EVALUATION_DETAIL_H

#include "dataset/set_documents.h"
#include "mpi/transport/communicator.h"
#include "trainer/model/position_sums.h"
#include "trainer/step/batches.h"

enum { LAP_CONTEXT_BUCKETS = 32 };

/* On rank 0; empty elsewhere. */
typedef struct {
  lap_set_documents documents;
  lap_position_sums *document; /* [documents.count] */
  int buckets;                 /* in use: as many as a window's length needs */
  lap_position_sums bucket[LAP_CONTEXT_BUCKETS];
  uint64_t counted;
  /* [counted], in the order of windows and positions: the probability of the likeliest token,
   * negative where that was not the next one */
  float *confidence;
} lap_evaluation_detail;

void lap_evaluation_detail_release(lap_evaluation_detail *detail);

/* What a rank has gathered of its windows. */
typedef struct lap_detail_parts lap_detail_parts;
lap_detail_parts *lap_detail_parts_create(const lap_data *data);
void lap_detail_parts_destroy(lap_detail_parts *parts);
/* Adds a window, `index` of the set, that was visited: sums and confidence [T] of its positions,
 * and its document_start [T]. Windows come in increasing order. */
void lap_detail_parts_add(lap_detail_parts *parts, uint64_t index,
                          const lap_position_sums *positions, const float *confidence,
                          const int32_t *document_start);

/* Collective. Windows were dealt to replicas in turn; their leaders are `stride` ranks apart. */
void lap_detail_collect(const lap_detail_parts *parts, lap_comm *comm, uint64_t windows,
                        uint64_t replicas, uint64_t stride, lap_evaluation_detail *detail);

#endif
