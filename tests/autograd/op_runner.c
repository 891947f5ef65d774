/* Compiled twice, as the autograd is. */
#include "tests/autograd/op_runner.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "autograd/kernel/gemm.h"
#include "autograd/kernel/matmul/bfloat16.h"
#include "autograd/op/ops.h"
#include "core/memory.h"

typedef struct {
  const lap_op *op;
  union {
    lap_embedding_attributes embedding;
    lap_rmsnorm_attributes rmsnorm;
    lap_rope_attributes rope;
    lap_attention_attributes attention;
    lap_lm_head_loss_attributes head;
  } attributes;
  lap_batch batch;
  lap_losses losses;
  lap_op_call call;
  op_shape shape;
  int64_t saved_size;
  int threads;
} session;

static real *reals(int64_t n) { return lap_allocate_aligned(n, sizeof(real)); }

static void poison(real *x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = (real)NAN;
}

static real *to_reals(const double *x, int64_t n) {
  real *copy = reals(n);
  for (int64_t i = 0; i < n; ++i) copy[i] = (real)x[i];
  return copy;
}

static uint16_t *to_bfloat16(const double *x, int64_t n) {
  uint16_t *copy = lap_allocate_aligned(n, sizeof *copy);
  for (int64_t i = 0; i < n; ++i) copy[i] = lap_bfloat16_pack((float)x[i]);
  return copy;
}

static void to_doubles(double *out, const real *x, int64_t n) {
  for (int64_t i = 0; out && i < n; ++i) out[i] = (double)x[i];
}

static lap_shard_range shards_of(const op_case *c) {
  return c->shards ? (lap_shard_range){c->shards, 0, c->shards} : lap_whole_model();
}

/* --- both shards of two are here --- */

static void sum(void *context, real *parts, int64_t elements, real *out) {
  (void)context;
  for (int64_t i = 0; i < elements; ++i) out[i] = parts[i] + parts[elements + i];
  poison(parts, 2 * elements);
}

static void sum_double(void *context, double *parts, int64_t elements, double *out) {
  (void)context;
  for (int64_t i = 0; i < elements; ++i) out[i] = parts[i] + parts[elements + i];
  for (int64_t i = 0; i < 2 * elements; ++i) parts[i] = NAN;
}

static void largest(void *context, real *values, int64_t count) {
  (void)context, (void)values, (void)count; /* over the shards held here they are already */
}

static const lap_shard_group both = {NULL, sum, sum_double, largest};

/* The gradients that column_linear adds up for both shards in copy_to_shards, as one. */
static void sum_stacked(const op_case *c, real *stacked, int64_t size, real *out) {
  const lap_copy_to_shards_attributes attributes = {c->shards};
  const lap_op_call call = {.attributes = &attributes,
                            .input = {{.rows = 1, .columns = size, .gradient = out}},
                            .output = {.rows = 1, .columns = size, .gradient = stacked},
                            .group = &both};
  lap_op_copy_to_shards.backward(&call);
}

/* --- one call --- */

static void set_op(session *s, const op_case *c) {
  const int64_t length = c->batch->length;
  s->call.attributes = &s->attributes;
  switch (c->kind) {
    case OP_EMBEDDING:
      s->op = &lap_op_embedding;
      s->attributes.embedding = (lap_embedding_attributes){sqrt((double)c->columns), shards_of(c)};
      break;
    case OP_RMSNORM:
      s->op = &lap_op_rmsnorm;
      s->attributes.rmsnorm = (lap_rmsnorm_attributes){c->epsilon};
      break;
    case OP_LINEAR:
      s->op = &lap_op_column_linear;
      break;
    case OP_LINEAR_SUM:
      s->op = &lap_op_row_linear;
      break;
    case OP_ROPE: {
      real *table = reals(length * c->head_dim);
      real *sine = table + length * c->head_dim / 2;
      lap_rope_table(length, c->head_dim, 10000, table, sine);
      s->op = &lap_op_rope;
      s->attributes.rope = (lap_rope_attributes){c->heads, c->head_dim, table, sine};
      break;
    }
    case OP_ATTENTION:
      s->op = &lap_op_attention;
      s->attributes.attention = (lap_attention_attributes){c->heads,  c->kv_heads, c->head_dim,
                                                           c->window, c->scale,    c->softcap};
      break;
    case OP_GEGLU:
      s->op = &lap_op_geglu;
      break;
    case OP_RESIDUAL:
      s->op = &lap_op_residual;
      break;
    case OP_HEAD:
      s->op = &lap_op_lm_head_loss;
      s->attributes.head = (lap_lm_head_loss_attributes){c->softcap, c->objective, shards_of(c)};
      break;
  }
}

