#include "tests/autograd/reference.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

typedef long double wide;

static wide *wides(int64_t n) { return lap_allocate(n, sizeof(wide)); }

/* --- attention --- */

/* "Key j is visible to i iff first(i) <= j <= i, where first(i) is the start of i's document, and
 * on local layers also >= i - window + 1." */
static bool visible(const reference_attention_shape *shape, int64_t first, int64_t i, int64_t j) {
  if (j < first || j > i) return false;
  return shape->window == 0 || j >= i - shape->window + 1;
}

/* Probabilities p [T] and capped scores s [T] of query i. */
static void weights_of(const reference_attention_shape *shape, int64_t length, int64_t first,
                       int64_t i, const double *q, const double *k, wide *p, wide *s) {
  const int64_t q_stride = shape->heads * shape->head_dim;
  const int64_t kv_stride = shape->kv_heads * shape->head_dim;
  wide sum = 0, largest = -INFINITY;
  for (int64_t j = 0; j < length; ++j) {
    wide score = 0;
    for (int64_t d = 0; d < shape->head_dim; ++d)
      score += (wide)q[i * q_stride + d] * k[j * kv_stride + d];
    score *= shape->scale;
    if (shape->softcap > 0) score = shape->softcap * tanhl(score / shape->softcap);
    s[j] = visible(shape, first, i, j) ? score : -INFINITY;
    if (s[j] > largest) largest = s[j];
  }
  for (int64_t j = 0; j < length; ++j) sum += p[j] = expl(s[j] - largest);
  for (int64_t j = 0; j < length; ++j) p[j] /= sum;
}

typedef struct {
  int64_t q, kv; /* offsets of (sequence, head) in q and o, and in k and v */
  const int32_t *document_start;
} head_offsets;

static head_offsets offsets_of(const reference_attention_shape *shape, const test_batch *batch,
                               int64_t sequence, int64_t head) {
  const int64_t row = sequence * batch->length, group = shape->heads / shape->kv_heads;
  return (head_offsets){(row * shape->heads + head) * shape->head_dim,
                        (row * shape->kv_heads + head / group) * shape->head_dim,
                        batch->document_start + row};
}

void reference_attention(const reference_attention_shape *shape, const test_batch *batch,
                         const double *q, const double *k, const double *v, double *o) {
  const int64_t length = batch->length, q_stride = shape->heads * shape->head_dim;
  const int64_t kv_stride = shape->kv_heads * shape->head_dim;
  wide *p = wides(length), *s = wides(length);
  for (int64_t sequence = 0; sequence < batch->sequences; ++sequence)
    for (int64_t head = 0; head < shape->heads; ++head) {
      const head_offsets at = offsets_of(shape, batch, sequence, head);
      for (int64_t i = 0; i < length; ++i) {
        weights_of(shape, length, at.document_start[i], i, q + at.q, k + at.kv, p, s);
        for (int64_t d = 0; d < shape->head_dim; ++d) {
          wide sum = 0;
          for (int64_t j = 0; j < length; ++j) sum += p[j] * v[at.kv + j * kv_stride + d];
          o[at.q + i * q_stride + d] = (double)sum;
        }
      }
    }
  free(p), free(s);
}

/* The chain rule, link by link: dp_j = do . v_j;  ds_j = p_j (dp_j - sum_l p_l dp_l);
 * du_j = ds_j (1 - (s_j / cap)^2);  dq += scale du_j k_j;  dk_j += scale du_j q;  dv_j += p_j do.
 */
void reference_attention_gradient(const reference_attention_shape *shape, const test_batch *batch,
                                  const double *q, const double *k, const double *v,
                                  const double *d_o, double *dq, double *dk, double *dv) {
  const int64_t length = batch->length, q_stride = shape->heads * shape->head_dim;
  const int64_t kv_stride = shape->kv_heads * shape->head_dim;
  const size_t rows = (size_t)(batch->sequences * length);
  memset(dq, 0, rows * (size_t)q_stride * sizeof *dq);
  memset(dk, 0, rows * (size_t)kv_stride * sizeof *dk);
  memset(dv, 0, rows * (size_t)kv_stride * sizeof *dv);
  wide *p = wides(length), *s = wides(length), *dp = wides(length);
  for (int64_t sequence = 0; sequence < batch->sequences; ++sequence)
    for (int64_t head = 0; head < shape->heads; ++head) {
      const head_offsets at = offsets_of(shape, batch, sequence, head);
      for (int64_t i = 0; i < length; ++i) {
        weights_of(shape, length, at.document_start[i], i, q + at.q, k + at.kv, p, s);
        const int64_t query = at.q + i * q_stride;
        wide mean = 0;
        for (int64_t j = 0; j < length; ++j) {
          dp[j] = 0;
          for (int64_t d = 0; d < shape->head_dim; ++d)
            dp[j] += (wide)d_o[query + d] * v[at.kv + j * kv_stride + d];
          mean += p[j] * dp[j];
        }
        for (int64_t j = 0; j < length; ++j) {
          if (!visible(shape, at.document_start[i], i, j)) continue;
          const int64_t key = at.kv + j * kv_stride;
          wide du = p[j] * (dp[j] - mean) * shape->scale;
          if (shape->softcap > 0) du *= 1 - s[j] / shape->softcap * (s[j] / shape->softcap);
          for (int64_t d = 0; d < shape->head_dim; ++d) {
            dq[query + d] += (double)(du * k[key + d]);
            dk[key + d] += (double)(du * q[query + d]);
            dv[key + d] += (double)(p[j] * d_o[query + d]);
          }
        }
      }
    }
  free(p), free(s), free(dp);
}

