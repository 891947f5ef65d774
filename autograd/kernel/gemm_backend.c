#include "autograd/kernel/gemm_backend.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/matmul/kernels.h"

/* As with an opened library, what computes is a property of the process. */
static lap_gemm_backend chosen = LAP_GEMM_LAPIDARY;
static lap_matmul_precision precision = LAP_MATMUL_FLOAT32;

/* Beyond its stack a process is killed without a word. */
static lap_code check_stack(lap_status *status) {
  struct rlimit stack;
  if (getrlimit(RLIMIT_STACK, &stack) != 0 || stack.rlim_cur >= LAP_GEMM_STACK) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "the stack of this process is limited to %" PRIu64
                  " KiB; products take up to %d: raise "
                  "the limit with ulimit -s, its hard limit with ulimit -H -s",
                  (uint64_t)stack.rlim_cur / 1024, LAP_GEMM_STACK / 1024);
}

lap_code lap_gemm_open(const lap_gemm_choice *choice, lap_status *status) {
  const bool openblas = choice->backend == LAP_GEMM_OPENBLAS;
  assert(!openblas || choice->precision == LAP_MATMUL_FLOAT32);
  LAP_TRY(check_stack(status));
  LAP_TRY(openblas ? lap_blas_open(choice->core, status) : lap_matmul_kernel_open(status));
  chosen = choice->backend;
  precision = choice->precision;
  return LAP_OK;
}

lap_gemm_backend lap_gemm_backend_here(void) { return chosen; }
lap_matmul_precision lap_gemm_precision_here(void) { return precision; }

const char *lap_gemm_describe(char words[LAP_GEMM_WORDS]) {
  if (chosen == LAP_GEMM_OPENBLAS)
    snprintf(words, LAP_GEMM_WORDS, "%s, %s kernels", lap_blas_version(), lap_blas_core());
  else
    snprintf(words, LAP_GEMM_WORDS, "lapidary, %s, kernel %s",
             precision == LAP_MATMUL_BFLOAT16 ? "bfloat16" : "float32",
             lap_matmul_kernel_here()->name);
  return words;
}

const char *lap_gemm_identity(char words[LAP_GEMM_WORDS]) {
  if (chosen == LAP_GEMM_OPENBLAS)
    snprintf(words, LAP_GEMM_WORDS, "openblas %s %s", lap_blas_core(), lap_blas_version());
  else
    snprintf(words, LAP_GEMM_WORDS, "lapidary%s",
             precision == LAP_MATMUL_BFLOAT16 ? " bfloat16" : "");
  return words;
}
