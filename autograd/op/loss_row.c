/* loss_row: the losses of one position and their gradient with respect to its logits
 * (docs/design.md#objective)
 *   z [V] soft-capped logits     y the next token     K the ids the teacher kept, with t_k, and r
 *   p = softmax(z)   P = sum_K p   a = sum_K t   s = a + r   w = distill_weight   tau = temperature
 *
 * The kept logits are taken out of z first (-inf stays there), so that the mass of the rest
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
 *   decoupled  w s      0        0        w         t in H, b t / r_T in T     (tau = 1)
 * and decoupled adds w (b - r_T) softmax_T. There b = tail_weight, T is everything but the head,
 * and its softmax is over kept ids and the rest; with b = r_T it is `none`, with b = 0 `ghost`.
 */
#include "autograd/op/loss_row.h"

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"
#include "autograd/kernel/wide.h"

static double temperature_of(const lap_row_labels *labels) {
  return labels->k > 0 ? labels->objective->temperature : 1;
}

static double distill_weight_of(const lap_row_labels *labels) {
  return labels->k > 0 ? labels->objective->distill_weight : 0;
}

/* --- what the shards bring together --- */

/* The first slot from `i` on whose id is in the slice; k: none. Most slices have few, so whole
 * blocks of slots are passed over at once. */
static int64_t next_here(const lap_row_labels *labels, const lap_row_slice *slice, int64_t i) {
  enum { BLOCK = 16 };
  const int32_t first = (int32_t)slice->first, count = (int32_t)slice->count;
  while (i < labels->k) {
    const int32_t *ids = labels->ids + i;
    if (i % BLOCK == 0 && i + BLOCK <= labels->k) {
      int here = 0;
      for (int j = 0; j < BLOCK; ++j) here |= ids[j] >= first && ids[j] - first < count;
      if (!here) {
        i += BLOCK;
        continue;
      }
    }
    if (*ids >= first && *ids - first < count) return i;
    ++i;
  }
  return labels->k;
}

/* The kept logits of the slice leave it. */
static void take_kept(const lap_row_labels *labels, const lap_row_slice *slice, real *kept) {
  for (int64_t i = next_here(labels, slice, 0); i < labels->k;
       i = next_here(labels, slice, i + 1)) {
    real *z = slice->z + (labels->ids[i] - slice->first);
    kept[i] = *z;
    *z = -INFINITY;
  }
}

/* Masses relative to `from` become relative to `to`, which is not less. */
static double shifted(double sum, real from, real to, double tau) {
  return from == to || sum == 0 ? sum : sum * lap_scalar_exp(((double)from - (double)to) / tau);
}

static void add_panel(const real *z, int64_t count, double tau, lap_row_rest *rest) {
  const real largest = lap_vector_max(z, count);
  const real top = largest > rest->largest ? largest : rest->largest;
  const real shift = largest == -INFINITY ? 0 : largest; /* nothing, or only NaN, which stays */
  const double taus[LAP_ROW_MASSES] = {1, tau};
  for (int i = 0; i < (tau != 1 ? LAP_ROW_MASSES : 1); ++i) {
    const double sum = (double)lap_vector_sum_exp(z, count, shift, (real)(1 / taus[i]));
    rest->sums[i] =
        shifted(rest->sums[i], rest->largest, top, taus[i]) + shifted(sum, largest, top, taus[i]);
  }
  rest->largest = top;
}

void lap_row_begin(const lap_row_labels *labels, const lap_row_slice *slice, real *ends, real *kept,
                   lap_row_rest *rest) {
  const int64_t target = labels->target - slice->first;
  if (target >= 0 && target < slice->count) ends[LAP_ROW_TARGET] = slice->z[target];
  take_kept(labels, slice, kept);
  for (int64_t j = 0; j < slice->count; j += LAP_ROW_PANEL)
    add_panel(slice->z + j, slice->count - j < LAP_ROW_PANEL ? slice->count - j : LAP_ROW_PANEL,
              temperature_of(labels), rest);
  if (rest->largest > ends[LAP_ROW_REST]) ends[LAP_ROW_REST] = rest->largest;
}

