#include "mpi/transport/wrong.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"

lap_code lap_wrong_arithmetic(const lap_comm *comm, int rank, uint64_t step, lap_status *status,
                              const char *format, ...) {
  char what[LAP_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  return lap_fail(status, LAP_NONFINITE, "wrong arithmetic at rank %d on %s, step %" PRIu64 ": %s",
                  rank, lap_comm_host(comm, rank), step, what);
}

/* --- outcomes --- */

static uint64_t hash_of(const double *numbers, int count) {
  double plain[LAP_OUTCOME_MOST];
  assert(count <= LAP_OUTCOME_MOST);
  for (int i = 0; i < count; ++i) plain[i] = isnan(numbers[i]) ? NAN : numbers[i];
  return lap_xxh3(plain, (size_t)count * sizeof *plain);
}

/* A rank with the hash that more than half of the ranks have; -1: there is none. */
static int find_majority(const uint64_t *hashes, int ranks) {
  int candidate = 0, lead = 0, votes = 0; /* Boyer and Moore */
  for (int r = 0; r < ranks; ++r) {
    if (lead == 0) candidate = r;
    lead += hashes[r] == hashes[candidate] ? 1 : -1;
  }
  for (int r = 0; r < ranks; ++r) votes += hashes[r] == hashes[candidate];
  return 2 * votes > ranks ? candidate : -1;
}

/* "rank 1 on a, rank 5 on b, unlike the 6 others", or that nobody knows. */
static void describe_ranks(lap_comm *comm, const uint64_t *hashes, char *text, size_t size) {
  enum { NAMED = 4 };
  const int ranks = lap_comm_size(comm), right = find_majority(hashes, ranks);
  size_t length = 0;
  int wrong = 0;
  snprintf(text, size, "nobody knows which rank is wrong");
  for (int r = 0; right >= 0 && r < ranks; ++r)
    if (hashes[r] != hashes[right] && wrong++ < NAMED && length < size)
      length += (size_t)snprintf(text + length, size - length, "%srank %d on %s",
                                 wrong > 1 ? ", " : "", r, lap_comm_host(comm, r));
  if (right >= 0 && length < size)
    snprintf(text + length, size - length, "%s unlike the %d others", wrong > NAMED ? " ..." : "",
             ranks - wrong);
}

lap_code lap_agree_on_outcome(lap_comm *comm, const double *numbers, int count, lap_status *status,
                              const char *format, ...) {
  const int ranks = lap_comm_size(comm);
  uint64_t *hashes = lap_allocate(ranks, sizeof *hashes);
  const uint64_t mine = hash_of(numbers, count);
  lap_gather_all_checks(comm, &mine, sizeof mine, hashes);
  bool equal = true;
  for (int r = 1; r < ranks; ++r) equal = equal && hashes[r] == hashes[0];
  char what[LAP_MESSAGE_SIZE], who[LAP_MESSAGE_SIZE / 2];
  if (!equal) describe_ranks(comm, hashes, who, sizeof who);
  free(hashes);
  if (equal) return LAP_OK;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  return lap_fail(status, LAP_NONFINITE,
                  "wrong arithmetic: from the same numbers the ranks work out different %s: %s "
                  "(integrity.sums)",
                  what, who);
}
