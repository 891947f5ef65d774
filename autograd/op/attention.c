/* attention: soft-capped causal attention within documents, sliding or full, grouped queries
 *   q [S BT, N D], k, v [S BT, G D] inputs, N heads over G key-value heads     o [S BT, N D] output
 *   For query i of a head, over visible keys j:  max(document_start(i), i - window + 1) <= j <= i
 *     s_ij = cap tanh(scale q_i.k_j / cap)     p_ij = exp(s_ij - m_i) c_i     o_i = sum_j p_ij v_j
 *     m_i = max_j s_ij     c_i = 1 / sum_j exp(s_ij - m_i)     saved, [S B, N, 2, T]
 *   p_ij, and what backward makes of it, is 0 where it would be subnormal: products would be slow.
 *
 * Where S shards are stacked, N and G are one shard's heads, and sequence b of each shard is
 * sequence b of the batch.
 *
 * A tile of TILE queries of one head meets all the keys it can see at once: [TILE, T] scores, never
 * T x T. document_start never decreases, so a tile's visible keys are one range [low, end); inside
 * it each row uses its own part and the rest is zero. Units of work are (sequence, head): the same
 * tiles in the same order for any number of threads.
 *
 * Zero times what a query does not see would be NaN where that is not finite, so a head with such
 * numbers goes query by query and key by key: what overflows in one document stays there.
 */
#include <omp.h>

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/gemm.h"
#include "autograd/kernel/vector.h"
#include "autograd/kernel/wide.h"
#include "autograd/op/ops.h"

/* More rows compute more scores that nobody sees, and scores of long rows leave the cache; fewer
 * make products slow. */
enum { TILE = 32 };

/* One (sequence, head): strided views of the operands, and the head's own results. */
typedef struct {
  const lap_attention_attributes *attributes;
  const int32_t *document_start; /* [T] */
  int64_t length;                /* T */
  int64_t q_stride, kv_stride;
  int64_t strip;    /* ranges of keys begin at its multiples */
  int64_t q_offset; /* of the head's first element in q, o and their gradients */
  const real *q, *k, *v, *d_o;
  real *scored, *mixed, *compared; /* of the key-value head, laid out for products: k^T; what
                                            weights sum, v or, backward, k; backward: v^T */
  bool is_finite;                  /* all that this pass multiplies by weights */
  bool accumulate_dq;              /* dq holds an earlier part */
  real *maximum;                   /* [T]: m */
  real *factor;                    /* [T]: c */
  real *scores;                    /* [2, TILE, stride_of(T)]: s or p; ds */
  real *slopes;                    /* [T]: of a row, d s / d (q.k) */
  real *dk_chain, *dv_chain;       /* [T, D]: sums over the block of queries at hand */
} head_view;

enum { LAID_OUT = 3, ALIGNED = 64 / sizeof(real) }; /* operands; alignment */

/* From row to row of scores and weights, so that products do not pack them. */
static int64_t stride_of(int64_t keys) { return lap_matmul_spread(keys); }

static int64_t scratch_of_thread(int64_t length, int64_t head_dim) {
  const int64_t rest = 2 * (int64_t)TILE * stride_of(length) + (1 + 2 * head_dim) * length;
  return LAID_OUT * lap_gemm_packed_size(length, head_dim) +
         (rest + ALIGNED - 1) / ALIGNED * ALIGNED;
}

/* The first key that the window of query i reaches, within its sequence. */
static int64_t window_start(int64_t window, int64_t i) {
  return window > 0 && i - window + 1 > 0 ? i - window + 1 : 0;
}

static int64_t first_visible(const int32_t *document_start, int64_t window, int64_t i) {
  const int64_t start = window_start(window, i);
  return document_start[i] > start ? document_start[i] : start;
}

static int64_t low_key(const head_view *head, int64_t i) {
  return first_visible(head->document_start, head->attributes->window, i);
}

/* Where the keys of a tile begin: of the first that its queries see, the strip. */
static int64_t low_of_tile(const head_view *head, int64_t i0) {
  return low_key(head, i0) / head->strip * head->strip;
}

/* B, or S B. */
static int64_t sequences_of(const lap_op_call *call) {
  return call->output.rows / call->batch->length;
}

