/* head: the tied output head, the final soft-cap and the loss, over chunks of positions
 *   x [BT, H] input     w [V, H] the embedding     loss [1, 1], the sum over counted positions
 *   u = x w^T     z = cap tanh(u / cap)     loss and d loss / d u by loss_row
 *
 * A chunk's logits turn into gradients in place and feed dx and dw at once, so a training step
 * makes each logit once, and the memory for logits is a constant whatever the batch.
 */
#include <assert.h>
#include <omp.h>
#include <string.h>

#include "autograd/kernel/gemm.h"
#include "autograd/kernel/vector.h"
#include "autograd/op/op.h"

/* 4 Mi logits, but no fewer than 64 positions, so that dw of a large vocabulary is not read and
 * written too often; a multiple of 16. */
int64_t lap_head_chunk(int64_t vocab_size) {
  const int64_t chunk = (INT64_C(1) << 22) / vocab_size / 16 * 16;
  return chunk < 64 ? 64 : chunk > 1024 ? 1024 : chunk;
}

void lap_head_logits(const real *x, const real *weight, int64_t rows, int64_t hidden, int64_t vocab,
                     double softcap, real *logits) {
  lap_gemm(LAP_PLAIN, LAP_TRANSPOSED, rows, vocab, hidden, x, hidden, weight, hidden, 0, logits,
           vocab);
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r)
    lap_vector_softcap(logits + r * vocab, vocab, 1, (real)softcap);
}

/* Positions at a time: no more than there are, so that small batches take little memory. */
static int64_t chunk_of(const lap_op_call *call) {
  const int64_t rows = call->input[0].rows, chunk = lap_head_chunk(call->input[1].rows);
  return chunk < rows ? chunk : rows;
}

/* Losses of positions [begin, end); with `gradient` their logits become d loss / d u. */
static void chunk_losses(const lap_op_call *call, real *logits, real *scratch, int64_t begin,
                         int64_t end, bool gradient) {
  const lap_head_attributes *attributes = call->attributes;
  const lap_batch *batch = call->batch;
  const int64_t vocab = call->input[1].rows, k = batch->k;
#pragma omp parallel for schedule(static)
  for (int64_t r = begin; r < end; ++r) {
    real *z = logits + (r - begin) * vocab;
    lap_row_loss row = {0};
    if (batch->targets[r] >= 0)
      row = lap_loss_row(z, vocab, batch->targets[r], k, k ? batch->teacher_ids + r * k : NULL,
                         k ? batch->teacher_probability + r * k : NULL,
                         k ? batch->teacher_tail[r] : 0, k ? batch->teacher_entropy[r] : 0,
                         &attributes->objective, attributes->softcap, gradient,
                         scratch + omp_get_thread_num() * 2 * k);
    else if (gradient)
      memset(z, 0, (size_t)vocab * sizeof *z);
    call->losses->loss[r] = row.loss;
    call->losses->ce[r] = row.ce;
    call->losses->kd[r] = row.kd;
    call->losses->kl[r] = row.kl;
  }
}

static void sum_losses(const lap_op_call *call) {
  double sum = 0;
  for (int64_t r = 0; r < call->input[0].rows; ++r) sum += call->losses->loss[r];
  call->output.value[0] = (real)sum;
}

static void forward(const lap_op_call *call) {
  const lap_head_attributes *attributes = call->attributes;
  const int64_t rows = call->input[0].rows, hidden = call->input[0].columns;
  const int64_t vocab = call->input[1].rows, chunk = chunk_of(call);
  real *logits = call->scratch, *row_scratch = logits + chunk * vocab;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = begin + chunk < rows ? begin + chunk : rows;
    lap_head_logits(call->input[0].value + begin * hidden, call->input[1].value, end - begin,
                    hidden, vocab, attributes->softcap, logits);
    chunk_losses(call, logits, row_scratch, begin, end, false);
  }
  sum_losses(call);
}

/* dx = du w     dw += du^T x       losses as in forward; the output's gradient is 1 */
static void backward(const lap_op_call *call) {
  assert(call->input[1].accumulate);
  const lap_head_attributes *attributes = call->attributes;
  const int64_t rows = call->input[0].rows, hidden = call->input[0].columns;
  const int64_t vocab = call->input[1].rows, chunk = chunk_of(call);
  real *logits = call->scratch, *row_scratch = logits + chunk * vocab;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = begin + chunk < rows ? begin + chunk : rows;
    const real *x = call->input[0].value + begin * hidden;
    lap_head_logits(x, call->input[1].value, end - begin, hidden, vocab, attributes->softcap,
                    logits);
    chunk_losses(call, logits, row_scratch, begin, end, true);
    lap_gemm(LAP_PLAIN, LAP_PLAIN, end - begin, hidden, vocab, logits, vocab, call->input[1].value,
             hidden, call->input[0].accumulate ? 1 : 0, call->input[0].gradient + begin * hidden,
             hidden);
    lap_gemm(LAP_TRANSPOSED, LAP_PLAIN, vocab, hidden, end - begin, logits, vocab, x, hidden, 1,
             call->input[1].gradient, hidden);
  }
  sum_losses(call);
}

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  (void)backward;
  const int64_t vocab = call->input[1].rows;
  return chunk_of(call) * vocab + extent->threads * 2 * extent->teacher_k;
}

static double flops(const lap_op_call *call) {
  return 2.0 * (double)call->input[0].rows * (double)call->input[0].columns *
         (double)call->input[1].rows;
}

const lap_op lap_op_head = {.name = "head",
                            .forward = forward,
                            .backward = backward,
                            .scratch_size = scratch_size,
                            .flops = flops,
                            .backward_reads = LAP_READS_INPUT(0) | LAP_READS_INPUT(1),
                            .fused_loss = true};
