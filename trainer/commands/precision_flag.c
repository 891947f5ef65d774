#include "trainer/commands/precision_flag.h"

#include <string.h>

lap_code lap_precision_flag_apply(const char *word, lap_config *config, lap_status *status) {
  if (!word) return LAP_OK;
  const bool bfloat16 = strcmp(word, "bfloat16") == 0;
  if (!bfloat16 && strcmp(word, "float32") != 0)
    return lap_fail(status, LAP_USAGE, "--precision: expected float32 or bfloat16, found '%s'",
                    word);
  config->precision = bfloat16 ? LAP_MATMUL_BFLOAT16 : LAP_MATMUL_FLOAT32;
  if (bfloat16) config->gemm = LAP_GEMM_LAPIDARY;
  return LAP_OK;
}