static head_view view(const lap_op_call *call, int64_t unit, real *thread_scratch) {
  const lap_attention_attributes *attributes = call->attributes;
  const int64_t length = call->batch->length, heads = attributes->heads, dim = attributes->head_dim;
  const int64_t sequence = unit / heads, head = unit % heads;
  const int64_t kv_head = head / (heads / attributes->kv_heads);
  const int64_t row = sequence * length;
  const int64_t q_stride = heads * dim, kv_stride = attributes->kv_heads * dim;
  const int64_t q_offset = row * q_stride + head * dim;
  const int64_t kv_offset = row * kv_stride + kv_head * dim;
  const int64_t laid_out = lap_gemm_packed_size(length, dim);
  const int64_t scores = 2 * (int64_t)TILE * stride_of(length);
  real *rest = thread_scratch + LAID_OUT * laid_out;
  return (head_view){
      .attributes = attributes,
      .document_start = call->batch->document_start + sequence % call->batch->sequences * length,
      .length = length,
      .q_stride = q_stride,
      .kv_stride = kv_stride,
      .q_offset = q_offset,
      .q = call->input[0].value + q_offset,
      .k = call->input[1].value + kv_offset,
      .v = call->input[2].value + kv_offset,
      .d_o = call->output.gradient ? call->output.gradient + q_offset : NULL,
      .strip = lap_gemm_packed_width(),
      .scored = thread_scratch,
      .mixed = thread_scratch + laid_out,
      .compared = thread_scratch + 2 * laid_out,
      .accumulate_dq = call->input[0].accumulate,
      .maximum = call->saved + 2 * unit * length,
      .factor = call->saved + (2 * unit + 1) * length,
      .scores = rest,
      .slopes = rest + scores,
      .dk_chain = rest + scores + length,
      .dv_chain = rest + scores + length + length * dim};
}

/* x [T, D] of the key-value head as the products of all tiles will read it, or x^T. */
static void lay_out_matrix(const head_view *head, const real *x, bool transposed, real *packed) {
  const int64_t length = head->length, dim = head->attributes->head_dim;
  lap_gemm_pack_b(&(lap_gemm_operands){.n = transposed ? length : dim,
                                       .k = transposed ? dim : length,
                                       .b = x,
                                       .ldb = head->kv_stride,
                                       .transpose_b = transposed},
                  packed);
}

/* The heads of a group share it: a thread that goes on with one finds it there. */
static void lay_out(const head_view *head, bool backward) {
  lay_out_matrix(head, head->k, true, head->scored);
  lay_out_matrix(head, backward ? head->k : head->v, false, head->mixed);
  if (backward) lay_out_matrix(head, head->v, true, head->compared);
}

/* scores [rows, keys] = scale-and-cap of q [i0 .. i0+rows) against keys [low, low + keys); only the
 * visible part of each row is capped, the rest is left as it is. */
static void make_scores(const head_view *head, int64_t i0, int64_t rows, int64_t low,
                        int64_t keys) {
  const lap_attention_attributes *a = head->attributes;
  lap_gemm_here(&(lap_gemm_operands){.m = rows,
                                     .n = keys,
                                     .k = a->head_dim,
                                     .a = head->q + i0 * head->q_stride,
                                     .lda = head->q_stride,
                                     .b = head->k + low * head->kv_stride,
                                     .b_packed = head->scored,
                                     .packed_terms = a->head_dim,
                                     .packed_columns = head->length,
                                     .packed_column = low,
                                     .ldb = head->kv_stride,
                                     .transpose_b = true,
                                     .c = head->scores,
                                     .ldc = stride_of(keys)});
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = low_key(head, i0 + r) - low, end = i0 + r + 1 - low;
    lap_vector_softcap(head->scores + r * stride_of(keys) + begin, end - begin, (real)a->scale,
                       (real)a->softcap);
  }
}

static void zero(real *x, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) x[j] = 0;
}

/* As operands of products. */
static bool all_finite(const real *x, int64_t stride, int64_t rows, int64_t columns) {
  const real largest = lap_gemm_largest();
  int wrong = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) wrong |= !(lap_magnitude(x[i * stride + j]) <= largest);
  return !wrong;
}

/* out [rows, D] (+)= weights [rows, keys] x [keys, D]: x are `mixed`, from `low` on. */
static void sum_over_keys(const head_view *head, int64_t i0, int64_t rows, int64_t low,
                          const real *weights, const real *x, bool add, real *out) {
  const int64_t keys = i0 + rows - low;
  const lap_gemm_operands all = {.m = rows,
                                 .n = head->attributes->head_dim,
                                 .k = keys,
                                 .a = weights,
                                 .lda = stride_of(keys),
                                 .b = x + low * head->kv_stride,
                                 .b_packed = head->mixed,
                                 .packed_terms = head->length,
                                 .packed_columns = head->attributes->head_dim,
                                 .ldb = head->kv_stride,
                                 .c = out + i0 * head->q_stride,
                                 .ldc = head->q_stride,
                                 .into = lap_gemm_into(add),
                                 .first = low};
  if (head->is_finite) {
    lap_gemm_here(&all);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t first = low_key(head, i0 + r);
    lap_gemm_operands one = all;
    one.b_packed = NULL;
    one.m = 1, one.k = i0 + r + 1 - first, one.first = first;
    one.a += r * all.lda + (first - low), one.b += (first - low) * head->kv_stride;
    one.c += r * head->q_stride;
    lap_gemm_here(&one);
  }
}

