/* lm_head_loss: the tied output head, the final soft-cap and the loss, over chunks of positions
 *   x [BT, H] input     w_s [V/M, H] the embedding, shard by shard
 *   loss [1, 1], the sum over counted positions
 *   u = x w^T     z = cap tanh(u / cap)     loss and d loss / d u by loss_row
 *
 * A chunk of positions meets the ids panel by panel, and a panel of logits [rows, PANEL] stays in
 * the nearest caches from its product to what is read off it: its masses (loss_row), and, when
 * those of the whole row are known, the gradients that feed dx and dw at once. In between logits
 * lie in memory, panel by panel, so that a training step makes each logit once; a forward pass
 * keeps one panel only. In bfloat16 weights are laid out once for all chunks of a micro-batch,
 * where a kernel gains by it. Logits stay with their shard. For each position of a chunk the shards
 * bring together, in this order: the largest logit of the rest, the target's and the kept ones
 * (-inf where another shard has the id); the masses of the rest; and, backward, dx.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "autograd/kernel/gemm.h"
#include "autograd/kernel/vector.h"
#include "autograd/op/loss_row.h"
#include "autograd/op/ops.h"
#include "autograd/op/projection.h"
#include "core/memory.h"

/* 4 Mi logits, but at least one block of the sum over positions that dw is (kernel/matmul), and
 * whole blocks: then chunks decide no bit. Several short sequences share a chunk. */
int64_t lap_lm_head_chunk(int64_t ids, int64_t length) {
  enum { BLOCK = LAP_MATMUL_BLOCK, MOST = 1024 };
  const int64_t wanted = (INT64_C(1) << 22) / ids / BLOCK * BLOCK;
  const int64_t chunk = wanted < BLOCK ? BLOCK : wanted > MOST ? MOST : wanted;
  return length < chunk ? chunk / length * length : chunk;
}

void lap_lm_head_logits(const real *x, const lap_operand *weight, int64_t rows, double softcap,
                        real *logits) {
  const int64_t vocab = weight->rows;
  const lap_projection p = {.rows = rows, .in = weight->columns, .out = vocab};
  lap_projection_forward(&p, x, weight, logits);
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r)
    lap_vector_softcap(logits + r * vocab, vocab, 1, (real)softcap);
}

/* --- a chunk and its scratch memory --- */

/* Ids at a time: whole panels of masses, and with 256 positions half of a nearest cache. */
enum { PANEL = LAP_ROW_PANEL };
/* From row to row of a panel of `count` ids, so that products can read it where it lies. */
static int64_t panel_stride(int64_t count) { return lap_matmul_spread(count); }

typedef struct {
  int64_t begin, rows;                /* positions [begin, begin + rows) */
  int64_t vocab;                      /* of one shard */
  bool holds;                         /* gradients of logits are held in bfloat16 */
  int64_t k;                          /* ids that the teacher kept */
  int64_t packed_size;                /* of a shard; 0: products read weights as they are */
  real *panel;                        /* [rows, panel_stride]: logits, or their gradients */
  real *logits;                       /* [S][panels][rows, PANEL], soft-capped; forward: NULL */
  real *known;                        /* [rows, 2 + k]: the ends of each row and its kept logits */
  real *weights;                      /* [rows, k] */
  lap_row_rest *rest;                 /* [S][rows] */
  lap_row_coefficients *coefficients; /* [rows] */
  double *parts;                    /* [S][rows, 2]: masses of each shard; one shard: the masses */
  double *sums;                     /* [rows, 2]: those of all shards */
  real *dx;                         /* [S][rows, H], where the model is several shards */
  real *dx_sum;                     /* [rows, H], where dx holds an earlier part */
  real *packed_transposed, *packed; /* [S]: w^T and w, laid out for all chunks */
} chunk;

/* Ids [first, first + count) of shard s, counted from the first that is held here. */
typedef struct {
  int s;
  int64_t first, count;
  real *logits; /* [rows, count], where they wait in memory */
} panel;

static int64_t aligned(int64_t reals) {
  enum { ALIGN = LAP_ALIGNMENT / sizeof(real) };
  return (reals + ALIGN - 1) / ALIGN * ALIGN;
}

/* Positions at a time: no more than there are, so that small batches take little memory. Each chunk
 * brings shards together thrice, so its size counts the ids that are held here, of which all ranks
 * have as many; with OpenBLAS, which has other bits for other sizes, all ids count. */
