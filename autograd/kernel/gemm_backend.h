/* gemm_backend: what computes matrix products of floats in this process, the config's `gemm` and
 * `precision`.
 *
 * `lapidary`: our own kernels (matmul/matmul.h), the same bits on every processor, in float32 or
 * bfloat16. `openblas`: OpenBLAS of one core type (blas.h), which is then part of the numbers; in
 * float32 only.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMM_BACKEND_H
#define LAP_AUTOGRAD_KERNEL_GEMM_BACKEND_H

#include "autograd/kernel/matmul/kernel.h"
#include "core/status.h"

typedef enum { LAP_GEMM_LAPIDARY, LAP_GEMM_OPENBLAS } lap_gemm_backend;

typedef struct {
  lap_gemm_backend backend;
  lap_matmul_precision precision; /* LAP_MATMUL_FLOAT32 with LAP_GEMM_OPENBLAS */
  const char *core;               /* for LAP_GEMM_OPENBLAS: see lap_blas_open */
} lap_gemm_choice;

/* Bytes of stack that a thread needs which computes products: they pack their operands there. */
enum { LAP_GEMM_STACK = 2 << 20 };

/* Before the first product of a program, and before those of another model that is computed in
 * another way, for which nothing is created yet; without it LAP_GEMM_LAPIDARY computes in float32.
 * Of LAP_GEMM_LAPIDARY chooses the kernel, and checks it (matmul/kernels.h): LAP_USAGE where
 * LAPIDARY_KERNEL names none that runs here. Opens the library of LAP_GEMM_OPENBLAS. LAP_USAGE also
 * where the process may have less stack than LAP_GEMM_STACK. */
lap_code lap_gemm_open(const lap_gemm_choice *choice, lap_status *status);

lap_gemm_backend lap_gemm_backend_here(void);
lap_matmul_precision lap_gemm_precision_here(void);

/* What computes products, for people: "lapidary, float32, kernel avx512", or "OpenBLAS 0.3.21,
 * SKYLAKEX kernels". */
enum { LAP_GEMM_WORDS = 192 };
const char *lap_gemm_describe(char words[LAP_GEMM_WORDS]);

/* What of it decides bits: "lapidary", "lapidary bfloat16", or "openblas", its version and its core
 * type. */
const char *lap_gemm_identity(char words[LAP_GEMM_WORDS]);

#endif