void lap_row_masses(const lap_row_labels *labels, const lap_row_rest *rest, const real *ends,
                    double *sums) {
  const real largest = ends[LAP_ROW_REST];
  sums[0] = shifted(rest->sums[0], rest->largest, largest, 1);
  sums[1] = shifted(rest->sums[1], rest->largest, largest, temperature_of(labels));
}

/* --- losses --- */

static double log_mass(real max, double sum, double tau) {
  return max == -INFINITY ? -INFINITY : (double)max / tau + lap_scalar_log(sum);
}

static lap_row_mass mass_of(real max_rest, double sum_rest, const real *kept, int64_t k,
                            double tau) {
  const real max_kept = lap_vector_max(kept, k);
  lap_row_mass m = {.max_rest = (double)max_rest, .rest = log_mass(max_rest, sum_rest, tau)};
  const real sum_kept =
      max_kept == -INFINITY ? 0 : lap_vector_sum_exp(kept, k, max_kept, (real)(1 / tau));
  m.kept = log_mass(max_kept, (double)sum_kept, tau);
  m.all = lap_scalar_log_add(m.rest, m.kept);
  return m;
}

void lap_row_head_first(int32_t *ids, real *probability, int64_t k, int64_t head) {
  for (int64_t i = 0; i < head && i < k; ++i) {
    int64_t most = i;
    for (int64_t j = i + 1; j < k; ++j)
      if (probability[j] > probability[most]) most = j;
    const int32_t id = ids[i];
    const real p = probability[i];
    ids[i] = ids[most], ids[most] = id;
    probability[i] = probability[most], probability[most] = p;
  }
}

/* Slots of the head; all of them where there is no other. */
static int64_t head_of(const lap_row_labels *labels) {
  const int64_t head = labels->objective->head;
  return head < labels->k ? head : labels->k;
}

static double tail_of(const lap_row_labels *labels, const real *kept, double rest) {
  const int64_t head = head_of(labels), count = labels->k - head;
  const real max = lap_vector_max(kept + head, count);
  if (max == -INFINITY) return rest;
  return lap_scalar_log_add(
      rest, log_mass(max, (double)lap_vector_sum_exp(kept + head, count, max, 1), 1));
}

/* The weights of the tail become those of its own distribution. */
static void decouple(const lap_row_labels *labels, lap_row_rule *made, real *weight) {
  double drawn = 0;
  for (int64_t i = head_of(labels); i < labels->k; ++i) drawn += (double)weight[i];
  const double scale = drawn > 0 ? labels->objective->tail_weight / drawn : 0;
  for (int64_t i = head_of(labels); i < labels->k; ++i)
    weight[i] = (real)(scale * (double)weight[i]);
  made->tail_mass = drawn + made->r;
  made->tail = scale * drawn - made->tail_mass;
  made->all = made->a + made->r, made->target = 1;
}

/* t' before it is scaled, in weight [k]; returns its sum. Probabilities are raised relative to the
 * largest, which stays 1: at a low temperature the powers themselves would all be 0. */
static double raise_kept(const lap_row_labels *labels, double *sum, real *weight) {
  const double tau = labels->objective->temperature;
  double largest = 0, raised_sum = 0;
  *sum = 0;
  for (int64_t i = 0; i < labels->k; ++i) {
    const double ti = labels->ids[i] < 0 ? 0 : (double)labels->probability[i];
    weight[i] = (real)ti;
    *sum += ti;
    if (ti > largest) largest = ti;
  }
  if (tau == 1) return *sum;
  const double top = lap_scalar_log(largest);
  for (int64_t i = 0; i < labels->k; ++i) {
    const double ti = (double)weight[i];
    const double raised = ti > 0 ? lap_scalar_exp((lap_scalar_log(ti) - top) / tau) : ti;
    weight[i] = (real)raised;
    raised_sum += raised;
  }
  return raised_sum;
}