static int64_t chunk_of(const lap_op_call *call, int64_t length, bool openblas) {
  const lap_shard_range *shards = &((const lap_lm_head_loss_attributes *)call->attributes)->shards;
  const int64_t ids = call->input[1].rows * (openblas ? shards->of : shards->count);
  const int64_t rows = call->input[0].rows, most = lap_lm_head_chunk(ids, length);
  return most < rows ? most : rows;
}

static int64_t reals(int64_t count, size_t size) {
  return (int64_t)(((size_t)count * size + sizeof(real) - 1) / sizeof(real));
}

/* Hands out `memory` for chunks of `rows` positions; returns how much is taken, also of NULL. */
static int64_t lay_out(const lap_op_call *call, real *memory, int64_t rows, int64_t k,
                       bool bfloat16, bool backward, chunk *made) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t hidden = call->input[0].columns, vocab = call->input[1].rows;
  const bool alone = attributes->shards.of == 1;
  const int64_t shards = attributes->shards.count;
  const int64_t masses = reals(rows * LAP_ROW_MASSES, sizeof(double));
  const int64_t dx = backward && !alone ? rows * hidden : 0;
  const bool lays_out = backward && bfloat16 && rows < call->input[0].rows;
  const int64_t packed = lays_out ? lap_gemm_packed_size(vocab, hidden) / 2 : 0;
  const int64_t sizes[] = {rows * panel_stride(vocab < PANEL ? vocab : PANEL),
                           backward ? shards * rows * vocab : 0,
                           rows * (LAP_ROW_ENDS + k),
                           rows * k,
                           reals(shards * rows, sizeof(lap_row_rest)),
                           reals(rows, sizeof(lap_row_coefficients)),
                           shards * masses,
                           alone ? 0 : masses,
                           shards * dx,
                           dx,
                           shards * packed,
                           shards * packed};
  enum { PIECES = sizeof sizes / sizeof *sizes };
  real *piece[PIECES];
  int64_t taken = 0;
  for (int i = 0; i < PIECES; ++i) {
    piece[i] = memory ? memory + taken : NULL;
    taken += aligned(sizes[i]);
  }
  *made = (chunk){.vocab = vocab,
                  .holds = bfloat16,
                  .k = k,
                  .panel = piece[0],
                  .logits = backward ? piece[1] : NULL,
                  .known = piece[2],
                  .weights = piece[3],
                  .rest = (lap_row_rest *)piece[4],
                  .coefficients = (lap_row_coefficients *)piece[5],
                  .parts = (double *)piece[6],
                  .sums = (double *)piece[alone ? 6 : 7],
                  .dx = piece[8],
                  .dx_sum = piece[9],
                  .packed_size = lap_gemm_packs_halves() ? packed : 0,
                  .packed_transposed = piece[10],
                  .packed = piece[11]};
  return taken;
}

static panel panel_of(const chunk *c, int s, int64_t first) {
  const int64_t left = c->vocab - first;
  return (panel){s, first, left < PANEL ? left : PANEL,
                 c->logits ? c->logits + (s * c->vocab + first) * c->rows : NULL};
}

static void for_panels(const lap_op_call *call, const chunk *c,
                       void (*visit)(const lap_op_call *call, const chunk *c, const panel *p)) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  for (int s = 0; s < attributes->shards.count; ++s)
    for (int64_t first = 0; first < c->vocab; first += PANEL) {
      const panel p = panel_of(c, s, first);
      visit(call, c, &p);
    }
}

/* --- losses of a chunk --- */

static lap_row_labels labels_of(const lap_op_call *call, int64_t r) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const lap_batch *batch = call->batch;
  lap_row_labels labels = {.target = batch->targets[r],
                           .k = batch->k,
                           .objective = &attributes->objective,
                           .softcap = attributes->softcap};
  if (labels.k > 0) {
    const int64_t row = batch->one_row ? 0 : r;
    labels.ids = batch->teacher_ids + row * labels.k;
    labels.probability = batch->teacher_probability + row * labels.k;
    labels.tail = batch->teacher_tail[r];
    labels.teacher_entropy = batch->teacher_entropy[r];
  }
  return labels;
}

static real *ends_of(const chunk *c, int64_t i) { return c->known + i * (LAP_ROW_ENDS + c->k); }

/* A shard's weight from id `first` on, as the B of a product, in the form in which it is held. */
static void multiply_by(const lap_operand *weight, int64_t first, lap_gemm_operands *product) {
  const int64_t at = first * weight->columns;
  product->b = weight->value ? weight->value + at : NULL;
  product->b_bfloat16 = weight->bfloat16 ? weight->bfloat16 + at : NULL;
  product->ldb = weight->columns;
}

