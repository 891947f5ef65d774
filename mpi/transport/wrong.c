#include "mpi/transport/wrong.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

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
