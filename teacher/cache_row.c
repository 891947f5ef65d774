#include "teacher/cache_row.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/vector.h"
#include "core/memory.h"
#include "dataset/special_ids.h"

/* How far a valid row may be from a distribution: rounding of stored values. */
static const float MOST_LOGPROB = 1e-3f;
static const double MOST_MASS_ERROR = 0.02, MOST_DRAWN_MASS_ERROR = 0.005;
static const float TAIL_ROUNDING = 1e-5f;

void lap_duplicates_create(uint32_t vocab_size, lap_duplicates *seen) {
  *seen = (lap_duplicates){.vocab_size = vocab_size,
                           .stamp = lap_allocate(vocab_size, sizeof *seen->stamp)};
}

void lap_duplicates_destroy(lap_duplicates *seen) {
  free(seen->stamp);
  *seen = (lap_duplicates){0};
}

static void next_row(lap_duplicates *seen) {
  if (++seen->now != 0) return;
  memset(seen->stamp, 0, seen->vocab_size * sizeof *seen->stamp);
  seen->now = 1;
}

bool lap_row_counts(const lap_token_shard *tokens, uint64_t row) {
  return row + 1 < tokens->token_count && tokens->tokens[row] != LAP_EOS;
}

static lap_code check_logprob(const lap_stored_row *stored, uint32_t slot, lap_status *status) {
  const float logprob = stored->logprob[slot];
  if (logprob <= MOST_LOGPROB) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: logprob[%" PRIu64
                  "][%u] is %g; expected a natural logarithm of a "
                  "probability, at most 0 (-inf: unused slot)",
                  stored->path, stored->row, slot, (double)logprob);
}

static lap_code check_id(const lap_stored_row *stored, uint32_t slot, lap_duplicates *seen,
                         lap_status *status) {
  const int64_t id = stored->ids[slot];
  if (id < 0 || id >= seen->vocab_size)
    return lap_fail(status, LAP_DATA,
                    "%s: ids[%" PRIu64 "][%u] is %" PRId64 "; expected 0 to %u (vocab_size - 1)",
                    stored->path, stored->row, slot, id, seen->vocab_size - 1);
  if (seen->stamp[id] == seen->now)
    return lap_fail(status, LAP_DATA,
                    "%s: ids[%" PRIu64 "] has %" PRId64
                    " twice (again in slot %u); expected "
                    "different ids, unused slots with logprob -inf",
                    stored->path, stored->row, id, slot);
  seen->stamp[id] = seen->now;
  return LAP_OK;
}

float lap_row_tail(float stored) {
  if (stored < 0 && stored >= -TAIL_ROUNDING) return 0;
  return stored > 1 && stored <= 1 + TAIL_ROUNDING ? 1 : stored;
}

static lap_code check_masses(const lap_stored_row *stored, double kept, lap_status *status) {
  const float tail = lap_row_tail(stored->tail_mass);
  if (!(tail >= 0 && tail <= 1))
    return lap_fail(status, LAP_DATA,
                    "%s: tail_mass[%" PRIu64
                    "] is %.9g; expected 0 to 1 within 1e-5: the sum of the "
                    "probabilities that are not kept",
                    stored->path, stored->row, (double)tail);
  if (stored->drawn && tail != 0)
    return lap_fail(status, LAP_DATA,
                    "%s: tail_mass[%" PRIu64
                    "] is %.9g; expected 0: the weights of a drawn row stand for the tail too",
                    stored->path, stored->row, (double)tail);
  const double sum = kept + (double)tail;
  const double most = stored->drawn ? MOST_DRAWN_MASS_ERROR : MOST_MASS_ERROR;
  if (fabs(sum - 1) <= most) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: row %" PRIu64
                  ": exp(logprob) and tail_mass sum to %.6f (%.6f + %.6f); "
                  "expected 1 within %g: natural logarithms, normalised over the whole vocabulary",
                  stored->path, stored->row, sum, kept, (double)tail, most);
}

static lap_code check_optional(const lap_stored_row *stored, lap_status *status) {
  const float *next = stored->next_logprob, *entropy = stored->entropy;
  if (next && !(*next <= MOST_LOGPROB))
    return lap_fail(status, LAP_DATA, "%s: next_logprob[%" PRIu64 "] is %g; expected at most 0",
                    stored->path, stored->row, (double)*next);
  if (entropy && !(*entropy >= -MOST_LOGPROB && *entropy < INFINITY))
    return lap_fail(status, LAP_DATA,
                    "%s: entropy[%" PRIu64 "] is %g; expected a number of nats, at least 0",
                    stored->path, stored->row, (double)*entropy);
  return LAP_OK;
}

lap_code lap_stored_row_check(const lap_stored_row *stored, lap_duplicates *seen, int32_t *ids,
                              float *probability, double *mass, lap_status *status) {
  next_row(seen);
  for (uint32_t i = 0; i < stored->k; ++i) {
    ids[i] = -1;
    if (stored->logprob[i] == -INFINITY) continue;
    LAP_TRY(check_logprob(stored, i, status));
    LAP_TRY(check_id(stored, i, seen, status));
    ids[i] = (int32_t)stored->ids[i];
  }
  memcpy(probability, stored->logprob, stored->k * sizeof *probability);
  *mass = (double)lap_vector_exp(probability, stored->k, 0);
  LAP_TRY(check_masses(stored, *mass, status));
  return check_optional(stored, status);
}