/* chain [keys, D] += weights^T [keys, rows] x [rows, D]: x are queries, or gradients of outputs. */
static void sum_over_queries(const head_view *head, int64_t i0, int64_t rows, int64_t low,
                             const real *weights, const real *x, real *chain) {
  const int64_t dim = head->attributes->head_dim, keys = i0 + rows - low;
  const lap_gemm_operands all = {.m = keys,
                                 .n = dim,
                                 .k = rows,
                                 .a = weights,
                                 .lda = stride_of(keys),
                                 .transpose_a = true,
                                 .b = x + i0 * head->q_stride,
                                 .ldb = head->q_stride,
                                 .c = chain + low * dim,
                                 .ldc = dim,
                                 .into = LAP_MATMUL_CHAIN,
                                 .first = i0};
  if (head->is_finite) {
    lap_gemm_here(&all);
    return;
  }
  for (int64_t j = low; j < low + keys; ++j) {
    const int64_t begin = j > i0 ? j : i0; /* the queries of the tile that see key j */
    int64_t end = begin;
    while (end < i0 + rows && low_key(head, end) <= j) ++end;
    if (begin == end) continue;
    lap_gemm_operands one = all;
    one.m = 1, one.k = end - begin, one.first = begin;
    one.a += (begin - i0) * all.lda + (j - low), one.b += (begin - i0) * head->q_stride;
    one.c += (j - low) * dim;
    lap_gemm_here(&one);
  }
}

static void forward_tile(const head_view *head, int64_t i0, int64_t rows, real *o) {
  const int64_t low = low_of_tile(head, i0), keys = i0 + rows - low;
  make_scores(head, i0, rows, low, keys);
  for (int64_t r = 0; r < rows; ++r) {
    real *p = head->scores + r * stride_of(keys);
    const int64_t begin = low_key(head, i0 + r) - low, end = i0 + r + 1 - low;
    const real maximum = lap_vector_max(p + begin, end - begin);
    const real sum = lap_vector_exp(p + begin, end - begin, maximum);
    const real factor = 1 / sum;
    lap_vector_scale(p + begin, end - begin, factor);
    zero(p, 0, begin);
    zero(p, end, keys);
    head->maximum[i0 + r] = maximum;
    head->factor[i0 + r] = factor;
  }
  sum_over_keys(head, i0, rows, low, head->scores, head->v, false, o);
}

static void forward(const lap_op_call *call) {
  const lap_attention_attributes *attributes = call->attributes;
  const int64_t length = call->batch->length;
  const int64_t units = sequences_of(call) * attributes->heads;
  const int64_t group = attributes->heads / attributes->kv_heads;
#pragma omp parallel
  {
    real *scratch =
        call->scratch + omp_get_thread_num() * scratch_of_thread(length, attributes->head_dim);
    int64_t laid_out = -1; /* whose keys and values are */
    bool shared_is_finite = false;
#pragma omp for schedule(static)
    for (int64_t unit = 0; unit < units; ++unit) {
      head_view head = view(call, unit, scratch);
      if (unit / group != laid_out) {
        lay_out(&head, false), laid_out = unit / group;
        shared_is_finite = all_finite(head.v, head.kv_stride, length, attributes->head_dim);
      }
      head.is_finite = shared_is_finite;
      real *o = call->output.value + head.q_offset;
      for (int64_t i0 = 0; i0 < length; i0 += TILE)
        forward_tile(&head, i0, i0 + TILE < length ? TILE : length - i0, o);
    }
  }
}

/* The visible keys of row i: s becomes p, the same bits as forward, and dp becomes ds. */
LAP_WIDE
static void softmax_gradient(const head_view *head, int64_t i, int64_t keys, real *p, real *ds) {
  const lap_attention_attributes *a = head->attributes;
  const real scale = (real)a->scale, inverse_cap = a->softcap > 0 ? (real)(1 / a->softcap) : 0;
  const real maximum = head->maximum[i], factor = head->factor[i];
  for (int64_t j = 0; j < keys; ++j) {
    const real t = p[j] * inverse_cap;
    head->slopes[j] = (1 - t * t) * scale;
    p[j] = lap_without_subnormal(lap_exp(p[j] - maximum) * factor);
  }
  const real mean = lap_vector_dot(p, ds, keys);
  for (int64_t j = 0; j < keys; ++j)
    ds[j] = lap_without_subnormal(p[j] * (ds[j] - mean) * head->slopes[j]);
}

