/* wrong: how everything that checks arithmetic says that it was wrong (docs/design.md#exit-codes).
 *
 * Equal bits make a detector with threshold zero: what was computed twice, or lay in memory between
 * two steps, either has the bits that it must have or something is broken. What is checked:
 * collective/sum_check.h (sums over ranks), trainer/state/checksums.h (the state between updates),
 * and outcomes: numbers that every rank works out for itself from what all ranks have, such as the
 * loss of a step, are compared before anything follows from them.
 */
#ifndef LAP_MPI_TRANSPORT_WRONG_H
#define LAP_MPI_TRANSPORT_WRONG_H

#include <stdint.h>

#include "mpi/transport/communicator.h"

/* Not collective. LAP_NONFINITE (exit code 4), "wrong arithmetic at rank R on HOST, step S: WHAT".
 * `step` counts from 1. */
lap_code lap_wrong_arithmetic(const lap_comm *comm, int rank, uint64_t step, lap_status *status,
                              const char *format, ...) __attribute__((format(printf, 5, 6)));

enum { LAP_OUTCOME_MOST = 16 };

/* Collective over all ranks. An outcome: `numbers` [count, at most LAP_OUTCOME_MOST] of this rank,
 * compared by hash; NaN is NaN, whatever its bits. LAP_NONFINITE on every rank where not all have
 * the same: the ranks differ in what `format` names; where most of them agree, the others are named
 * with their hosts, else nobody knows whose is wrong. What it sends is counted as that of checks.
 */
lap_code lap_agree_on_outcome(lap_comm *comm, const double *numbers, int count, lap_status *status,
                              const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
