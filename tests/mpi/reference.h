/* reference: the summation tree as one would define it on paper, recursively, on one process; and
 * test values whose sums depend on the order of additions. Shares no code with mpi/. */
#ifndef LAP_TESTS_MPI_REFERENCE_H
#define LAP_TESTS_MPI_REFERENCE_H

#include <stdint.h>

/* The value of `item` at `element`: both signs, twenty binades. */
float reference_value(int64_t item, int64_t element);

/* Tree sums over items that stand in groups of `group`, each padded to a power of two.
 * values[item]. */
float reference_sum_float(int64_t items, int64_t group, const float *values);
double reference_sum_double(int64_t items, int64_t group, const double *values);

#endif