/* With dp_ij = do_i.v_j, D_i = sum_j p_ij dp_ij:
 *   ds_ij = p_ij (dp_ij - D_i) (1 - (s_ij / cap)^2) scale
 *   dq_i (+)= sum_j ds_ij k_j     dk_j += sum_i ds_ij q_i     dv_j += sum_i p_ij do_i
 * p is computed again from the saved m and c, not from their log-sum-exp: where scores are large,
 * that has too few digits after the point.
 *
 * D_i is do_i.o_i too, but rounded otherwise than dp: where one key has all of the weight, their
 * difference would be that rounding instead of 0.
 *
 * The sums over i go over several tiles: dk_chain and dv_chain [T, D] have what the tiles of the
 * block of queries at hand have given so far. */
static void backward_tile(const head_view *head, int64_t i0, int64_t rows, real *dq) {
  const lap_attention_attributes *a = head->attributes;
  const int64_t dim = a->head_dim, low = low_of_tile(head, i0), keys = i0 + rows - low;
  real *p = head->scores, *ds = head->scores + TILE * stride_of(head->length);
  make_scores(head, i0, rows, low, keys);
  lap_gemm_here(&(lap_gemm_operands){.m = rows,
                                     .n = keys,
                                     .k = dim,
                                     .a = head->d_o + i0 * head->q_stride,
                                     .lda = head->q_stride,
                                     .b = head->v + low * head->kv_stride,
                                     .b_packed = head->compared,
                                     .packed_terms = dim,
                                     .packed_columns = head->length,
                                     .packed_column = low,
                                     .ldb = head->kv_stride,
                                     .transpose_b = true,
                                     .c = ds,
                                     .ldc = stride_of(keys)});
  for (int64_t r = 0; r < rows; ++r) {
    real *pr = p + r * stride_of(keys), *dsr = ds + r * stride_of(keys);
    const int64_t begin = low_key(head, i0 + r) - low, end = i0 + r + 1 - low;
    softmax_gradient(head, i0 + r, end - begin, pr + begin, dsr + begin);
    zero(pr, 0, begin), zero(pr, end, keys);
    zero(dsr, 0, begin), zero(dsr, end, keys);
  }
  sum_over_keys(head, i0, rows, low, ds, head->k, head->accumulate_dq, dq);
  sum_over_queries(head, i0, rows, low, ds, head->q, head->dk_chain);
  sum_over_queries(head, i0, rows, low, p, head->d_o, head->dv_chain);
}

static void end_chain(real *sum, real *chain, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) sum[i] = sum[i] + chain[i], chain[i] = 0;
}

/* dk, dv: this head's own [T, D]. */
static void backward_head(const head_view *head, real *dq, real *dk, real *dv) {
  const int64_t length = head->length, dim = head->attributes->head_dim;
  const int64_t block = lap_gemm_chain_block();
  zero(dk, 0, length * dim), zero(dv, 0, length * dim);
  zero(head->dk_chain, 0, length * dim), zero(head->dv_chain, 0, length * dim);
  for (int64_t i0 = 0, begin = 0; i0 < length; i0 += TILE) {
    const int64_t end = i0 + TILE < length ? i0 + TILE : length;
    backward_tile(head, i0, end - i0, dq);
    if (end % block != 0 && end != length) continue;
    const int64_t low = low_key(head, begin);
    end_chain(dk, head->dk_chain, low * dim, end * dim);
    end_chain(dv, head->dv_chain, low * dim, end * dim);
    begin = end;
  }
}

/* A key-value head's gradient (+)= the sum of its group's, heads in order. parts [S B, N, T, D]. */
static void sum_groups(const lap_op_call *call, const real *parts, const lap_operand *input) {
  const lap_attention_attributes *a = call->attributes;
  const int64_t length = call->batch->length, dim = a->head_dim, group = a->heads / a->kv_heads;
  const int64_t rows = call->output.rows;
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t sequence = r / length, t = r % length;
    for (int64_t kv_head = 0; kv_head < a->kv_heads; ++kv_head) {
      real *out = input->gradient + (r * a->kv_heads + kv_head) * dim;
      for (int64_t g = 0; g < group; ++g) {
        const int64_t unit = sequence * a->heads + kv_head * group + g;
        const real *part = parts + (unit * length + t) * dim;
        const bool overwrite = g == 0 && !input->accumulate;
        for (int64_t d = 0; d < dim; ++d) out[d] = overwrite ? part[d] : out[d] + part[d];
      }
    }
  }
}