static lap_row_rule teacher_rule(const lap_row_labels *labels, bool rest_empty, real *weight) {
  const lap_objective *objective = labels->objective;
  const int64_t k = labels->k;
  const double tau = objective->temperature;
  double sum;
  const double raised_sum = raise_kept(labels, &sum, weight);
  lap_row_rule made = {.a = sum, .r = rest_empty ? 0 : (double)labels->tail};
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
    case LAP_TAIL_DECOUPLED:
      decouple(labels, &made, weight);
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

/* KD = -sum_K t' log q - r log(1 - P), q at tau; of the tail of `decoupled` log softmax_T. */
static double distillation(const lap_row_rule *made, const lap_row_labels *labels,
                           const real *weight, const real *z_kept, const lap_row_mass *m,
                           double tau) {
  const bool decoupled = labels->objective->tail == LAP_TAIL_DECOUPLED;
  const double normaliser = made->kept > 0 ? m->kept : m->all;
  const int64_t head = decoupled ? head_of(labels) : labels->k;
  double kd = 0;
  for (int64_t i = 0; i < labels->k; ++i)
    if (labels->ids[i] >= 0 && weight[i] > 0)
      kd -= (double)weight[i] * ((double)z_kept[i] / tau - (i < head ? normaliser : m->tail));
  if (decoupled && made->tail_mass > 0) kd -= made->tail_mass * (m->tail - m->all);
  if (made->rest < 0) kd += made->rest * (m->rest - m->all);
  return kd;
}

/* KL between the K+1 buckets at temperature 1, both sides normalised. */
static double bucket_kl(const lap_row_rule *made, const lap_row_labels *labels, const real *z_kept,
                        const lap_row_mass *m) {
  const int32_t *ids = labels->ids;
  const real *t = labels->probability;
  double cross = made->r > 0 ? made->r * (m->rest - m->all) : 0;
  for (int64_t i = 0; i < labels->k; ++i)
    if (ids[i] >= 0 && t[i] > 0) cross += (double)t[i] * ((double)z_kept[i] - m->all);
  return -labels->teacher_entropy - cross / (made->a + made->r);
}

lap_row_loss lap_row_coefficients_of(const lap_row_labels *labels, const real *ends,
                                     const real *kept, const double *sums, real *weight,
                                     lap_row_coefficients *coefficients) {
  const double w = distill_weight_of(labels), tau = temperature_of(labels);
  const real max_rest = ends[LAP_ROW_REST];
  const int64_t k = labels->k;
  lap_row_coefficients v = {.one = mass_of(max_rest, sums[0], kept, k, 1)};
  v.hot = tau == 1 ? v.one : mass_of(max_rest, sums[1], kept, k, tau);
  lap_row_loss row = {.ce = v.one.all - (double)ends[LAP_ROW_TARGET]};
  if (k > 0) {
    v.rule = teacher_rule(labels, v.one.rest == -INFINITY, weight);
    if (labels->objective->tail == LAP_TAIL_DECOUPLED)
      v.one.tail = v.hot.tail = tail_of(labels, kept, v.one.rest);
    row.kd = distillation(&v.rule, labels, weight, kept, &v.hot, tau);
    row.kl = bucket_kl(&v.rule, labels, kept, &v.one);
  }
  row.loss = w > 0 ? (1 - w) * row.ce + w * tau * tau * row.kd : row.ce; /* never 0 * inf */
  *coefficients = v;
  return row;
}

/* --- gradient --- */

static real cap_slope(real z, real inverse_cap) { return 1 - z * inverse_cap * (z * inverse_cap); }

/* Weights of the terms that fall on the rest of the row: cross-entropy, and the rule's. */
typedef struct {
  double ce, all, rest;
} rest_weights;

/* The gradient of z_j of the rest, 0 where that would be subnormal: the products that read it would
 * be slow. Kept ids get meaningless numbers, overwritten later. */
LAP_WIDE
static void rest_gradient(const lap_row_slice *slice, const lap_row_coefficients *coefficients,
                          const rest_weights *weights, double tau, real inverse_cap,
                          real *gradient) {
  const lap_row_mass *one = &coefficients->one, *hot = &coefficients->hot;
  const real *z = slice->z;
  if (one->rest == -INFINITY) { /* everything is kept */
    for (int64_t j = 0; j < slice->count; ++j) gradient[j] = z[j];
    return;
  }
  const real max = (real)one->max_rest;
  if (tau == 1) {
    /* p_j = softmax_rest_j (1 - P): one factor on exp(z_j - max) for all terms. */
    const double remaining = lap_scalar_exp(one->rest - one->all);
    const real factor =
        lap_without_subnormal((real)(((weights->ce + weights->all) * remaining + weights->rest) *
                                     lap_scalar_exp(one->max_rest - one->rest)));
    for (int64_t j = 0; j < slice->count; ++j)
      gradient[j] =
          lap_without_subnormal(factor * lap_exp(z[j] - max) * cap_slope(z[j], inverse_cap));
    return;
  }
  const real cold = (real)(weights->ce * lap_scalar_exp(one->max_rest - one->all));
  const real warm = (real)(weights->all * lap_scalar_exp(one->max_rest / tau - hot->all));
  const real inverse_tau = (real)(1 / tau);
  for (int64_t j = 0; j < slice->count; ++j) {
    const real below = z[j] - max;
    const real weight = cold * lap_exp(below) + warm * lap_exp(below * inverse_tau);
    gradient[j] = lap_without_subnormal(weight * cap_slope(z[j], inverse_cap));
  }
}

void lap_row_gradient(const lap_row_labels *labels, const lap_row_slice *slice, const real *ends,
                      const real *kept, const real *weight,
                      const lap_row_coefficients *coefficients, real *gradient) {
  const double w = distill_weight_of(labels), tau = temperature_of(labels);
  const lap_row_mass *one = &coefficients->one, *hot = &coefficients->hot;
  const lap_row_rule *made = &coefficients->rule;
  const real inverse_cap = labels->softcap > 0 ? (real)(1 / labels->softcap) : 0;
  double on_rest = w * made->rest;
  if (made->tail != 0) on_rest += w * made->tail * lap_scalar_exp(one->rest - one->tail);
  rest_gradient(slice, coefficients, &(rest_weights){1 - w, w * made->all, on_rest}, tau,
                inverse_cap, gradient);
  const int64_t head = made->tail != 0 ? head_of(labels) : labels->k;
  const double normaliser = made->kept > 0 ? hot->kept : hot->all, on_q = made->all + made->kept;
  for (int64_t i = next_here(labels, slice, 0); i < labels->k;
       i = next_here(labels, slice, i + 1)) {
    const int64_t j = labels->ids[i] - slice->first;
    const double zi = (double)kept[i];
    const double p = lap_exp((real)(zi - one->all)), q = lap_exp((real)(zi / tau - normaliser));
    double d = (1 - w) * p + w * (on_q * q - made->target * (double)weight[i]);
    if (i >= head) d += w * made->tail * lap_exp((real)(zi - one->tail));
    gradient[j] = lap_without_subnormal((real)d * cap_slope(kept[i], inverse_cap));
  }
  const int64_t target = labels->target - slice->first;
  if (target >= 0 && target < slice->count)
    gradient[target] -= (real)(1 - w) * cap_slope(ends[LAP_ROW_TARGET], inverse_cap);
}

/* --- a row in one slice --- */

lap_row_loss lap_loss_row(const lap_row_labels *labels, real *z, int64_t vocab, bool gradient,
                          real *scratch) {
  const lap_row_slice slice = {z, 0, vocab};
  const int64_t k = labels->k;
  real ends[LAP_ROW_ENDS] = {-INFINITY, -INFINITY}, *kept = scratch, *weight = scratch + k;
  double sums[LAP_ROW_MASSES];
  lap_row_coefficients coefficients;
  for (int64_t i = 0; i < k; ++i) kept[i] = -INFINITY;
  lap_row_rest rest = lap_row_nothing_read();
  lap_row_begin(labels, &slice, ends, kept, &rest);
  lap_row_masses(labels, &rest, ends, sums);
  const lap_row_loss row = lap_row_coefficients_of(labels, ends, kept, sums, weight, &coefficients);
  if (gradient) lap_row_gradient(labels, &slice, ends, kept, weight, &coefficients, z);
  return row;
}
