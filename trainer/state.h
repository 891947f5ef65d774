/* state: what a run is between two steps, on this rank.
 *
 * The weights are whole on every rank; the two Adam moments cover the elements that this rank
 * updates: its own piece of the canonical vector (mesh.shard: optimizer) or all of it (none). Step,
 * applied updates and bad steps are the same on every rank.
 */
#ifndef LAP_TRAINER_STATE_H
#define LAP_TRAINER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemma2/parameters.h"
#include "mpi/communicator.h"
#include "trainer/memory_table.h"

typedef struct {
  lap_parameters *parameters;
  int64_t owned_begin, owned_end; /* this rank's piece of the canonical vector */
  int64_t held_begin, held_end;   /* elements whose moments are held here: the piece, or all */
  float *weights;                 /* [parameters->elements] */
  float *exp_avg, *exp_avg_sq;    /* [held_end - held_begin]; NULL where only weights are held */
  uint64_t step;                  /* steps done, skipped ones included */
  uint64_t applied_updates;       /* updates made: Adam's t */
  uint64_t bad_steps;             /* consecutive non-finite steps up to now */
} lap_state;

/* What an element of the canonical vector has; files and hashes go through them in this order. */
typedef enum { LAP_WEIGHT, LAP_EXP_AVG, LAP_EXP_AVG_SQ, LAP_STATE_KINDS } lap_state_kind;

/* "weight", "exp_avg", "exp_avg_sq". */
const char *lap_state_kind_name(lap_state_kind kind);

/* Elements of the canonical vector that a rank has to do with: as in lap_state. */
typedef struct {
  int64_t owned_begin, owned_end, held_begin, held_end;
} lap_state_extent;
lap_state_extent lap_state_extent_of(int64_t elements, int ranks, int rank, bool replicate_moments);

/* Not collective. Zeroed. `replicate_moments`: hold all moments (mesh.shard: none). */
lap_state *lap_state_create(const lap_gemma2_config *model, const lap_comm *comm, bool with_moments,
                            bool replicate_moments);
void lap_state_destroy(lap_state *state);
/* What create would allocate on a rank with this extent. */
void lap_state_bytes(int64_t elements, const lap_state_extent *extent, bool with_moments,
                     lap_memory_table *memory);

/* Not collective. Where element `index` of the canonical vector lies; moments must be held. An
 * index one past what is held is allowed, for empty ranges. */
float *lap_state_at(const lap_state *state, lap_state_kind kind, int64_t index);

#endif