/* u = x w^T of a panel */
static void make_logits(const lap_op_call *call, const chunk *c, const panel *p) {
  const lap_operand *weight = &call->input[1 + p->s];
  const int64_t hidden = weight->columns;
  lap_gemm_operands product = {
      .m = c->rows,
      .n = p->count,
      .k = hidden,
      .a = call->input[0].value + c->begin * hidden,
      .lda = hidden,
      .b_packed = c->packed_size ? c->packed_transposed + p->s * c->packed_size : NULL,
      .packed_terms = hidden,
      .packed_columns = c->vocab,
      .packed_column = p->first,
      .transpose_b = true,
      .c = c->panel,
      .ldc = panel_stride(p->count)};
  multiply_by(weight, p->first, &product);
  lap_gemm(&product);
}

/* u becomes z, what is read off it is kept, and where a gradient follows, so is z. */
static void read_panel(const lap_op_call *call, const chunk *c, const panel *p) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  make_logits(call, c, p);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < c->rows; ++i) {
    const lap_row_labels labels = labels_of(call, c->begin + i);
    if (labels.target < 0) continue;
    real *z = c->panel + i * panel_stride(p->count), *ends = ends_of(c, i);
    const lap_row_slice slice = {z, (attributes->shards.first + p->s) * c->vocab + p->first,
                                 p->count};
    lap_vector_softcap(z, p->count, 1, (real)attributes->softcap);
    lap_row_begin(&labels, &slice, ends, ends + LAP_ROW_ENDS, &c->rest[p->s * c->rows + i]);
    if (p->logits) lap_vector_copy_past_caches(z, p->count, p->logits + i * p->count);
  }
}

/* Nothing is read yet of any row. */
static void clear_rows(const lap_op_call *call, const chunk *c) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  for (int64_t i = 0; i < c->rows * (LAP_ROW_ENDS + c->k); ++i) c->known[i] = -INFINITY;
  for (int64_t i = 0; i < attributes->shards.count * c->rows; ++i)
    c->rest[i] = lap_row_nothing_read();
}

static void make_masses(const lap_op_call *call, const chunk *c) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  for (int s = 0; s < attributes->shards.count; ++s)
    for (int64_t i = 0; i < c->rows; ++i) {
      const lap_row_labels labels = labels_of(call, c->begin + i);
      const int64_t at = s * c->rows + i;
      lap_row_masses(&labels, &c->rest[at], ends_of(c, i), c->parts + at * LAP_ROW_MASSES);
    }
}

static void finish_row(const lap_op_call *call, const chunk *c, int64_t i) {
  const int64_t r = c->begin + i;
  const lap_row_labels labels = labels_of(call, r);
  const real *ends = ends_of(c, i);
  lap_row_loss row = {0};
  if (labels.target >= 0)
    row = lap_row_coefficients_of(&labels, ends, ends + LAP_ROW_ENDS, c->sums + i * LAP_ROW_MASSES,
                                  c->weights + i * c->k, &c->coefficients[i]);
  call->losses->loss[r] = row.loss;
  call->losses->ce[r] = row.ce;
  call->losses->kd[r] = row.kd;
  call->losses->kl[r] = row.kl;
}

/* Losses of a chunk, and the coefficients of their gradients. */
static void chunk_losses(const lap_op_call *call, const chunk *c) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const bool alone = attributes->shards.of == 1;
  clear_rows(call, c);
  for_panels(call, c, read_panel);
  if (!alone) call->group->largest(call->group->context, c->known, c->rows * (LAP_ROW_ENDS + c->k));
  make_masses(call, c);
  if (!alone)
    call->group->sum_double(call->group->context, c->parts, c->rows * LAP_ROW_MASSES, c->sums);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < c->rows; ++i) finish_row(call, c, i);
}

/* --- the passes --- */

static void sum_losses(const lap_op_call *call) {
  double sum = 0;
  for (int64_t r = 0; r < call->input[0].rows; ++r) sum += call->losses->loss[r];
  call->output.value[0] = (real)sum;
}

/* What every chunk multiplies by is laid out once. */
static void lay_out_weights(const lap_op_call *call, const chunk *c) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t hidden = call->input[0].columns, shards = attributes->shards.count;
  for (int s = 0; c->packed_size && s < shards; ++s) {
    lap_gemm_operands logits = {.n = c->vocab, .k = hidden, .transpose_b = true};
    lap_gemm_operands inputs = {.n = hidden, .k = c->vocab};
    multiply_by(&call->input[1 + s], 0, &logits);
    multiply_by(&call->input[1 + s], 0, &inputs);
    lap_gemm_pack_b(&logits, c->packed_transposed + s * c->packed_size);
    lap_gemm_pack_b(&inputs, c->packed + s * c->packed_size);
  }
}