static void set_shapes(session *s, const op_case *c) {
  const int64_t rows = c->batch->sequences * c->batch->length;
  s->shape = op_shape_of(c);
  for (int i = 0; i < s->shape.inputs; ++i) {
    lap_operand *input = &s->call.input[i];
    const bool linear = c->kind == OP_LINEAR || c->kind == OP_LINEAR_SUM;
    const int64_t table_rows = c->kind == OP_RMSNORM ? 1
                               : linear              ? c->outputs
                                                     : c->batch->vocab / shards_of(c).of;
    const int64_t stacked = c->kind == OP_LINEAR_SUM ? shards_of(c).of : 1;
    input->rows = s->shape.weight[i] ? table_rows : stacked * rows;
    input->columns = s->shape.size[i] / input->rows;
  }
  s->call.output.rows = c->kind == OP_HEAD     ? 1
                        : c->kind == OP_LINEAR ? shards_of(c).of * rows
                                               : rows;
  s->call.group = c->shards ? &both : NULL;
  s->call.output.columns = s->shape.output / s->call.output.rows;
}

static void set_batch(session *s, const test_batch *b) {
  const int64_t rows = b->sequences * b->length;
  s->batch = (lap_batch){.sequences = b->sequences,
                         .length = b->length,
                         .tokens = b->tokens,
                         .document_start = b->document_start,
                         .targets = b->targets,
                         .k = b->k,
                         .teacher_ids = b->ids,
                         .teacher_probability = to_reals(b->probability, rows * b->k),
                         .teacher_tail = to_reals(b->tail, rows),
                         .one_row = b->one_row,
                         .teacher_entropy = b->entropy};
  double *losses = lap_allocate(rows * 4, sizeof(double));
  for (int64_t i = 0; i < rows * 4; ++i) losses[i] = NAN;
  s->losses = (lap_losses){losses, losses + rows, losses + 2 * rows, losses + 3 * rows};
  s->call.batch = &s->batch;
  s->call.losses = &s->losses;
}

/* Of one pass; what the pass before had is gone. */
static void set_scratch(session *s, const op_case *c, bool backward) {
  const lap_op_extent extent = {c->batch->sequences, c->batch->length,
                                c->batch->k,         s->threads,
                                lap_gemm_holds(),    lap_gemm_backend_here() == LAP_GEMM_OPENBLAS};
  const int64_t size = s->op->scratch_size ? s->op->scratch_size(&s->call, &extent, backward) : 0;
  lap_release_aligned(s->call.scratch);
  s->call.scratch = reals(size);
  poison(s->call.scratch, size);
}

static void open_session(session *s, const op_case *c, double *const inputs[], int threads) {
  *s = (session){.threads = threads};
  set_op(s, c);
  set_shapes(s, c);
  set_batch(s, c->batch);
  const lap_op_extent extent = {c->batch->sequences, c->batch->length,
                                c->batch->k,         s->threads,
                                lap_gemm_holds(),    lap_gemm_backend_here() == LAP_GEMM_OPENBLAS};
  s->saved_size = s->op->saved_size ? s->op->saved_size(&s->call, &extent) : 0;
  for (int i = 0; i < s->shape.inputs; ++i)
    if (c->holds && s->shape.weight[i])
      s->call.input[i].bfloat16 = to_bfloat16(inputs[i], s->shape.size[i]);
    else
      s->call.input[i].value = to_reals(inputs[i], s->shape.size[i]);
  s->call.output.value = s->op->in_place ? s->call.input[0].value : reals(s->shape.output);
  if (!s->op->in_place) poison(s->call.output.value, s->shape.output);
  s->call.saved = reals(s->saved_size);
  poison(s->call.saved, s->saved_size);
  set_scratch(s, c, false);
}

static void run_forward(session *s) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(s->threads);
  s->op->forward(&s->call);
  omp_set_num_threads(before);
}

