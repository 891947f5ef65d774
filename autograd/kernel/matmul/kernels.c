#include "autograd/kernel/matmul/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/matmul/multiply.h"
#include "core/memory.h"

const lap_matmul_kernel *const *lap_matmul_kernels(void) {
  static const lap_matmul_kernel *const kernels[] = {
#if defined(__x86_64__)
    &lap_matmul_amx,
    &lap_matmul_avx512_bf16,
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

/* --- does a kernel compute the definitions? --- */

/* Values whose sums depend on every rounding and on the order; some near the smallest. */
static float value(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  const int tiny = *state % 16 == 0 ? 80 : 0;
  return ldexpf((float)(int32_t)*state, (int)(*state >> 28) - 38 - tiny);
}

/* The shape of a product, and how A is stored: by which kernels choose whether they pack it. */
typedef struct {
  int64_t m, n, k, lda;
  bool transpose_a;
  lap_matmul_into into;
} probe;

enum { IN_PLACE = LAP_MATMUL_BLOCK, PACKED = LAP_MATMUL_LINE * LAP_MATMUL_CLASH }; /* lda */

static bool agrees_on(const lap_matmul_kernel *kernel, lap_matmul_precision precision,
                      const probe *shape) {
  enum { MOST = 40, TERMS = LAP_MATMUL_BLOCK };
  float a[MOST * PACKED], b[MOST * TERMS], c[2][MOST * MOST];
  uint32_t state = (uint32_t)(shape->m * 1000 + shape->n);
  for (int i = 0; i < MOST * PACKED; ++i) a[i] = value(&state);
  for (int i = 0; i < MOST * TERMS; ++i) b[i] = value(&state);
  for (int i = 0; i < MOST * MOST; ++i) c[0][i] = c[1][i] = value(&state);
  for (int i = 0; i < 2; ++i)
    lap_matmul_multiply(&(lap_matmul){.m = shape->m,
                                      .n = shape->n,
                                      .k = shape->k,
                                      .a = a,
                                      .b = b,
                                      .c = c[i],
                                      .lda = shape->lda,
                                      .ldb = MOST,
                                      .ldc = MOST,
                                      .transpose_a = shape->transpose_a,
                                      .precision = precision,
                                      .into = shape->into},
                        (i == 0 ? &lap_matmul_plain : kernel)->unit[precision]);
  /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): the bits must be equal */
  return memcmp(c[0], c[1], sizeof c[0]) == 0;
}

bool lap_matmul_kernel_agrees(const lap_matmul_kernel *kernel) {
  static const probe shapes[] = {{14, 32, 256, PACKED, false, LAP_MATMUL_ADD},
                                 {32, 40, 39, PACKED, true, LAP_MATMUL_SET},
                                 {3, 1, 33, PACKED, false, LAP_MATMUL_ADD},
                                 {14, 32, 256, IN_PLACE, false, LAP_MATMUL_ADD},
                                 {32, 40, 39, IN_PLACE, true, LAP_MATMUL_SET}};
  static const probe chain = {1, 31, 256, IN_PLACE, false, LAP_MATMUL_CHAIN};
  bool yes = agrees_on(kernel, LAP_MATMUL_FLOAT32, &chain);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int precision = 0; precision < LAP_MATMUL_PRECISIONS; ++precision)
      yes = yes && agrees_on(kernel, precision, &shapes[i]);
  return yes;
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
  FILE *out = lap_open_text(&text, &size);
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel) {
    known = known || strcmp(name, (*kernel)->name) == 0;
    if (strcmp(name, (*kernel)->name) != 0 && (*kernel)->runs_here())
      fprintf(out, "%s%s", ftell(out) > 0 ? ", " : "", (*kernel)->name);
  }
  lap_close_text(out, &text);
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
