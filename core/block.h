/* block: the unit in which the canonical vector of a model's weights is padded, owned and summed.
 */
#ifndef LAP_CORE_BLOCK_H
#define LAP_CORE_BLOCK_H

/* Elements. Each tensor begins at a multiple of it (autograd/gemma2/parameters.h), what a rank owns
 * ends at one (mpi/tree/partition.h), and norms add up the sums of whole blocks: it is part of the
 * numbers. */
enum { LAP_BLOCK = 1024 };

#endif