static void report_losses(const session *s, const op_case *c, const test_losses *out) {
  const size_t bytes = (size_t)(c->batch->sequences * c->batch->length) * sizeof(double);
  if (!out) return;
  if (out->loss) memcpy(out->loss, s->losses.loss, bytes);
  if (out->ce) memcpy(out->ce, s->losses.ce, bytes);
  if (out->kd) memcpy(out->kd, s->losses.kd, bytes);
  if (out->kl) memcpy(out->kl, s->losses.kl, bytes);
}

static void close_session(session *s, const op_case *c) {
  for (int i = 0; i < s->shape.inputs; ++i) {
    lap_release_aligned(s->call.input[i].value);
    lap_release_aligned((void *)s->call.input[i].bfloat16);
  }
  if (!s->op->in_place) lap_release_aligned(s->call.output.value);
  lap_release_aligned(s->call.saved);
  lap_release_aligned(s->call.scratch);
  lap_release_aligned((void *)s->batch.teacher_probability);
  lap_release_aligned((void *)s->batch.teacher_tail);
  if (c->kind == OP_ROPE) lap_release_aligned((void *)s->attributes.rope.cosine);
  lap_release_aligned(s->losses.loss);
}

static void forward(const op_case *c, double *const inputs[OP_INPUTS], double *output,
                    const test_losses *losses) {
  session s;
  open_session(&s, c, inputs, 1);
  run_forward(&s);
  to_doubles(output, s.call.output.value, s.shape.output);
  report_losses(&s, c, losses);
  close_session(&s, c);
}

/* The values that backward did not ask for are gone by the time it runs. */
static void take_unread_values(session *s, const op_case *c) {
  for (int i = 0; i < s->shape.inputs; ++i)
    if (!(s->op->backward_reads & LAP_READS_INPUT(i)) && s->call.input[i].value)
      poison(s->call.input[i].value, s->shape.size[i]);
  if (!s->op->in_place) poison(s->call.output.value, s->shape.output);
  set_scratch(s, c, true);
}

/* A gradient for each shard: what was there before is the first's, the others have nothing. */
static real *stack(const double *gradient, int64_t size, const op_case *c) {
  real *stacked = reals(c->shards * size);
  for (int64_t i = 0; i < c->shards * size; ++i)
    stacked[i] = i < size ? (real)gradient[i] : isnan(gradient[0]) ? (real)NAN : 0;
  return stacked;
}

static void backward(const op_case *c, double *const inputs[OP_INPUTS], const double *d_output,
                     bool accumulate, int threads, double *const gradients[OP_INPUTS],
                     const test_losses *losses) {
  session s;
  open_session(&s, c, inputs, threads);
  run_forward(&s);
  take_unread_values(&s, c);
  real *dy = to_reals(d_output, s.shape.output);
  s.call.output.gradient = dy;
  const bool stacked = c->kind == OP_LINEAR && c->shards;
  for (int i = 0; i < s.shape.inputs; ++i) {
    const bool shared = i == 0 && (s.op->in_place || c->share);
    s.call.input[i].accumulate = !shared && (accumulate || s.shape.weight[i]);
    s.call.input[i].gradient = shared              ? dy
                               : i == 0 && stacked ? stack(gradients[i], s.shape.size[i], c)
                                                   : to_reals(gradients[i], s.shape.size[i]);
  }
  const int before = omp_get_max_threads();
  omp_set_num_threads(s.threads);
  s.op->backward(&s.call);
  omp_set_num_threads(before);
  if (stacked) {
    real *one = reals(s.shape.size[0]);
    sum_stacked(c, s.call.input[0].gradient, s.shape.size[0], one);
    lap_release_aligned(s.call.input[0].gradient);
    s.call.input[0].gradient = one;
  }
  for (int i = 0; i < s.shape.inputs; ++i) {
    to_doubles(gradients[i], s.call.input[i].gradient, s.shape.size[i]);
    if (s.call.input[i].gradient != dy) lap_release_aligned(s.call.input[i].gradient);
  }
  report_losses(&s, c, losses);
  lap_release_aligned(dy);
  close_session(&s, c);
}

const op_runner LAP_PRECISION(op_runner) = {forward, backward};
