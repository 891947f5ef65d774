/* lm_head_loss: the tied output head, the final soft-cap and the loss, over chunks of positions
 *   x [BT, H] input     w_s [V/M, H] the embedding, shard by shard
 *   loss [1, 1], the sum over counted positions
 *   u = x w^T     z = cap tanh(u / cap)     loss and d loss / d u by loss_row
 *
 * A chunk's logits turn into gradients in place and feed dx and dw at once, so a training step
 * makes each logit once, and the memory for logits is a constant whatever the batch. In bfloat16
 * weights are laid out once for all chunks of a micro-batch, where a kernel gains by it. Logits
 * stay with their shard. For each position of a chunk the shards bring together, in this order: the
 * largest logit of the rest, the target's and the kept ones (-inf where another shard has the id);
 * the masses of the rest; and, backward, dx.
 */
#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "autograd/kernel/gemm.h"
#include "autograd/kernel/vector.h"
#include "autograd/op/loss_row.h"
#include "autograd/op/ops.h"
#include "autograd/op/projection.h"
#include "core/memory.h"

/* 4 Mi logits, but at least one block of the sum over positions that dw is (kernel/matmul), and
 * whole blocks: then chunks decide no bit. Several short sequences share a chunk. */
int64_t lap_lm_head_chunk(int64_t vocab_size, int64_t length) {
  enum { BLOCK = LAP_MATMUL_BLOCK, MOST = 1024 };
  const int64_t wanted = (INT64_C(1) << 22) / vocab_size / BLOCK * BLOCK;
  const int64_t chunk = wanted < BLOCK ? BLOCK : wanted > MOST ? MOST : wanted;
  return length < chunk ? chunk / length * length : chunk;
}

int64_t lap_lm_head_logits_size(int64_t vocab_size, int64_t length, lap_shard_range shards) {
  return lap_lm_head_chunk(vocab_size, length) * (vocab_size / shards.of) * shards.count;
}

/* u = x w^T; `packed` is w^T laid out, or NULL */
static void multiply(const real *x, const lap_operand *weight, int64_t rows, const real *packed,
                     real *u) {
  const lap_projection p = {.rows = rows,
                            .in = weight->columns,
                            .out = weight->rows,
                            .packed = packed,
                            .past_caches = true};
  lap_projection_forward(&p, x, weight, u);
}

void lap_lm_head_logits(const real *x, const lap_operand *weight, int64_t rows, double softcap,
                        real *logits) {
  const int64_t vocab = weight->rows;
  multiply(x, weight, rows, NULL, logits);
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r)
    lap_vector_softcap(logits + r * vocab, vocab, 1, (real)softcap);
}

/* --- a chunk and its scratch memory --- */

typedef struct {
  int64_t begin, rows; /* positions [begin, begin + rows) */
  int64_t vocab;       /* of one shard */
  bool holds; /* logits that became gradients are bfloat16, in the first half of each row */
  int64_t k;
  int64_t packed_size;              /* of a shard; 0: products read weights as they are */
  real *logits;                     /* [S][rows, vocab] */
  real *known;                      /* [rows, 2 + k]: the ends of each row and its kept logits */
  real *weights;                    /* [threads, k] */
  double *parts;                    /* [S][rows, 2]: masses of each shard; one shard: the masses */
  double *sums;                     /* [rows, 2]: those of all shards */
  real *dx;                         /* [S][rows, H], where the model is several shards */
  real *dx_sum;                     /* [rows, H], where dx holds an earlier part */
  real *packed_transposed, *packed; /* [S]: w^T and w, laid out for all chunks */
} chunk;

static int64_t aligned(int64_t reals) {
  enum { ALIGN = LAP_ALIGNMENT / sizeof(real) };
  return (reals + ALIGN - 1) / ALIGN * ALIGN;
}

