#include "autograd/kernel/blas.h"

#include <assert.h>
#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef void (*sgemm_function)(int, int, int, int, int, int, float, const float *, int,
                               const float *, int, float, float *, int);
typedef void (*dgemm_function)(int, int, int, int, int, int, double, const double *, int,
                               const double *, int, double, double *, int);

/* A loaded library is a property of the process; this is the one record of it. */
static struct {
  sgemm_function sgemm;
  dgemm_function dgemm;
  char core[32];
  char version[128];
} library;

const char *lap_blas_common_core(void) {
#if defined(__aarch64__)
  return "ARMV8";
#else
  return "HASWELL";
#endif
}

const char *lap_blas_best_core(void) {
#if defined(__aarch64__)
  return "ARMV8";
#elif defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return "SKYLAKEX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "HASWELL";
#endif
  return NULL;
}

/* The instruction sets that a core type's kernels need; a wrong guess would end in SIGILL. */
static lap_code check_runnable(const char *core, lap_status *status) {
  const char *best = lap_blas_best_core();
  if (!best)
    return lap_fail(status, LAP_USAGE,
                    "this CPU has no AVX2 and FMA; lapidary needs an x86-64-v3 CPU or newer");
  const int wide =
      !strcmp(core, "SKYLAKEX") || !strcmp(core, "COOPERLAKE") || !strcmp(core, "SAPPHIRERAPIDS");
  if (wide && strcmp(best, "SKYLAKEX"))
    return lap_fail(status, LAP_USAGE,
                    "blas_core: %s needs AVX-512, which this CPU lacks; use %s, or run on the "
                    "kind of machine that the run was started on",
                    core, lap_blas_common_core());
  return LAP_OK;
}

static lap_code load(const char *core, lap_status *status) {
  setenv("OPENBLAS_CORETYPE", core, 1);
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
  void *handle = dlopen(LAPIDARY_OPENBLAS, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return lap_fail(status, LAP_USAGE, "OpenBLAS cannot be loaded: %s; install libopenblas0",
                    dlerror());
  library.sgemm = (sgemm_function)dlsym(handle, "cblas_sgemm");
  library.dgemm = (dgemm_function)dlsym(handle, "cblas_dgemm");
  char *(*corename)(void) = (char *(*)(void))dlsym(handle, "openblas_get_corename");
  char *(*config)(void) = (char *(*)(void))dlsym(handle, "openblas_get_config");
  if (!library.sgemm || !library.dgemm || !corename || !config)
    /* cppcheck-suppress resourceLeak ; without OpenBLAS the command ends */
    return lap_fail(status, LAP_USAGE, "%s is not an OpenBLAS with CBLAS: %s", LAPIDARY_OPENBLAS,
                    dlerror());
  if (strcasecmp(corename(), core))
    /* cppcheck-suppress resourceLeak ; and so it does without this core */
    return lap_fail(status, LAP_USAGE,
                    "blas_core: this OpenBLAS does not know %s (it took %s); use %s", core,
                    corename(), lap_blas_common_core());
  snprintf(library.core, sizeof library.core, "%s", core);
  /* "OpenBLAS 0.3.21 DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64": name and version. */
  int words = 0;
  size_t length = 0;
  for (const char *c = config(); *c && length + 1 < sizeof library.version; ++c) {
    if (isspace((unsigned char)*c) && ++words == 2) break;
    library.version[length++] = *c;
  }
  library.version[length] = '\0';
  return LAP_OK;
}

lap_code lap_blas_open(const char *core, lap_status *status) {
  if (!strcmp(core, "auto")) {
    core = lap_blas_best_core();
    if (!core) core = lap_blas_common_core();
  }
  if (library.core[0]) {
    if (!strcmp(library.core, core)) return LAP_OK;
    return lap_fail(status, LAP_USAGE, "blas_core: %s is loaded already, %s was asked for",
                    library.core, core);
  }
  LAP_TRY(check_runnable(core, status));
  return load(core, status);
}

const char *lap_blas_core(void) { return library.core; }
const char *lap_blas_version(void) { return library.version; }

enum { ROW_MAJOR = 101 };

void lap_blas_sgemm(lap_transpose ta, lap_transpose tb, int m, int n, int k, float alpha,
                    const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc) {
  assert(library.sgemm);
  library.sgemm(ROW_MAJOR, (int)ta, (int)tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void lap_blas_dgemm(lap_transpose ta, lap_transpose tb, int m, int n, int k, double alpha,
                    const double *a, int lda, const double *b, int ldb, double beta, double *c,
                    int ldc) {
  assert(library.dgemm);
  library.dgemm(ROW_MAJOR, (int)ta, (int)tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
