#include "trainer/statistics/distributions.h"

#include <assert.h>
#include <float.h>
#include <math.h>

enum { MOST_TERMS = 20000, HALVINGS = 200 };

double lap_normal_cdf(double z) { return 0.5 * erfc(-z / sqrt(2.0)); }

static double log_gamma(double x) {
  int sign; /* lgamma would write it to a global */
  return lgamma_r(x, &sign);
}

/* --- the incomplete beta function --- */

static double away_from_zero(double x) { return fabs(x) < DBL_MIN * 4 ? DBL_MIN * 4 : x; }

/* The continued fraction of I_x(a, b), by Lentz's method (DLMF 8.17.22); for x < (a+1)/(a+b+2). */
static double beta_fraction(double a, double b, double x) {
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), value = d;
  for (int m = 1; m < MOST_TERMS; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    value *= c * d;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    value *= c * d;
    if (fabs(c * d - 1) < DBL_EPSILON) break;
  }
  return value;
}

/* I_x(a, b) with y = 1 - x, which the caller knows without cancellation. */
static double incomplete_beta(double a, double b, double x, double y) {
  if (x <= 0) return 0;
  if (y <= 0) return 1;
  const double front =
      exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log(y));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, y) / b;
}

/* --- Student's t --- */

/* From here on t is normal to within 1e-10. */
static const double NORMAL_FROM = 1e9;

double lap_student_two_sided(double t, double df) {
  assert(df > 0);
  if (isinf(t)) return 0;
  if (df > NORMAL_FROM) return erfc(fabs(t) / sqrt(2.0));
  const double whole = df + t * t;
  return incomplete_beta(df / 2, 0.5, df / whole, t * t / whole);
}

double lap_student_cdf(double t, double df) {
  const double tail = lap_student_two_sided(t, df) / 2;
  return t > 0 ? 1 - tail : tail;
}

/* The x in [low, high] at which a rising function reaches p; the middle of the last two doubles
 * that are neighbours, or nearly so. */
static double invert(double (*cdf)(double, double), double p, double df, double low, double high) {
  for (int i = 0; i < HALVINGS; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    if (cdf(middle, df) < p)
      low = middle;
    else
      high = middle;
  }
  return low + (high - low) / 2;
}

/* P(|T| <= t) rises in t > 0. */
static double inside(double t, double df) { return 1 - lap_student_two_sided(t, df); }

double lap_student_quantile(double p, double df) {
  assert(p > 0 && p < 1 && df > 0);
  const double central = fabs(2 * p - 1);
  double high = 1;
  while (inside(high, df) < central && high < DBL_MAX / 4) high *= 2;
  const double t = invert(inside, central, df, 0, high);
  return p < 0.5 ? -t : t;
}

/* --- chi squared --- */

/* P(a, x), the regularised lower incomplete gamma function: its series (DLMF 8.11.4) below a + 1,
 * its continued fraction (DLMF 8.9.2) above. */
static double incomplete_gamma(double a, double x) {
  if (x <= 0) return 0;
  const double front = exp(a * log(x) - x - log_gamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int n = 1; n < MOST_TERMS && term > sum * DBL_EPSILON; ++n) sum += term *= x / (a + n);
    return front * sum;
  }
  double b = x + 1 - a, c = 1 / DBL_MIN, d = 1 / b, value = d;
  for (int n = 1; n < MOST_TERMS; ++n) {
    const double numerator = -n * (n - a);
    b += 2;
    d = 1 / away_from_zero(numerator * d + b);
    c = away_from_zero(b + numerator / c);
    value *= c * d;
    if (fabs(c * d - 1) < DBL_EPSILON) break;
  }
  return 1 - front * value;
}

double lap_chi_squared_cdf(double x, double df) {
  assert(df > 0);
  return incomplete_gamma(df / 2, x / 2);
}

double lap_chi_squared_quantile(double p, double df) {
  assert(p > 0 && p < 1 && df > 0);
  double high = df + 1;
  while (lap_chi_squared_cdf(high, df) < p) high *= 2;
  return invert(lap_chi_squared_cdf, p, df, 0, high);
}