/* Positions at a time: no more than there are, so that small batches take little memory. */
static int64_t chunk_of(const lap_op_call *call, int64_t length) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t rows = call->input[0].rows;
  const int64_t most = lap_lm_head_chunk(call->input[1].rows * attributes->shards.of, length);
  return most < rows ? most : rows;
}

/* Hands out `memory` for chunks of `rows` positions; returns how much is taken, also of NULL. */
static int64_t lay_out(const lap_op_call *call, real *memory, int64_t rows, int64_t k,
                       int64_t threads, bool bfloat16, bool backward, chunk *made) {
  /* cppcheck-suppress duplicateExpression ; tests build this with double for real */
  enum { DOUBLE = sizeof(double) / sizeof(real) };
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t hidden = call->input[0].columns, vocab = call->input[1].rows;
  const bool alone = attributes->shards.of == 1;
  const int64_t shards = attributes->shards.count, masses = rows * LAP_ROW_MASSES;
  const int64_t dx = backward && !alone ? rows * hidden : 0;
  const bool lays_out = backward && bfloat16 && rows < call->input[0].rows;
  const int64_t packed = lays_out ? lap_gemm_packed_size(vocab, hidden) / 2 : 0;
  const int64_t sizes[] = {shards * rows * vocab,
                           rows * (LAP_ROW_ENDS + k),
                           threads * k,
                           shards * masses * DOUBLE,
                           alone ? 0 : masses * DOUBLE,
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
                  .logits = piece[0],
                  .known = piece[1],
                  .weights = piece[2],
                  .parts = (double *)piece[3],
                  .sums = (double *)piece[alone ? 3 : 4],
                  .dx = piece[5],
                  .dx_sum = piece[6],
                  .packed_size = lap_gemm_packs_halves() ? packed : 0,
                  .packed_transposed = piece[7],
                  .packed = piece[8]};
  return taken;
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

/* Row i of the chunk in shard s, counted from the first held here. */
static lap_row_slice slice_of(const lap_op_call *call, const chunk *c, int s, int64_t i) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  return (lap_row_slice){c->logits + (s * c->rows + i) * c->vocab,
                         (attributes->shards.first + s) * c->vocab, c->vocab};
}

/* u of row i becomes z; its ends in the shards held here. */
static void begin_row(const lap_op_call *call, const chunk *c, int64_t i) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t width = LAP_ROW_ENDS + c->k;
  const lap_row_labels labels = labels_of(call, c->begin + i);
  real *ends = c->known + i * width;
  for (int64_t j = 0; j < width; ++j) ends[j] = -INFINITY;
  if (labels.target < 0) return;
  for (int s = 0; s < attributes->shards.count; ++s) {
    const lap_row_slice slice = slice_of(call, c, s, i);
    lap_vector_softcap(slice.z, slice.count, 1, (real)attributes->softcap);
    lap_row_begin(&labels, &slice, ends, ends + LAP_ROW_ENDS);
  }
}

static void masses_of_row(const lap_op_call *call, const chunk *c, int64_t i) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const lap_row_labels labels = labels_of(call, c->begin + i);
  const real *ends = c->known + i * (LAP_ROW_ENDS + c->k);
  for (int s = 0; s < attributes->shards.count; ++s) {
    const lap_row_slice slice = slice_of(call, c, s, i);
    double *sums = c->parts + (s * c->rows + i) * LAP_ROW_MASSES;
    if (labels.target < 0)
      sums[0] = sums[1] = 0;
    else
      lap_row_masses(&labels, &slice, ends, sums);
  }
}

