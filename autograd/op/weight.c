#include "autograd/op/weight.h"

#include "autograd/kernel/gemm_backend.h"
#include "autograd/kernel/matmul/bfloat16.h"

#ifdef LAP_DOUBLE

const real *lap_weight_values(const lap_operand *weight, int64_t begin, int64_t count,
                              real *memory) {
  (void)count, (void)memory;
  return weight->value + begin;
}

#else

const real *lap_weight_values(const lap_operand *weight, int64_t begin, int64_t count,
                              real *memory) {
  const real *values = weight->value + begin;
  if (lap_gemm_precision_here() == LAP_MATMUL_FLOAT32) return values;
  for (int64_t i = 0; i < count; ++i) memory[i] = lap_bfloat16_round(values[i]);
  return memory;
}

#endif
