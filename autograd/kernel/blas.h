/* blas: OpenBLAS, opened at run time with the core type that all ranks agreed on.
 *
 * OpenBLAS chooses its kernels when the library is loaded, from OPENBLAS_CORETYPE or the CPU, and
 * the kernels decide the bits of a GEMM. lapidary therefore opens the library itself, after the
 * ranks have agreed (docs/design.md#arithmetic: `blas_core: auto` is the best one that all ranks
 * share): linking it would fix the choice before main, when no rank can have heard of another.
 * Single-threaded inside; our own threads take tiles.
 */
#ifndef LAP_AUTOGRAD_KERNEL_BLAS_H
#define LAP_AUTOGRAD_KERNEL_BLAS_H

#include "core/status.h"

/* The core type with the fastest kernels that this CPU runs and whose bits depend on the name
 * alone: "SKYLAKEX" with AVX-512, else "HASWELL" with AVX2 and FMA; NULL where it has neither.
 * "ARMV8" on AArch64. */
const char *lap_blas_best_core(void);

/* The one that every processor of this build runs: "HASWELL", or "ARMV8". */
const char *lap_blas_common_core(void);

/* Opens OpenBLAS with this core type ("auto": lap_blas_best_core). Once a process; a second
 * call with the same core is fine. LAP_USAGE where the library is missing, the CPU cannot run
 * the core, or the library does not know it. Sets OPENBLAS_CORETYPE and OPENBLAS_NUM_THREADS
 * in the environment. */
lap_code lap_blas_open(const char *core, lap_status *status);

/* After open: the core type asked for, e.g. "HASWELL", and the library's own words about itself. */
const char *lap_blas_core(void);
const char *lap_blas_version(void);

/* For gemm.c: row-major C = alpha A B + beta C with optional transposes, as cblas_?gemm. */
typedef enum { LAP_PLAIN = 111, LAP_TRANSPOSED = 112 } lap_transpose;
void lap_blas_sgemm(lap_transpose ta, lap_transpose tb, int m, int n, int k, float alpha,
                    const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc);
void lap_blas_dgemm(lap_transpose ta, lap_transpose tb, int m, int n, int k, double alpha,
                    const double *a, int lda, const double *b, int ldb, double beta, double *c,
                    int ldc);

#endif