/* --- the loss of one position --- */

/* log sum exp(z_j / tau) over all j (which < 0), over j in K (1) or over the rest (0). */
static wide log_sum_exp(const wide *z, const bool *kept, int64_t vocab, int which, wide tau) {
  wide largest = -INFINITY, sum = 0;
  for (int64_t j = 0; j < vocab; ++j)
    if ((which < 0 || kept[j] == which) && z[j] > largest) largest = z[j];
  if (largest == -INFINITY) return -INFINITY;
  for (int64_t j = 0; j < vocab; ++j)
    if (which < 0 || kept[j] == which) sum += expl((z[j] - largest) / tau);
  return largest / tau + logl(sum);
}

typedef struct {
  const wide *z, *t; /* [vocab]: logits; teacher's probability, 0 off K */
  const bool *kept;
  int64_t vocab;
  wide r, tau;
} row_view;

/* KD and, added into dz with factor `weight`, its gradient with respect to z. */
static wide ghost_or_drop(const row_view *row, bool ghost, wide weight, wide *dz) {
  const wide all = log_sum_exp(row->z, row->kept, row->vocab, -1, 1);
  const wide rest = log_sum_exp(row->z, row->kept, row->vocab, 0, 1);
  const wide r = ghost && rest > -INFINITY ? row->r : 0;
  wide a = 0, kd = 0;
  for (int64_t j = 0; j < row->vocab; ++j) {
    a += row->t[j];
    if (row->t[j] > 0) kd -= row->t[j] * (row->z[j] - all);
  }
  if (r > 0) kd -= r * (rest - all);
  for (int64_t j = 0; j < row->vocab; ++j) {
    const wide p = expl(row->z[j] - all);
    const wide in_rest = !row->kept[j] ? expl(row->z[j] - rest) : 0;
    dz[j] += weight * ((a + r) * p - row->t[j] - r * in_rest);
  }
  return kd;
}

static wide renormalised(const row_view *row, bool both, wide weight, wide *dz) {
  const wide normaliser = log_sum_exp(row->z, row->kept, row->vocab, both ? 1 : -1, row->tau);
  wide sum = 0, kd = 0;
  for (int64_t j = 0; j < row->vocab; ++j)
    if (row->t[j] > 0) sum += powl(row->t[j], 1 / row->tau);
  if (sum == 0) return 0; /* a teacher that kept nothing says nothing */
  for (int64_t j = 0; j < row->vocab; ++j) {
    const wide t = row->t[j] > 0 ? powl(row->t[j], 1 / row->tau) / sum : 0;
    const wide log_q = row->z[j] / row->tau - normaliser;
    if (t > 0) kd -= t * log_q;
    const wide q = both && !row->kept[j] ? 0 : expl(log_q);
    dz[j] += weight * (q - t) / row->tau;
  }
  return kd;
}

/* Head ids as classes, all others as one, and what is kept of these as a distribution of its own.
 */
static wide decoupled(const row_view *row, const bool *in_head, wide tail_weight, wide weight,
                      wide *dz) {
  const wide all = log_sum_exp(row->z, in_head, row->vocab, -1, 1);
  const wide tail = log_sum_exp(row->z, in_head, row->vocab, 0, 1);
  const wide rest = log_sum_exp(row->z, row->kept, row->vocab, 0, 1);
  wide kept_tail = 0, kd = 0;
  for (int64_t j = 0; j < row->vocab; ++j)
    if (!in_head[j]) kept_tail += row->t[j];
  const wide mass = kept_tail + (rest > -INFINITY ? row->r : 0);
  for (int64_t j = 0; j < row->vocab; ++j) {
    const wide t = row->t[j];
    if (in_head[j]) {
      if (t > 0) kd -= t * (row->z[j] - all);
      for (int64_t i = 0; i < row->vocab; ++i)
        dz[i] += weight * t * (expl(row->z[i] - all) - (i == j));
    } else if (t > 0) {
      kd -= tail_weight * t / kept_tail * (row->z[j] - tail);
      for (int64_t i = 0; i < row->vocab; ++i)
        if (!in_head[i])
          dz[i] += weight * tail_weight * t / kept_tail * (expl(row->z[i] - tail) - (i == j));
    }
  }
  if (mass <= 0) return kd;
  for (int64_t i = 0; i < row->vocab; ++i)
    dz[i] += weight * mass * (expl(row->z[i] - all) - (in_head[i] ? 0 : expl(row->z[i] - tail)));
  return kd - mass * (tail - all);
}

