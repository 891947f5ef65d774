/* kernel: what a kernel of matrix products is, and the name of each.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_KERNEL_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

enum { LAP_MATMUL_BLOCK = 256 };

typedef enum {
  LAP_MATMUL_SET,   /* c0 is +0 */
  LAP_MATMUL_ADD,   /* c0 is the old value */
  LAP_MATMUL_CHAIN, /* all terms lie in one block, of which C holds the chain s so far (+0 at its
                      * beginning) and gets what it is after them; the caller adds it at its end */
} lap_matmul_into;

/* One block of at most 256 terms of a tile of C [rows, columns]: the sums over t of
 * a[t * a_stride + i] b[t * width + j] go into C. */
typedef void (*lap_matmul_tile)(int64_t terms, const float *a, int64_t a_stride, const float *b,
                                float *c, int64_t ldc, int64_t rows, int64_t columns,
                                lap_matmul_into into);

/* Lays out an operand for tiles: packed[t * stride + i] is element i of term t; stride is a
 * multiple of `lanes`, and what lies beyond `count` is anything. x is [terms, count] in pack_plain,
 * [count, terms] in pack_transposed, with ldx elements from row to row. */
typedef void (*lap_matmul_pack)(const float *x, int64_t ldx, int64_t count, int64_t terms,
                                float *packed, int64_t stride);

typedef struct {
  const char *name;
  int64_t lanes, height,
      width; /* of a vector, and of the largest tile; b has `width` columns a term */
  lap_matmul_tile tile;
  lap_matmul_pack pack_plain, pack_transposed;
  bool (*runs_here)(void); /* on this processor */
  /* Fused multiply-adds in registers and nothing else, `rounds` times those of a term of the
   * largest tile; returns how many. Their rate is the peak of this unit. */
  int64_t (*multiply_add)(int64_t rounds);
} lap_matmul_kernel;

extern const lap_matmul_kernel lap_matmul_plain;
#if defined(__x86_64__)
extern const lap_matmul_kernel lap_matmul_avx2, lap_matmul_avx512;
#elif defined(__aarch64__)
extern const lap_matmul_kernel lap_matmul_neon;
#endif

#endif
