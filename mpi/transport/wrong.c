#include "mpi/transport/wrong.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/hash.h"

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

uint32_t lap_outcome_hash(const double *numbers, int count) {
  double plain[LAP_OUTCOME_MOST];
  assert(count <= LAP_OUTCOME_MOST);
  for (int i = 0; i < count; ++i) plain[i] = isnan(numbers[i]) ? NAN : numbers[i];
  return (uint32_t)lap_xxh3(plain, (size_t)count * sizeof *plain);
}

lap_code lap_wrong_outcome(lap_status *status, const char *format, ...) {
  char what[LAP_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  return lap_fail(status, LAP_NONFINITE,
                  "wrong arithmetic: from the same numbers the ranks work out different %s; nobody "
                  "knows which rank is wrong",
                  what);
}
