/* weight: the values of a weight, as ops use them.
 *
 * With `precision: bfloat16` every weight is rounded to bfloat16 wherever it is used, as product.h
 * does it with the operands of products. The ops that read weights otherwise (the embedding's rows
 * at the input, the norms) ask here.
 */
#ifndef LAP_AUTOGRAD_OP_WEIGHT_H
#define LAP_AUTOGRAD_OP_WEIGHT_H

#include "autograd/op/op.h"

#define lap_weight_values LAP_PRECISION(lap_weight_values)

/* Elements [begin, begin + count) of a weight, in whichever form it is held: where they lie, or as
 * they are used, in `memory` [count]. In double they are never rounded. */
const real *lap_weight_values(const lap_operand *weight, int64_t begin, int64_t count,
                              real *memory);

#endif
