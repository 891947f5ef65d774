#include "autograd/kernel/matmul/multiply.h"

#include <assert.h>
#include <string.h>

#include "core/half.h"

enum {
  PACKED_A = 1 << 16,   /* floats that a chunk of A takes: 256 KB, */
  PACKED_B = 1 << 18,   /* and a panel of B, at most: 1 MB */
  BLOCKS = 64,          /* of a span, at most */
  STRIPS = 8,           /* of a chunk of A, at most */
  TERMS_AT_ONCE = 32,   /* packed of all strips, where terms are rows; a multiple of a group */
  UNPACKED_TERMS = 128, /* of a strip that is held in bfloat16, at most; likewise */
  UNPACKED = 1 << 12,   /* floats that they take: 16 KB, which stay in a cache of level 1 */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* --- strips --- */

/* Rows are cut into strips of nearly equal height, counted in grains: 64 of height 14 = 13 + 13 +
 * 13 + 13 + 12, not 4 x 14 + 8. */
typedef struct {
  int64_t count, grain, height, larger; /* in grains; the first `larger` strips have one more */
  int64_t end;
} strips;

static strips cut(int64_t rows, int64_t height, int64_t grain) {
  const int64_t grains = (rows + grain - 1) / grain, tallest = height / grain;
  const int64_t count = (grains + tallest - 1) / tallest;
  return (strips){count, grain, grains / count, grains % count, rows};
}

static int64_t strip_begin(const strips *s, int64_t index) {
  return least((index * s->height + least(index, s->larger)) * s->grain, s->end);
}

/* A block of terms: `terms` of memory, after `lead` of zero, `all` with those that complete the
 * last group. */
typedef struct {
  int64_t lead, terms, all;
} term_range;

/* An operand from one of its elements on, in the form in which it is stored. */
typedef struct {
  const float *values;
  const uint16_t *bfloat16; /* NULL, or `values` is */
  int64_t ld;
  bool terms_are_rows;
} stored;

static stored stored_at(const float *values, const uint16_t *bfloat16, int64_t at, int64_t ld,
                        bool terms_are_rows) {
  return (stored){bfloat16 ? NULL : values + at, bfloat16 ? bfloat16 + at : NULL, ld,
                  terms_are_rows};
}

/* How a unit packs an operand. */
typedef struct {
  lap_matmul_pack floats;
  lap_matmul_pack_held held; /* NULL: by way of floats */
  int64_t stride;
} packer;

static packer a_packer(const lap_matmul_unit *unit, bool by_terms) {
  const lap_matmul_held_packs *held = unit->held;
  return (packer){by_terms ? unit->a_by_terms : unit->a_by_elements,
                  !held      ? NULL
                  : by_terms ? held->a_by_terms
                             : held->a_by_elements,
                  unit->a_stride};
}

static packer b_packer(const lap_matmul_unit *unit, bool by_terms) {
  const lap_matmul_held_packs *held = unit->held;
  return (packer){by_terms ? unit->b_by_terms : unit->b_by_elements,
                  !held      ? NULL
                  : by_terms ? held->b_by_terms
                             : held->b_by_elements,
                  unit->b_stride};
}

/* The elements from `at` on. */
static void pack_stored(const packer *by, const stored *x, int64_t at, int64_t count, int64_t lead,
                        int64_t terms, float *packed) {
  if (x->values) {
    by->floats(x->values + at, x->ld, count, lead, terms, packed);
    return;
  }
  if (by->held) {
    by->held(x->bfloat16 + at, x->ld, count, lead, terms, packed);
    return;
  }
  float unpacked[UNPACKED] __attribute__((aligned(64)));
  const int64_t rows = x->terms_are_rows ? terms : count, width = x->terms_are_rows ? count : terms;
  assert(rows * width <= UNPACKED);
  for (int64_t r = 0; r < rows; ++r)
    lap_bfloat16_unpack(x->bfloat16 + at + r * x->ld, width, unpacked + r * width);
  by->floats(unpacked, width, count, lead, terms, packed);
}

/* Packs strips of an operand. One stored term after the other, where terms are its rows: reading
 * one strip after the other would jump from row to row for a few elements each. */
static void pack_strips(const packer *by, const stored *x, const term_range *range, const strips *s,
                        float *packed) {
  const int64_t step = x->terms_are_rows          ? TERMS_AT_ONCE
                       : x->bfloat16 && !by->held ? UNPACKED_TERMS
                                                  : range->all;
  for (int64_t t = 0; t < range->all; t += step) {
    const int64_t begin = most(t, range->lead), from = begin - range->lead;
    const int64_t end = least(t + step, range->lead + range->terms);
    for (int64_t i = 0; i < s->count; ++i) {
      const int64_t first = strip_begin(s, i), count = strip_begin(s, i + 1) - first;
      pack_stored(by, x, x->terms_are_rows ? from * x->ld + first : first * x->ld + from, count,
                  begin - t, end - begin, packed + (i * range->all + t) * by->stride);
    }
  }
}

/* --- one block of terms --- */

/* How tiles get A: packed before them; where it lies; or the first tile of each strip takes it from
 * there and packs it for the others, which hides what packing takes behind the multiplications. */
typedef enum { PACKED, IN_PLACE, BY_FIRST_TILES } source_of_a;

/* Packing A is worth its time where many strips of B meet it. */
static source_of_a source_for(const lap_matmul *p, const lap_matmul_unit *unit, int64_t columns) {
  enum { FEW_STRIPS = 8 };
  if (!unit->tile_in_place || !p->a) return PACKED;
  if (columns <= FEW_STRIPS * unit->width && lap_matmul_spreads(p->lda)) return IN_PLACE;
  return p->transpose_a ? BY_FIRST_TILES : PACKED;
}

/* Rows [i0, i0 + rows) and columns [j0, j0 + columns) of C, over one block of terms from the k-th
 * on. */
typedef struct {
  const lap_matmul *p;
  const lap_matmul_unit *unit;
  int64_t k;
  const term_range *range;
  int64_t i0, rows, j0, columns;
  const float *strips_b; /* strip_floats each */
  int64_t strip_floats;
  float *unpacked_b; /* strips_b, which the first tile of each is still to pack; NULL: they are */
  lap_matmul_into into;
} chunk;

static int64_t offset_of_a(const lap_matmul *p, int64_t i, int64_t k) {
  return p->transpose_a ? k * p->lda + i : i * p->lda + k;
}

static void pack_a(const chunk *c, const strips *s, float *packed) {
  const lap_matmul *p = c->p;
  const stored a =
      stored_at(p->a, p->a_bfloat16, offset_of_a(p, c->i0, c->k), p->lda, p->transpose_a);
  const packer by = a_packer(c->unit, p->transpose_a);
  pack_strips(&by, &a, c->range, s, packed);
}

static lap_matmul_strip a_in_place(const chunk *c, int64_t row, float *packed) {
  const lap_matmul *p = c->p;
  const float *first = p->a + offset_of_a(p, c->i0 + row, c->k);
  return p->transpose_a ? (lap_matmul_strip){first, 1, p->lda, packed}
                        : (lap_matmul_strip){first, p->lda, 1, packed};
}

static lap_matmul_strip b_in_place(const chunk *c, int64_t j) {
  const lap_matmul *p = c->p;
  return (lap_matmul_strip){p->b + c->k * p->ldb + c->j0 + j, 1, p->ldb,
                            c->unpacked_b + j / c->unit->width * c->strip_floats};
}

/* The tile of strip i of A, at `packed_a`, and of the strip of B at column j, at `packed_b`. */
static void multiply_tile(const chunk *c, source_of_a source, const strips *s, int64_t i, int64_t j,
                          float *packed_a, const float *packed_b) {
  const lap_matmul_unit *unit = c->unit;
  const int64_t begin = strip_begin(s, i), rows = strip_begin(s, i + 1) - begin;
  const int64_t columns = least(unit->width, c->columns - j), ldc = c->p->ldc;
  float *here = c->p->c + (c->i0 + begin) * ldc + c->j0 + j;
  const bool takes_a = source == IN_PLACE || (source == BY_FIRST_TILES && j == 0);
  const bool takes_b = c->unpacked_b && i == 0;
  if (takes_a || takes_b) {
    const lap_matmul_strip a = takes_a ? a_in_place(c, begin, source == IN_PLACE ? NULL : packed_a)
                                       : (lap_matmul_strip){packed_a, 1, unit->a_stride, NULL};
    const lap_matmul_strip b =
        takes_b ? b_in_place(c, j) : (lap_matmul_strip){packed_b, 1, unit->b_stride, NULL};
    unit->tile_in_place(c->range->terms, &a, &b, here, ldc, rows, columns, c->into);
    return;
  }
  const int64_t part = unit->b_stride * c->range->all / s->count;
  const lap_matmul_soon soon = {
      i + 1 < s->count ? here + rows * ldc : here - begin * ldc + unit->width,
      packed_b + c->strip_floats + i * part, part};
  unit->tile(c->range->all, packed_a, packed_b, here, ldc, rows, columns, c->into, &soon);
}

static void multiply_chunk(const chunk *c) {
  const lap_matmul_unit *unit = c->unit;
  float packed_a[PACKED_A] __attribute__((aligned(64)));
  const strips s = cut(c->rows, unit->height, unit->grain);
  const source_of_a source = source_for(c->p, unit, c->columns);
  if (source == PACKED) pack_a(c, &s, packed_a);
  const float *packed_b = c->strips_b;
  for (int64_t j = 0; j < c->columns; j += unit->width, packed_b += c->strip_floats)
    for (int64_t i = 0; i < s.count; ++i)
      multiply_tile(c, source, &s, i, j, packed_a + i * unit->a_stride * c->range->all, packed_b);
}

/* --- a span of blocks --- */

/* Blocks whose strips of B are packed together, so that C stays in a cache from one to the next. */
typedef struct {
  int64_t all; /* terms of zero too */
  int count;
  struct {
    int64_t k, before; /* its first term; terms, of zero too, of the span's blocks before it */
    term_range range;
  } block[BLOCKS];
} span;

/* From the k-th term to the end of its block, of its segment, or of all. Segments of whole groups
 * end no group early: in bfloat16 they do not matter. */
static term_range terms_from(const lap_matmul *p, const lap_matmul_unit *unit, int64_t k) {
  const int64_t segment = unit->group > 1 && p->segment % unit->group == 0 ? 0 : p->segment;
  const int64_t index = p->first + k, in_segment = segment ? index % segment : index;
  int64_t terms = least(unit->block - in_segment % unit->block, p->k - k);
  if (segment) terms = least(terms, segment - in_segment);
  const int64_t lead = in_segment % unit->group;
  return (term_range){lead, terms, (lead + terms + unit->group - 1) / unit->group * unit->group};
}

static span span_from(const lap_matmul *p, const lap_matmul_unit *unit, int64_t k) {
  span made = {.count = 0};
  while (k < p->k && made.count < BLOCKS) {
    const term_range range = terms_from(p, unit, k);
    if (made.count > 0 && made.all + range.all > unit->span) break;
    made.block[made.count].k = k;
    made.block[made.count].before = made.all;
    made.block[made.count++].range = range;
    made.all += range.all;
    k += range.terms;
  }
  return made;
}

/* The columns from j0 on, of the block's terms from the k-th on. */
static void pack_block(const lap_matmul *p, const lap_matmul_unit *unit, int64_t k, int64_t j0,
                       const term_range *range, const strips *s, float *packed) {
  const stored x =
      stored_at(p->b, p->b_bfloat16, p->transpose_b ? j0 * p->ldb + k : k * p->ldb + j0, p->ldb,
                !p->transpose_b);
  const packer by = b_packer(unit, !p->transpose_b);
  pack_strips(&by, &x, range, s, packed);
}

/* Rows of A that are packed at once. */
static int64_t chunk_rows(const lap_matmul_unit *unit) {
  return least(STRIPS, PACKED_A / (unit->block * unit->a_stride)) * unit->height;
}

/* Whether the first tiles pack B too: whole strips whose terms are rows, with strips of A that are
 * packed or whose terms are rows likewise. */
static bool tiles_pack_b(const lap_matmul *p, const lap_matmul_unit *unit, int64_t columns) {
  const bool a_fits = p->transpose_a || source_for(p, unit, columns) == PACKED;
  return unit->tile_in_place && a_fits && p->b && !p->transpose_b && columns % unit->width == 0;
}

static void multiply_panel(const lap_matmul *p, const lap_matmul_unit *unit, const span *terms,
                           int64_t j0, int64_t columns) {
  float packed_b[PACKED_B] __attribute__((aligned(64)));
  const strips s = cut(columns, unit->width, unit->width);
  const int64_t most_rows = chunk_rows(unit);
  const bool by_tiles = tiles_pack_b(p, unit, columns);
  for (int64_t i = 0; i < p->m; i += most_rows)
    for (int b = 0; b < terms->count; ++b) {
      const term_range *range = &terms->block[b].range;
      float *strips_b = packed_b + terms->block[b].before * s.count * unit->b_stride;
      if (i == 0 && !by_tiles) pack_block(p, unit, terms->block[b].k, j0, range, &s, strips_b);
      multiply_chunk(&(chunk){.p = p,
                              .unit = unit,
                              .k = terms->block[b].k,
                              .range = range,
                              .i0 = i,
                              .rows = least(most_rows, p->m - i),
                              .j0 = j0,
                              .columns = columns,
                              .strips_b = strips_b,
                              .strip_floats = range->all * unit->b_stride,
                              .unpacked_b = i == 0 && by_tiles ? strips_b : NULL,
                              .into = terms->block[b].k > 0 ? LAP_MATMUL_ADD : p->into});
    }
}

/* --- a B that was laid out before --- */

/* The terms of a block, at a multiple of the unit's, with those that complete the last group. */
static term_range whole_block(const lap_matmul_unit *unit, int64_t begin, int64_t k) {
  const int64_t terms = least(unit->block, k - begin);
  return (term_range){0, terms, (terms + unit->group - 1) / unit->group * unit->group};
}

/* Where a block begins: all strips of the blocks before it are whole. */
static int64_t block_offset(const lap_matmul_unit *unit, int64_t n, int64_t begin) {
  return (n + unit->width - 1) / unit->width * unit->b_stride * begin;
}

int64_t lap_matmul_packed_floats_of(const lap_matmul_unit *unit, int64_t n, int64_t k) {
  const int64_t all = (k + unit->group - 1) / unit->group * unit->group;
  return block_offset(unit, n, all);
}

void lap_matmul_pack_b_for(const lap_matmul *p, const lap_matmul_unit *unit, int64_t begin,
                           int64_t end, float *packed) {
  assert(begin % unit->width == 0);
  const strips s = cut(end - begin, unit->width, unit->width);
  for (int64_t k = 0; k < p->k; k += unit->block) {
    const term_range range = whole_block(unit, k, p->k);
    pack_block(
        p, unit, k, begin, &range, &s,
        packed + block_offset(unit, p->n, k) + begin / unit->width * unit->b_stride * range.all);
  }
}

/* A block may begin in the middle of one that was laid out: at whole groups, of which A has zeros
 * where the product has no terms. */
static void multiply_packed(const lap_matmul *p, const lap_matmul_unit *unit) {
  assert(p->segment == 0 && p->packed_column % unit->width == 0);
  assert(p->first + p->k <= p->packed_terms && p->packed_column + p->n <= p->packed_columns);
  const int64_t rows = chunk_rows(unit);
  for (int64_t i = 0; i < p->m; i += rows)
    for (int64_t k = 0; k < p->k;) {
      const term_range range = terms_from(p, unit, k);
      const int64_t begin = (p->first + k) / unit->block * unit->block;
      const int64_t strip = whole_block(unit, begin, p->packed_terms).all * unit->b_stride;
      const float *strips_b = p->b_packed + block_offset(unit, p->packed_columns, begin) +
                              p->packed_column / unit->width * strip +
                              (p->first + k - begin - range.lead) * unit->b_stride;
      multiply_chunk(&(chunk){.p = p,
                              .unit = unit,
                              .k = k,
                              .range = &range,
                              .i0 = i,
                              .rows = least(rows, p->m - i),
                              .columns = p->n,
                              .strips_b = strips_b,
                              .strip_floats = strip,
                              .into = k > 0 ? LAP_MATMUL_ADD : p->into});
      k += range.terms;
    }
}

/* --- the whole product --- */

static void clear(const lap_matmul *p) {
  for (int64_t i = 0; i < p->m; ++i) memset(p->c + i * p->ldc, 0, (size_t)p->n * sizeof *p->c);
}

/* As many columns at a time as a span of these terms leaves room for. */
static void multiply(const lap_matmul *p, const lap_matmul_unit *unit) {
  for (int64_t k = 0; k < p->k;) {
    const span terms = span_from(p, unit, k);
    const int64_t panel = PACKED_B / (terms.all * unit->b_stride) * unit->width;
    assert(panel > 0);
    for (int64_t j = 0; j < p->n; j += panel)
      multiply_panel(p, unit, &terms, j, least(panel, p->n - j));
    const int last = terms.count - 1;
    k = terms.block[last].k + terms.block[last].range.terms;
  }
}

void lap_matmul_multiply(const lap_matmul *p, const lap_matmul_unit *unit) {
  if (p->k == 0 && p->into == LAP_MATMUL_SET) clear(p);
  assert(p->into != LAP_MATMUL_CHAIN ||
         (p->precision == LAP_MATMUL_FLOAT32 && terms_from(p, unit, 0).terms == p->k));
  const unsigned before = unit->enter();
  if (p->b_packed)
    multiply_packed(p, unit);
  else
    multiply(p, unit);
  unit->leave(before);
}
