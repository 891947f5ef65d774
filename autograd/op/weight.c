#include "autograd/op/weight.h"

#include <assert.h>
#include <string.h>

#include "autograd/kernel/gemm.h"
#include "core/half.h"

#ifdef LAP_DOUBLE

const real *lap_weight_values(const lap_operand *weight, int64_t begin, int64_t count,
                              real *memory) {
  (void)count, (void)memory;
  assert(weight->value);
  return weight->value + begin;
}

#else

const real *lap_weight_values(const lap_operand *weight, int64_t begin, int64_t count,
                              real *memory) {
  const bool round = lap_gemm_precision_here() == LAP_MATMUL_BFLOAT16;
  if (weight->value && !round) return weight->value + begin;
  if (weight->value)
    memcpy(memory, weight->value + begin, (size_t)count * sizeof *memory);
  else
    lap_bfloat16_unpack(weight->bfloat16 + begin, count, memory);
  if (round) lap_gemm_round(memory, count);
  return memory;
}

#endif
