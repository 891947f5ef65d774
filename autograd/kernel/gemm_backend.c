#include "autograd/kernel/gemm_backend.h"

#include <stdio.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/matmul/kernels.h"

/* As with an opened library, what computes is a property of the process. */
static lap_gemm_backend chosen = LAP_GEMM_LAPIDARY;

lap_code lap_gemm_open(lap_gemm_backend backend, const char *core, lap_status *status) {
  LAP_TRY(backend == LAP_GEMM_OPENBLAS ? lap_blas_open(core, status)
                                       : lap_matmul_kernel_open(status));
  chosen = backend;
  return LAP_OK;
}

lap_gemm_backend lap_gemm_backend_here(void) { return chosen; }

const char *lap_gemm_describe(char words[LAP_GEMM_WORDS]) {
  if (chosen == LAP_GEMM_OPENBLAS)
    snprintf(words, LAP_GEMM_WORDS, "%s, %s kernels", lap_blas_version(), lap_blas_core());
  else
    snprintf(words, LAP_GEMM_WORDS, "lapidary, kernel %s", lap_matmul_kernel_here()->name);
  return words;
}

const char *lap_gemm_identity(char words[LAP_GEMM_WORDS]) {
  if (chosen == LAP_GEMM_OPENBLAS)
    snprintf(words, LAP_GEMM_WORDS, "openblas %s %s", lap_blas_core(), lap_blas_version());
  else
    snprintf(words, LAP_GEMM_WORDS, "lapidary");
  return words;
}