static wide bucket_kl(const row_view *row) {
  const wide all = log_sum_exp(row->z, row->kept, row->vocab, -1, 1);
  const wide rest = log_sum_exp(row->z, row->kept, row->vocab, 0, 1);
  const wide r = rest > -INFINITY ? row->r : 0;
  wide s = r, kl = 0;
  for (int64_t j = 0; j < row->vocab; ++j) s += row->t[j];
  for (int64_t j = 0; j < row->vocab; ++j)
    if (row->t[j] > 0) kl += row->t[j] / s * (logl(row->t[j] / s) - (row->z[j] - all));
  if (r > 0) kl += r / s * (logl(r / s) - (rest - all));
  return kl;
}

reference_losses reference_row(const double *u, int64_t vocab, int32_t target, int64_t k,
                               const int32_t *ids, const double *probability, double tail,
                               const lap_objective *objective, double softcap, double *du) {
  wide *z = wides(vocab), *t = wides(vocab), *dz = wides(vocab);
  bool *kept = lap_allocate(vocab, sizeof *kept);
  for (int64_t j = 0; j < vocab; ++j)
    z[j] = softcap > 0 ? softcap * tanhl((wide)u[j] / softcap) : (wide)u[j];
  bool *in_head = lap_allocate(vocab, sizeof *in_head);
  for (int64_t i = 0; i < k; ++i)
    if (ids[i] >= 0) {
      kept[ids[i]] = true, t[ids[i]] = probability[i];
      in_head[ids[i]] = i < objective->head;
    }
  const wide w = k > 0 ? objective->distill_weight : 0, tau = objective->temperature;
  const row_view row = {z, t, kept, vocab, tail, tau};
  const wide all = log_sum_exp(z, kept, vocab, -1, 1);
  const wide ce = all - z[target];
  for (int64_t j = 0; j < vocab; ++j) dz[j] = (1 - w) * (expl(z[j] - all) - (j == target));
  wide kd = 0, kl = 0;
  if (k > 0) {
    const lap_tail rule = objective->tail;
    if (rule == LAP_TAIL_RENORMALISE || rule == LAP_TAIL_RENORMALISE_BOTH)
      kd = renormalised(&row, rule == LAP_TAIL_RENORMALISE_BOTH, w * tau * tau, dz);
    else if (rule == LAP_TAIL_DECOUPLED)
      kd = decoupled(&row, in_head, objective->tail_weight, w, dz);
    else
      kd = ghost_or_drop(&row, rule == LAP_TAIL_GHOST, w * tau * tau, dz);
    kl = bucket_kl(&row);
  }
  for (int64_t j = 0; du && j < vocab; ++j) {
    const wide slope = softcap > 0 ? 1 - z[j] / softcap * (z[j] / softcap) : 1;
    du[j] = (double)(dz[j] * slope);
  }
  free(z), free(t), free(dz), free(kept), free(in_head);
  return (reference_losses){(double)((1 - w) * ce + w * tau * tau * kd), (double)ce, (double)kd,
                            (double)kl};
}

/* --- rmsnorm --- */

void reference_rmsnorm(int64_t rows, int64_t columns, double epsilon, const double *x,
                       const double *w, double *y, const double *dy, double *dx, double *dw) {
  for (int64_t j = 0; dy && j < columns; ++j) dw[j] = 0;
  for (int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
    wide square = 0, mixed = 0;
    for (int64_t j = 0; j < columns; ++j) square += (wide)x[j] * x[j];
    const wide size = sqrtl(square / columns + epsilon);
    for (int64_t j = 0; j < columns; ++j) y[j] = (double)(x[j] / size * (1 + (wide)w[j]));
    if (!dy) continue;
    for (int64_t j = 0; j < columns; ++j) mixed += (wide)dy[j] * (1 + (wide)w[j]) * x[j];
    for (int64_t j = 0; j < columns; ++j) {
      const wide direct = dy[j] * (1 + (wide)w[j]) / size;
      dx[j] = (double)(direct - x[j] * mixed / (columns * size * size * size));
      dw[j] += (double)(dy[j] * (wide)x[j] / size);
    }
    dy += columns, dx += columns;
  }
}
