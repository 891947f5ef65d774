/* gemm_backend: what computes matrix products of floats in this process, the config's `gemm`.
 *
 * `lapidary`: our own kernels (matmul/matmul.h), the same bits on every processor. `openblas`:
 * OpenBLAS of one core type (blas.h), which is then part of the numbers.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMM_BACKEND_H
#define LAP_AUTOGRAD_KERNEL_GEMM_BACKEND_H

#include "core/status.h"

typedef enum { LAP_GEMM_LAPIDARY, LAP_GEMM_OPENBLAS } lap_gemm_backend;

/* Before the first product of a program; without it LAP_GEMM_LAPIDARY computes. Of
 * LAP_GEMM_LAPIDARY chooses the kernel, and checks it (matmul/kernels.h): LAP_USAGE where
 * LAPIDARY_KERNEL names none that runs here. `core` is for LAP_GEMM_OPENBLAS, whose library it
 * opens: see lap_blas_open. */
lap_code lap_gemm_open(lap_gemm_backend backend, const char *core, lap_status *status);

lap_gemm_backend lap_gemm_backend_here(void);

/* What computes products, for people: "lapidary, kernel avx512", or "OpenBLAS 0.3.21, SKYLAKEX
 * kernels". */
enum { LAP_GEMM_WORDS = 192 };
const char *lap_gemm_describe(char words[LAP_GEMM_WORDS]);

/* What of it decides bits: "lapidary", or "openblas", its version and its core type. */
const char *lap_gemm_identity(char words[LAP_GEMM_WORDS]);

#endif