static void backward(const lap_op_call *call) {
  const lap_attention_attributes *a = call->attributes;
  const int64_t length = call->batch->length, dim = a->head_dim;
  const int64_t units = sequences_of(call) * a->heads, part = length * dim;
  const int64_t of_thread = scratch_of_thread(length, dim), group = a->heads / a->kv_heads;
  real *dk_parts = call->scratch + omp_get_max_threads() * of_thread;
  real *dv_parts = dk_parts + units * part;
#pragma omp parallel
  {
    real *scratch = call->scratch + omp_get_thread_num() * of_thread;
    int64_t laid_out = -1; /* whose keys and values are */
    bool shared_is_finite = false;
#pragma omp for schedule(static)
    for (int64_t unit = 0; unit < units; ++unit) {
      head_view head = view(call, unit, scratch);
      if (unit / group != laid_out) {
        lay_out(&head, true), laid_out = unit / group;
        shared_is_finite = all_finite(head.k, head.kv_stride, length, dim);
      }
      head.is_finite = shared_is_finite && all_finite(head.q, head.q_stride, length, dim) &&
                       all_finite(head.d_o, head.q_stride, length, dim);
      backward_head(&head, call->input[0].gradient + head.q_offset, dk_parts + unit * part,
                    dv_parts + unit * part);
    }
  }
  sum_groups(call, dk_parts, &call->input[1]);
  sum_groups(call, dv_parts, &call->input[2]);
}

static int64_t saved_size(const lap_op_call *call, const lap_op_extent *extent) {
  const lap_attention_attributes *a = call->attributes;
  (void)extent;
  return 2 * call->output.rows * a->heads;
}

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  const lap_attention_attributes *a = call->attributes;
  const int64_t tiles = extent->threads * scratch_of_thread(extent->length, a->head_dim);
  const int64_t parts = 2 * call->output.rows * a->heads * a->head_dim;
  return backward ? parts + tiles : tiles;
}

static double useful_flops(const lap_op_call *call) {
  const lap_attention_attributes *a = call->attributes;
  const int64_t length = call->batch->length;
  int64_t visible = 0;
  for (int64_t sequence = 0; sequence < sequences_of(call); ++sequence) {
    const int32_t *document_start =
        call->batch->document_start + sequence % call->batch->sequences * length;
    for (int64_t i = 0; i < length; ++i)
      visible += i + 1 - first_visible(document_start, a->window, i);
  }
  return 4.0 * (double)visible * (double)a->heads * (double)a->head_dim;
}

/* The products of a tile include scores that not all of its queries see; the softmax does not. */
static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  const lap_attention_attributes *a = call->attributes;
  const int64_t length = extent->length, dim = a->head_dim;
  const int64_t heads = call->output.rows / length * a->heads; /* of all sequences */
  int64_t visible = 0;                                         /* scores of one of them */
  for (int64_t i0 = 0; i0 < length; i0 += TILE) {
    const int64_t rows = i0 + TILE < length ? TILE : length - i0;
    const int64_t keys = i0 + rows - window_start(a->window, i0);
    for (int64_t i = i0; i < i0 + rows; ++i) visible += i + 1 - window_start(a->window, i);
    /* s = q k^T; backward also do v^T */
    lap_cost_tile(sink, LAP_PRODUCT_FORWARD, rows, keys, dim,
                  backward ? 2 * (double)heads : (double)heads);
    lap_cost_tile(sink, LAP_PRODUCT_INPUT, rows, dim, keys, (double)heads); /* o = p v; dq */
    if (backward)                                                           /* dk, dv */
      lap_cost_tile(sink, LAP_PRODUCT_WEIGHT, keys, dim, rows, 2 * (double)heads);
  }
  lap_cost_units(sink, LAP_UNIT_ATTENTION, heads * visible);
}

const lap_op lap_op_attention = {
    .name = "attention",
    .forward = forward,
    .backward = backward,
    .saved_size = saved_size,
    .scratch_size = scratch_size,
    .work = LAP_WORK_ATTENTION,
    .cost = cost,
    .useful_flops = useful_flops,
    .cheap = true,
    .backward_reads = LAP_READS_INPUT(0) | LAP_READS_INPUT(1) | LAP_READS_INPUT(2)};