/* Calls `visit` for one chunk after the other. */
static void for_chunks(const lap_op_call *call, bool backward,
                       void (*visit)(const lap_op_call *call, const chunk *c)) {
  const int64_t positions = call->input[0].rows, length = call->batch->length;
  const int64_t most = chunk_of(call, length, lap_gemm_backend_here() == LAP_GEMM_OPENBLAS);
  chunk c;
  lay_out(call, call->scratch, most, call->batch->k, lap_gemm_holds(), backward, &c);
  lay_out_weights(call, &c);
  for (c.begin = 0; c.begin < positions; c.begin += c.rows) {
    /* A chunk has several whole sequences, or a part of one. */
    const int64_t left = most < length ? length - c.begin % length : positions - c.begin;
    c.rows = most < left ? most : left;
    visit(call, &c);
  }
  sum_losses(call);
}

static void forward(const lap_op_call *call) { for_chunks(call, false, chunk_losses); }

/* dx of the chunk from the parts of all shards. */
static void sum_dx(const lap_op_call *call, const chunk *c) {
  const int64_t elements = c->rows * call->input[0].columns;
  real *dx = call->input[0].gradient + c->begin * call->input[0].columns;
  const bool add = call->input[0].accumulate;
  call->group->sum(call->group->context, c->dx, elements, add ? c->dx_sum : dx);
  for (int64_t i = 0; add && i < elements; ++i) dx[i] += c->dx_sum[i];
}

/* The next row comes from memory while this one is computed; beyond a panel lies the next. */
static void fetch(const real *row, int64_t count) {
  enum { LINE = 64 / sizeof(real), NOT_NEAREST = 2 };
  for (int64_t j = 0; j < count; j += LINE) __builtin_prefetch(row + j, 0, NOT_NEAREST);
}

/* z of a panel becomes d loss / d u. */
static void make_gradients(const lap_op_call *call, const chunk *c, const panel *p) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < c->rows; ++i) {
    const lap_row_labels labels = labels_of(call, c->begin + i);
    const lap_row_slice slice = {p->logits + i * p->count,
                                 (attributes->shards.first + p->s) * c->vocab + p->first, p->count};
    const real *ends = ends_of(c, i);
    real *gradient = c->panel + i * panel_stride(p->count);
    fetch(slice.z + p->count, p->count);
    if (labels.target >= 0)
      lap_row_gradient(&labels, &slice, ends, ends + LAP_ROW_ENDS, c->weights + i * c->k,
                       &c->coefficients[i], gradient);
    else
      memset(gradient, 0, (size_t)p->count * sizeof *gradient);
    if (c->holds) lap_gemm_hold(gradient, p->count);
  }
}

/* du of the panel, one matrix of both products. */
static lap_gemm_operands product_with_du(const chunk *c, const panel *p) {
  const int64_t stride = panel_stride(p->count);
  if (!c->holds) return (lap_gemm_operands){.a = c->panel, .lda = stride};
  const uint16_t *held = (const uint16_t *)c->panel;
  return (lap_gemm_operands){.a_bfloat16 = held,
                             .lda = stride * (int64_t)(sizeof(real) / sizeof *held)};
}

static void add_to_dx(const lap_op_call *call, const chunk *c, const panel *p) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const lap_operand *weight = &call->input[1 + p->s];
  const int64_t hidden = weight->columns;
  const bool alone = attributes->shards.of == 1;
  lap_gemm_operands product = product_with_du(c, p);
  product.m = c->rows, product.n = hidden, product.k = p->count;
  multiply_by(weight, p->first, &product);
  product.b_packed = c->packed_size ? c->packed + p->s * c->packed_size : NULL;
  product.packed_terms = c->vocab, product.packed_columns = hidden;
  product.c = alone ? call->input[0].gradient + c->begin * hidden : c->dx + p->s * c->rows * hidden;
  product.ldc = hidden;
  product.into = lap_gemm_into(p->first > 0 || (alone && call->input[0].accumulate));
  product.first = p->first;
  lap_gemm(&product);
}

static void add_to_dw(const lap_op_call *call, const chunk *c, const panel *p) {
  const lap_operand *weight = &call->input[1 + p->s];
  const int64_t hidden = weight->columns, length = call->batch->length;
  lap_gemm_operands product = product_with_du(c, p);
  product.m = p->count, product.n = hidden, product.k = c->rows;
  product.transpose_a = true;
  product.b = call->input[0].value + c->begin * hidden, product.ldb = hidden;
  product.c = weight->gradient + p->first * hidden, product.ldc = hidden;
  product.into = LAP_MATMUL_ADD;
  product.segment = length, product.first = c->begin % length;
  lap_gemm(&product);
}