/* One position's loss; with `gradient` its logits become d loss / d u. */
static lap_row_loss coefficients_of_row(const lap_op_call *call, const chunk *c, int64_t i,
                                        bool gradient) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const lap_row_labels labels = labels_of(call, c->begin + i);
  const real *ends = c->known + i * (LAP_ROW_ENDS + c->k), *kept = ends + LAP_ROW_ENDS;
  real *weight = c->weights + omp_get_thread_num() * c->k;
  lap_row_coefficients coefficients;
  const lap_row_loss loss = lap_row_coefficients_of(
      &labels, ends, kept, c->sums + i * LAP_ROW_MASSES, weight, &coefficients);
  for (int s = 0; gradient && s < attributes->shards.count; ++s) {
    const lap_row_slice slice = slice_of(call, c, s, i);
    lap_row_gradient(&labels, &slice, ends, kept, weight, &coefficients);
    if (c->holds) lap_gemm_hold(slice.z, slice.count);
  }
  return loss;
}

static void clear_row(const lap_op_call *call, const chunk *c, int64_t i) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  for (int s = 0; s < attributes->shards.count; ++s)
    memset(slice_of(call, c, s, i).z, 0, (size_t)c->vocab * sizeof(real));
}

static void finish_row(const lap_op_call *call, const chunk *c, int64_t i, bool gradient) {
  const int64_t r = c->begin + i;
  lap_row_loss row = {0};
  if (call->batch->targets[r] >= 0)
    row = coefficients_of_row(call, c, i, gradient);
  else if (gradient)
    clear_row(call, c, i);
  call->losses->loss[r] = row.loss;
  call->losses->ce[r] = row.ce;
  call->losses->kd[r] = row.kd;
  call->losses->kl[r] = row.kl;
}

/* One row after the other, so that it stays in a cache from its products to its gradient. */
static void rows_alone(const lap_op_call *call, const chunk *c, bool gradient) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < c->rows; ++i) {
    begin_row(call, c, i);
    masses_of_row(call, c, i);
    finish_row(call, c, i, gradient);
  }
}

static void rows_with_others(const lap_op_call *call, const chunk *c, bool gradient) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < c->rows; ++i) begin_row(call, c, i);
  call->group->largest(call->group->context, c->known, c->rows * (LAP_ROW_ENDS + c->k));
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < c->rows; ++i) masses_of_row(call, c, i);
  call->group->sum_double(call->group->context, c->parts, c->rows * LAP_ROW_MASSES, c->sums);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < c->rows; ++i) finish_row(call, c, i, gradient);
}

/* Logits and losses of a chunk; with `gradient` the logits become d loss / d u. */
static void chunk_losses(const lap_op_call *call, const chunk *c, bool gradient) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t hidden = call->input[0].columns;
  for (int s = 0; s < attributes->shards.count; ++s)
    multiply(call->input[0].value + c->begin * hidden, &call->input[1 + s], c->rows,
             c->packed_size ? c->packed_transposed + s * c->packed_size : NULL,
             slice_of(call, c, s, 0).z);
  if (attributes->shards.of == 1)
    rows_alone(call, c, gradient);
  else
    rows_with_others(call, c, gradient);
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
    const real *w = call->input[1 + s].value;
    lap_gemm_pack_b(
        &(lap_gemm_operands){
            .n = c->vocab, .k = hidden, .b = w, .ldb = hidden, .transpose_b = true},
        c->packed_transposed + s * c->packed_size);
    lap_gemm_pack_b(&(lap_gemm_operands){.n = hidden, .k = c->vocab, .b = w, .ldb = hidden},
                    c->packed + s * c->packed_size);
  }
}

/* Calls `visit` for one chunk after the other. */
static void for_chunks(const lap_op_call *call, bool backward,
                       void (*visit)(const lap_op_call *call, const chunk *c)) {
  const int64_t positions = call->input[0].rows, length = call->batch->length;
  const int64_t most = chunk_of(call, length);
  chunk c;
  lay_out(call, call->scratch, most, call->batch->k, omp_get_max_threads(), lap_gemm_holds(),
          backward, &c);
  lay_out_weights(call, &c);
  for (c.begin = 0; c.begin < positions; c.begin += c.rows) {
    /* A chunk has several whole sequences, or a part of one. */
    const int64_t left = most < length ? length - c.begin % length : positions - c.begin;
    c.rows = most < left ? most : left;
    visit(call, &c);
  }
  sum_losses(call);
}

