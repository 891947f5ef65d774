/* kernel: what a kernel of matrix products is, and the name of each.
 *
 * A kernel computes both precisions that product.h defines, each by a unit: how it lays operands
 * out (packs them) in strips, and how it multiplies two strips into a tile of C.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_KERNEL_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

enum {
  LAP_MATMUL_BLOCK = 256, /* terms of a chain in float32 */
  LAP_MATMUL_GROUP = 32,  /* terms of a pair of chains in bfloat16 */
};

typedef enum {
  LAP_MATMUL_FLOAT32,
  LAP_MATMUL_BFLOAT16,
  LAP_MATMUL_PRECISIONS
} lap_matmul_precision;

typedef enum {
  LAP_MATMUL_SET,   /* c0 is +0 */
  LAP_MATMUL_ADD,   /* c0 is the old value */
  LAP_MATMUL_CHAIN, /* float32: all terms lie in one block, of which C holds the chain s so far (+0
                     * at its beginning) and gets what it is after them; the caller adds it at its
                     * end */
} lap_matmul_into;

/* Lays out `count` rows or columns of an operand as one strip, terms in order, after `lead` terms
 * of zero and before as many as complete a group. x is [terms, count] in a pack by terms, [count,
 * terms] in one by elements, with ldx floats from row to row. What a strip has beyond `count` is
 * anything that does no harm: nothing reads what becomes of it. */
typedef void (*lap_matmul_pack)(const float *x, int64_t ldx, int64_t count, int64_t lead,
                                int64_t terms, float *packed);

/* The same of an operand that is held in bfloat16. */
typedef void (*lap_matmul_pack_held)(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                                     int64_t terms, float *packed);

typedef struct {
  lap_matmul_pack_held a_by_terms, a_by_elements, b_by_terms, b_by_elements;
} lap_matmul_held_packs;

/* What the next tiles will read, for kernels that prefetch it. */
typedef struct {
  const float *c; /* the next tile of C, with the same ldc; past its end after the last */
  const float *b; /* a part of the next strip of B */
  int64_t b_floats;
} lap_matmul_soon;

/* Sums over the terms of a strip of A and a strip of B go into a tile of C [rows, columns]. `terms`
 * counts those of zero too: whole groups, one block at most. */
typedef void (*lap_matmul_tile)(int64_t terms, const float *a, const float *b, float *c,
                                int64_t ldc, int64_t rows, int64_t columns, lap_matmul_into into,
                                const lap_matmul_soon *soon);

/* A strip where it lies: element i of term t is first[i * element + t * term]. One of the two
 * distances is 1. `packed`, where terms are rows: the strip is laid out there as its terms are
 * read, for the tiles that follow; NULL: it is not. */
typedef struct {
  const float *first;
  int64_t element, term;
  float *packed;
} lap_matmul_strip;

/* As lap_matmul_tile, where A, B or both lie as they are stored; the other is packed. Such a B is
 * always packed on the way; it has `width` columns, and its `element` and that of A are 1. */
typedef void (*lap_matmul_tile_in_place)(int64_t terms, const lap_matmul_strip *a,
                                         const lap_matmul_strip *b, float *c, int64_t ldc,
                                         int64_t rows, int64_t columns, lap_matmul_into into);

typedef struct {
  int64_t height, width;      /* of the largest tile: rows of a strip of A, columns of one of B */
  int64_t grain;              /* strips of A have a multiple of it of rows, but for the last */
  int64_t a_stride, b_stride; /* floats of memory that a term takes in a strip */
  int64_t block;              /* most terms of a strip */
  int64_t span;  /* most terms of which strips of B are packed at once, in several blocks; more
                 * terms leave room for fewer columns, and each panel of columns packs A again */
  int64_t group; /* its terms are a multiple of it */
  lap_matmul_tile tile;
  lap_matmul_tile_in_place tile_in_place; /* NULL: A is always packed */
  lap_matmul_pack a_by_terms, a_by_elements, b_by_terms, b_by_elements;
  const lap_matmul_held_packs *held; /* NULL: such an operand becomes float32 first */
  /* Around all tiles of a thread's product: the state of the thread that they need. */
  unsigned (*enter)(void);
  void (*leave)(unsigned before);
  /* The multiply-adds of `rounds` terms (whole groups) of a largest tile in registers, and nothing
   * else, between enter and leave; returns how many. Their rate is the peak. */
  int64_t (*multiply_add)(int64_t rounds);
} lap_matmul_unit;

typedef struct {
  const char *name;
  const lap_matmul_unit *unit[LAP_MATMUL_PRECISIONS];
  bool (*runs_here)(void); /* on this processor */
  const char *bfloat16;    /* how it multiplies bfloat16, for people: "by tile units" */
} lap_matmul_kernel;

extern const lap_matmul_kernel lap_matmul_plain;
#if defined(__x86_64__)
extern const lap_matmul_unit lap_matmul_avx2_float32, lap_matmul_avx512_float32;
extern const lap_matmul_kernel lap_matmul_avx2, lap_matmul_avx512;
/* Others for bfloat16; for float32 they have avx512's unit. */
extern const lap_matmul_kernel lap_matmul_avx512_bf16, lap_matmul_amx;
#elif defined(__aarch64__)
extern const lap_matmul_unit lap_matmul_neon_float32;
extern const lap_matmul_kernel lap_matmul_neon;
#endif

#endif
