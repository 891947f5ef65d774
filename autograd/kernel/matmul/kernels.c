#include "autograd/kernel/matmul/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const lap_matmul_kernel *const *lap_matmul_kernels(void) {
  static const lap_matmul_kernel *const kernels[] = {
#if defined(__x86_64__)
    &lap_matmul_avx512,
    &lap_matmul_avx2,
#elif defined(__aarch64__)
    &lap_matmul_neon,
#endif
    &lap_matmul_plain,
    NULL
  };
  return kernels;
}

/* --- does a kernel compute the definition? --- */

enum { MOST = 32, TERMS = LAP_MATMUL_BLOCK };

/* Values whose sums depend on every rounding and on the order. */
static float value(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return ldexpf((float)(int32_t)*state, (int)(*state >> 28) - 38);
}

static bool agrees(const lap_matmul_kernel *kernel, int64_t rows, int64_t columns, int64_t terms,
                   lap_matmul_into into) {
  float a[TERMS * MOST], b[TERMS * MOST], c[MOST * MOST];
  uint32_t state = (uint32_t)(rows * 1000 + columns);
  for (int i = 0; i < TERMS * MOST; ++i) a[i] = value(&state), b[i] = value(&state);
  for (int i = 0; i < MOST * MOST; ++i) c[i] = value(&state);
  float before[MOST * MOST];
  memcpy(before, c, sizeof c);
  kernel->tile(terms, a, MOST, b, c, MOST, rows, columns, into);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const float old = before[i * MOST + j];
      float sum = into == LAP_MATMUL_CHAIN ? old : 0;
      for (int64_t t = 0; t < terms; ++t)
        sum = fmaf(a[t * MOST + i], b[t * kernel->width + j], sum);
      const float expected =
          into == LAP_MATMUL_CHAIN ? sum : (into == LAP_MATMUL_SET ? 0.0f : old) + sum;
      /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): the bits must be equal */
      if (memcmp(&expected, &c[i * MOST + j], sizeof expected) != 0) return false;
    }
  return true;
}

bool lap_matmul_kernel_agrees(const lap_matmul_kernel *kernel) {
  return agrees(kernel, kernel->height, kernel->width, TERMS, LAP_MATMUL_ADD) &&
         agrees(kernel, kernel->height, kernel->width, 7, LAP_MATMUL_SET) &&
         agrees(kernel, 1, kernel->width - 1, TERMS, LAP_MATMUL_CHAIN) &&
         agrees(kernel, 3, 1, 33, LAP_MATMUL_ADD);
}

/* --- the one of this process --- */

/* The first that runs here, agrees with `plain`, and has this name, where there is one. */
static const lap_matmul_kernel *choose(const char *name) {
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel) {
    if ((name && strcmp(name, (*kernel)->name) != 0) || !(*kernel)->runs_here()) continue;
    if (lap_matmul_kernel_agrees(*kernel)) return *kernel;
    fprintf(stderr,
            "lapidary: the kernel %s does not give the bits of plain on this processor, so it is "
            "not used (docs/numbers.md)\n",
            (*kernel)->name);
  }
  return name ? NULL : &lap_matmul_plain;
}

/* Chosen once; what the processor can do is a property of the process. */
static const lap_matmul_kernel *chosen;

static lap_code refuse(const char *name, lap_status *status) {
  char *text = NULL;
  size_t size;
  bool known = false;
  FILE *out = open_memstream(&text, &size);
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel) {
    known = known || strcmp(name, (*kernel)->name) == 0;
    if (strcmp(name, (*kernel)->name) != 0 && (*kernel)->runs_here())
      fprintf(out, "%s%s", ftell(out) > 0 ? ", " : "", (*kernel)->name);
  }
  fclose(out);
  lap_fail(status, LAP_USAGE, "LAPIDARY_KERNEL=%s: %s; expected one of %s, or none for the fastest",
           name, known ? "this processor does not run it" : "this build has no such kernel", text);
  free(text);
  return LAP_USAGE;
}

lap_code lap_matmul_kernel_use(const char *name, lap_status *status) {
  const lap_matmul_kernel *kernel = choose(name);
  if (!kernel) return refuse(name, status);
  chosen = kernel;
  return LAP_OK;
}

lap_code lap_matmul_kernel_open(lap_status *status) {
  const char *name = getenv("LAPIDARY_KERNEL");
  if (name && *name) return lap_matmul_kernel_use(name, status);
  if (!chosen) chosen = choose(NULL);
  return LAP_OK;
}

const lap_matmul_kernel *lap_matmul_kernel_here(void) {
  lap_status ignored;
  if (!chosen && lap_matmul_kernel_open(&ignored) != LAP_OK) chosen = choose(NULL);
  return chosen;
}