static void chunk_forward(const lap_op_call *call, const chunk *c) { chunk_losses(call, c, false); }

static void forward(const lap_op_call *call) { for_chunks(call, false, chunk_forward); }

/* dx of the chunk from the parts of all shards. */
static void sum_dx(const lap_op_call *call, const chunk *c) {
  const int64_t elements = c->rows * call->input[0].columns;
  real *dx = call->input[0].gradient + c->begin * call->input[0].columns;
  const bool add = call->input[0].accumulate;
  call->group->sum(call->group->context, c->dx, elements, add ? c->dx_sum : dx);
  for (int64_t i = 0; add && i < elements; ++i) dx[i] += c->dx_sum[i];
}

static void chunk_backward(const lap_op_call *call, const chunk *c) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  const int64_t hidden = call->input[0].columns;
  const real *x = call->input[0].value + c->begin * hidden;
  real *dx = call->input[0].gradient + c->begin * hidden;
  const bool alone = attributes->shards.of == 1;
  chunk_losses(call, c, true);
  for (int s = 0; s < attributes->shards.count; ++s) {
    const lap_operand *w = &call->input[1 + s];
    const real *du = slice_of(call, c, s, 0).z;
    const uint16_t *held = c->holds ? (const uint16_t *)du : NULL;
    const int64_t ldu = c->holds ? c->vocab * (int64_t)(sizeof(real) / sizeof *held) : c->vocab;
    assert(w->value && w->accumulate);
    lap_gemm(
        &(lap_gemm_operands){.m = c->rows,
                             .n = hidden,
                             .k = c->vocab,
                             .a = held ? NULL : du,
                             .a_bfloat16 = held,
                             .lda = ldu,
                             .b = w->value,
                             .b_packed = c->packed_size ? c->packed + s * c->packed_size : NULL,
                             .packed_terms = c->vocab,
                             .packed_columns = hidden,
                             .ldb = hidden,
                             .c = alone ? dx : c->dx + s * c->rows * hidden,
                             .ldc = hidden,
                             .into = lap_gemm_into(alone && call->input[0].accumulate)});
    lap_gemm(&(lap_gemm_operands){.m = c->vocab,
                                  .n = hidden,
                                  .k = c->rows,
                                  .a = held ? NULL : du,
                                  .a_bfloat16 = held,
                                  .lda = ldu,
                                  .transpose_a = true,
                                  .b = x,
                                  .ldb = hidden,
                                  .c = w->gradient,
                                  .ldc = hidden,
                                  .into = LAP_MATMUL_ADD,
                                  .segment = call->batch->length,
                                  .first = c->begin % call->batch->length});
  }
  if (!alone) sum_dx(call, c);
}

/* dx = sum over shards of du_s w_s     dw_s += du_s^T x     losses as in forward; the output's
 * gradient is 1 */
static void backward(const lap_op_call *call) { for_chunks(call, true, chunk_backward); }

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  chunk none;
  return lay_out(call, NULL, chunk_of(call, extent->length), extent->teacher_k, extent->threads,
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
static void count_chunks(const lap_op_call *call, int64_t length,
                         chunks_of_size counts[CHUNK_SIZES]) {
  const int64_t rows = call->input[0].rows, most = chunk_of(call, length);
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
  count_chunks(call, extent->length, counts);
  for (int i = 0; i < CHUNK_SIZES; ++i)
    if (counts[i].times)
      cost_of_chunk(call, counts[i].rows, (double)(counts[i].times * shards), backward, sink);
  lap_cost_units(sink, LAP_UNIT_LOSS, call->input[0].rows * call->input[1].rows * shards);
}

static int shard_calls(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                       lap_shard_call *list) {
  const lap_lm_head_loss_attributes *attributes = call->attributes;
  chunks_of_size counts[CHUNK_SIZES];
  count_chunks(call, extent->length, counts);
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