static void go_back(const lap_op_call *call, const chunk *c, const panel *p) {
  assert(call->input[1 + p->s].accumulate);
  make_gradients(call, c, p);
  add_to_dx(call, c, p);
  add_to_dw(call, c, p);
}

static void chunk_backward(const lap_op_call *call, const chunk *c) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  chunk_losses(call, c);
  for_panels(call, c, go_back);
  if (attributes->shards.of > 1) sum_dx(call, c);
}

/* dx = sum over shards of du_s w_s     dw_s += du_s^T x     losses as in forward; the output's
 * gradient is 1 */
static void backward(const lap_op_call *call) { for_chunks(call, true, chunk_backward); }

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  chunk none;
  return lay_out(call, NULL, chunk_of(call, extent->length, extent->openblas), extent->teacher_k,
                 extent->bfloat16, backward, &none);
}

/* The shard of the embedding is read for the logits and for dx, its gradient is read and written
 * for dw. The next chunk of positions finds them in the cache only where both fit. */
static void cost_of_chunk(const lap_op_call *call, int64_t rows, double times, bool backward,
                          const lap_cost_sink *sink) {
  enum { WEIGHT_AND_GRADIENT = 2, PASSES = 4 };
  const int64_t vocab = call->input[1].rows, hidden = call->input[0].columns;
  const double weight = (double)(vocab * hidden) * sizeof(real);
  lap_cost_product(sink, LAP_PRODUCT_FORWARD, rows, vocab, hidden, times);
  if (!backward) {
    lap_cost_stream(sink, weight, weight, times);
    return;
  }
  lap_cost_product(sink, LAP_PRODUCT_INPUT, rows, hidden, vocab, times);
  lap_cost_product(sink, LAP_PRODUCT_WEIGHT, vocab, hidden, rows, times);
  lap_cost_stream(sink, WEIGHT_AND_GRADIENT * weight, PASSES * weight, times);
}

/* `times` chunks of `rows` positions. */
typedef struct {
  int64_t rows, times;
} chunks_of_size;

enum { CHUNK_SIZES = 2 };

/* As for_chunks cuts them: most are of one size, and the last of each sequence, or of all, is less.
 */
static void count_chunks(const lap_op_call *call, const lap_op_extent *extent,
                         chunks_of_size counts[CHUNK_SIZES]) {
  const int64_t rows = call->input[0].rows, length = extent->length;
  const int64_t most = chunk_of(call, length, extent->openblas);
  const int64_t stretch = most < length ? length : rows;
  counts[0] = (chunks_of_size){most, rows / stretch * (stretch / most)};
  const int64_t rest = stretch % most;
  counts[1] = (chunks_of_size){rest, rest ? rows / stretch : 0};
}

/* Backward makes the logits and losses too. */
static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t shards = attributes->shards.count;
  chunks_of_size counts[CHUNK_SIZES];
  count_chunks(call, extent, counts);
  for (int i = 0; i < CHUNK_SIZES; ++i)
    if (counts[i].times)
      cost_of_chunk(call, counts[i].rows, (double)(counts[i].times * shards), backward, sink);
  lap_cost_units(sink, LAP_UNIT_LOSS, call->input[0].rows * call->input[1].rows * shards);
}

static int shard_calls(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                       lap_shard_call *list) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  chunks_of_size counts[CHUNK_SIZES];
  count_chunks(call, extent, counts);
  int count = 0;
  for (int i = 0; i < CHUNK_SIZES && attributes->shards.of > 1; ++i) {
    const int64_t rows = counts[i].rows, times = counts[i].times;
    if (times == 0) continue;
    list[count++] =
        (lap_shard_call){LAP_SHARD_CALL_LARGEST, rows * (LAP_ROW_ENDS + extent->teacher_k), times};
    list[count++] = (lap_shard_call){LAP_SHARD_CALL_SUM_DOUBLE, rows * LAP_ROW_MASSES, times};
    if (backward)
      list[count++] = (lap_shard_call){LAP_SHARD_CALL_SUM, rows * call->input[0].columns, times};
  }
  return count;
}

const lap_op lap_op_lm_head_loss = {.name = "lm_head_loss",
                                    .forward = forward,
                                    .backward = backward,
                                    .scratch_size = scratch_size,
                                    .work = LAP_WORK_HEAD,
                                    .cost = cost,
                                    .shard_calls = shard_calls,
                                    .backward_reads = LAP_READS_INPUTS,
                                    .fused_loss = true};
