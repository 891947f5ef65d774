/* loss_row: the losses of one position and their gradient with respect to its logits (DESIGN 5)
 *   z [V] soft-capped logits     y the next token     K the ids the teacher kept, with t_k, and r
 *   p = softmax(z)   P = sum_K p   a = sum_K t   s = a + r   w = distill_weight   tau = temperature
 *
 * The kept logits are taken out of z first (their places hold -inf), so that the mass of the rest
 * is a sum over the rest, never 1 - P: with P close to 1 that difference has no digits left. The
 * softmax over the rest, rest_j = p_j / (1 - P), has its own maximum for the same reason.
 *
 * d loss / d z = (1-w) (p - [y]) + all q + kept q_K + rest softmax_rest - target t', where q is the
 * softmax of z / tau over everything, q_K over K, and
 *              all      kept     rest     target    t'
 *   ghost      w s      0        -w r     w         t              (tau = 1)
 *   drop, none w a      0        0        w         t              (tau = 1)
 *   renormalise w tau   0        0        w tau     t^(1/tau) / sum
 *   ..._both   0        w tau    0        w tau     t^(1/tau) / sum
 */
#include "autograd/kernel/elementary.h"
#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"
#include "autograd/op/op.h"

/* Log-sum-exp of the two parts of a row at one temperature; -inf where a part is empty. */
typedef struct {
  double max_rest, rest, kept, all;
} masses;

static double log_sum_exp(const real *z, int64_t count, double tau, double *max_out) {
  const real max = lap_vector_max(z, count);
  *max_out = (double)max;
  if (max == -INFINITY) return -INFINITY;
  return (double)max / tau +
         lap_scalar_log((double)lap_vector_sum_exp(z, count, max, (real)(1 / tau)));
}

static masses masses_of(const real *z, int64_t vocab, const real *z_kept, int64_t k, double tau) {
  masses m;
  double max_kept;
  m.rest = log_sum_exp(z, vocab, tau, &m.max_rest);
  m.kept = log_sum_exp(z_kept, k, tau, &max_kept);
  const double high = m.rest > m.kept ? m.rest : m.kept, low = m.rest > m.kept ? m.kept : m.rest;
  m.all = low == -INFINITY ? high : high + lap_scalar_log(1 + lap_scalar_exp(low - high));
  return m;
}

/* What a tail rule makes of a row: t' and the coefficients of the table above, without w. */
typedef struct {
  double a, r; /* r = 0 where the rest is empty */
  double all, kept, rest, target;
} rule;

static rule teacher_rule(int64_t k, const int32_t *ids, const real *t, double tail,
                         const lap_objective *objective, bool rest_empty, real *weight) {
  const double tau = objective->temperature;
  double sum = 0, raised_sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    const double ti = ids[i] < 0 ? 0 : (double)t[i];
    const double raised = tau == 1 || ti <= 0 ? ti : lap_scalar_exp(lap_scalar_log(ti) / tau);
    weight[i] = (real)raised;
    sum += ti;
    raised_sum += raised;
  }
  rule made = {.a = sum, .r = rest_empty ? 0 : tail};
  switch (objective->tail) {
    case LAP_TAIL_GHOST:
      made.all = made.a + made.r, made.rest = -made.r, made.target = 1;
      break;
    case LAP_TAIL_DROP:
    case LAP_TAIL_NONE:
      made.all = made.a, made.target = 1;
      break;
    case LAP_TAIL_RENORMALISE:
      made.all = tau, made.target = tau;
      break;
    case LAP_TAIL_RENORMALISE_BOTH:
      made.kept = tau, made.target = tau;
      break;
  }
  const bool renormalised =
      objective->tail == LAP_TAIL_RENORMALISE || objective->tail == LAP_TAIL_RENORMALISE_BOTH;
  if (renormalised && raised_sum > 0)
    for (int64_t i = 0; i < k; ++i) weight[i] = (real)((double)weight[i] / raised_sum);
  else if (renormalised) /* all mass is in the tail: a teacher that kept nothing says nothing */
    made.all = made.kept = made.target = 0;
  return made;
}

/* KD = -sum_K t' log q - r log(1 - P), q at tau. */
static double distillation(const rule *made, int64_t k, const int32_t *ids, const real *weight,
                           const real *z_kept, const masses *m, double tau) {
  const double normaliser = made->kept > 0 ? m->kept : m->all;
  double kd = 0;
  for (int64_t i = 0; i < k; ++i)
    if (ids[i] >= 0 && weight[i] > 0)
      kd -= (double)weight[i] * ((double)z_kept[i] / tau - normaliser);
  if (made->rest < 0) kd += made->rest * (m->rest - m->all);
  return kd;
}

/* KL between the K+1 buckets at temperature 1, both sides normalised. */
static double bucket_kl(const rule *made, int64_t k, const int32_t *ids, const real *t,
                        const real *z_kept, const masses *m, double teacher_entropy) {
  double cross = made->r > 0 ? made->r * (m->rest - m->all) : 0;
  for (int64_t i = 0; i < k; ++i)
    if (ids[i] >= 0 && t[i] > 0) cross += (double)t[i] * ((double)z_kept[i] - m->all);
  return -teacher_entropy - cross / (made->a + made->r);
}

static real cap_slope(real z, real inverse_cap) { return 1 - z * inverse_cap * (z * inverse_cap); }

/* The rest of the row: z_j becomes its gradient. Places of kept ids get garbage that kept_gradient
 * overwrites. */
static void rest_gradient(real *z, int64_t vocab, const masses *one, const masses *hot, double tau,
                          double ce_weight, double all, double rest, real inverse_cap) {
  if (one->rest == -INFINITY) return;
  const real max = (real)one->max_rest;
  if (tau == 1) {
    /* p_j = softmax_rest_j (1 - P): one factor on exp(z_j - max) for all terms. */
    const double remaining = lap_scalar_exp(one->rest - one->all);
    const real factor =
        (real)(((ce_weight + all) * remaining + rest) * lap_scalar_exp(one->max_rest - one->rest));
    for (int64_t j = 0; j < vocab; ++j)
      z[j] = factor * lap_exp(z[j] - max) * cap_slope(z[j], inverse_cap);
    return;
  }
  const real cold = (real)(ce_weight * lap_scalar_exp(one->max_rest - one->all));
  const real warm = (real)(all * lap_scalar_exp(one->max_rest / tau - hot->all));
  const real inverse_tau = (real)(1 / tau);
  for (int64_t j = 0; j < vocab; ++j) {
    const real below = z[j] - max;
    z[j] = (cold * lap_exp(below) + warm * lap_exp(below * inverse_tau)) *
           cap_slope(z[j], inverse_cap);
  }
}

lap_row_loss lap_loss_row(real *z, int64_t vocab, int32_t target, int64_t k, const int32_t *ids,
                          const real *probability, real tail, double teacher_entropy,
                          const lap_objective *objective, double softcap, bool gradient,
                          real *scratch) {
  const double w = k > 0 ? objective->distill_weight : 0, tau = k > 0 ? objective->temperature : 1;
  const real z_target = z[target], inverse_cap = softcap > 0 ? (real)(1 / softcap) : 0;
  real *z_kept = scratch, *weight = scratch + k;
  for (int64_t i = 0; i < k; ++i) {
    z_kept[i] = ids[i] < 0 ? -INFINITY : z[ids[i]];
    if (ids[i] >= 0) z[ids[i]] = -INFINITY;
  }
  const masses one = masses_of(z, vocab, z_kept, k, 1);
  const masses hot = tau == 1 ? one : masses_of(z, vocab, z_kept, k, tau);
  lap_row_loss row = {.ce = one.all - (double)z_target};
  rule made = {0};
  if (k > 0) {
    made =
        teacher_rule(k, ids, probability, (double)tail, objective, one.rest == -INFINITY, weight);
    row.kd = distillation(&made, k, ids, weight, z_kept, &hot, tau);
    row.kl = bucket_kl(&made, k, ids, probability, z_kept, &one, teacher_entropy);
  }
  row.loss = w > 0 ? (1 - w) * row.ce + w * tau * tau * row.kd : row.ce; /* never 0 * inf */
  if (!gradient) return row;

  rest_gradient(z, vocab, &one, &hot, tau, 1 - w, w * made.all, w * made.rest, inverse_cap);
  const double normaliser = made.kept > 0 ? hot.kept : hot.all, on_q = made.all + made.kept;
  for (int64_t i = 0; i < k; ++i) {
    if (ids[i] < 0) continue;
    const double zi = (double)z_kept[i];
    const double p = lap_exp((real)(zi - one.all)), q = lap_exp((real)(zi / tau - normaliser));
    const double d = (1 - w) * p + w * (on_q * q - made.target * (double)weight[i]);
    z[ids[i]] = (real)d * cap_slope(z_kept[i], inverse_cap);
  }
  z[target] -= (real)(1 - w) * cap_slope(z_target, inverse_cap);
  return row;
}
