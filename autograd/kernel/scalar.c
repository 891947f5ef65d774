#include "autograd/kernel/scalar.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Only IEEE operations, fma and conversions: math.h above is for constants, fma and classification,
 * which compile to instructions. */

/* 2^n for n in [-1022, 1023], from its bits. */
static double power_of_two(int n) {
  const uint64_t bits = (uint64_t)(n + 1023) << 52;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The integer nearest to x, |x| < 2^51, ties to even: adding 1.5 * 2^52 rounds it off. */
static double nearest(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

double lap_scalar_exp(double x) {
  if (isnan(x)) return x;
  if (x > 709.782712893384) return INFINITY;
  if (x < -745.2) return 0;
  /* x = n ln 2 + r with |r| <= ln(2)/2; ln 2 in two parts, so that r keeps its bits. */
  const double n = nearest(x * 0x1.71547652b82fep0);
  double r = fma(n, -0x1.62e42fefa39efp-1, x);
  r = fma(n, -0x1.abc9e3b39803fp-56, r);
  /* Taylor to degree 13: the next term is below 5e-18 of the result. */
  double sum = 1.0 / 6227020800.0;
  static const double factorial[13] = {479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0,
                                       5040.0,      720.0,      120.0,     24.0,     6.0,
                                       2.0,         1.0,        1.0};
  for (int i = 0; i < 13; ++i) sum = fma(sum, r, 1.0 / factorial[i]);
  /* In two steps: subnormal results are reached, and 2^n does not overflow before the result. */
  const int half = (int)n / 2;
  return sum * power_of_two(half) * power_of_two((int)n - half);
}

double lap_scalar_log(double x) {
  if (isnan(x) || x < 0) return NAN;
  if (x == 0) return -INFINITY;
  if (isinf(x)) return x;
  int exponent = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    exponent = -54;
  }
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  exponent += (int)(bits >> 52) - 1023;
  bits = (bits & UINT64_C(0x000fffffffffffff)) | UINT64_C(0x3ff0000000000000);
  double m;
  memcpy(&m, &bits, sizeof m);
  if (m > 0x1.6a09e667f3bcdp0) {
    m *= 0.5;
    exponent += 1;
  }
  /* log m = 2 atanh(s), s = (m-1)/(m+1), |s| <= 0.172: the series to s^25. */
  const double f = m - 1;
  const double s = f / (2 + f);
  const double z = s * s;
  double sum = 1.0 / 25;
  for (int k = 23; k >= 3; k -= 2) sum = fma(sum, z, 1.0 / k);
  /* f - s (f - 2 z sum...) keeps the leading term exact: 2 s = f - s f. */
  const double tail = s * (2 * z * sum - f);
  return fma(exponent, 0x1.62e42fefa39efp-1, f + (tail + exponent * 0x1.abc9e3b39803fp-56));
}

double lap_scalar_log_add(double a, double b) {
  const double high = a > b ? a : b, low = a > b ? b : a;
  return low == -INFINITY ? high : high + lap_scalar_log(1 + lap_scalar_exp(low - high));
}

void lap_scalar_sincos(double x, double *sine, double *cosine) {
  /* x = n pi/2 + r, |r| <= pi/4; pi/2 in three parts. */
  const double n = nearest(x * 0x1.45f306dc9c883p-1);
  double r = fma(n, -0x1.921fb54442d18p0, x);
  r = fma(n, -0x1.1a62633145c07p-54, r);
  r = fma(n, 0x1.f1976b7ed8fbcp-110, r);
  const double z = r * r;
  double s = 0, c = 0;
  /* Taylor to r^17 and r^18 by Horner: sum_k (-1)^k z^k / (2k+1)! and / (2k)!. */
  for (int k = 9; k >= 1; --k) {
    c = (1 - c) * z / ((2.0 * k) * (2.0 * k - 1));
    if (k <= 8) s = (1 - s) * z / ((2.0 * k + 1) * (2.0 * k));
  }
  s = fma(-s, r, r);
  c = 1 - c;
  switch ((int64_t)n & 3) {
    case 0:
      *sine = s, *cosine = c;
      break;
    case 1:
      *sine = c, *cosine = -s;
      break;
    case 2:
      *sine = -s, *cosine = -c;
      break;
    default:
      *sine = -c, *cosine = s;
      break;
  }
}

/* An unevaluated sum of two doubles: squaring doubles the relative error, so a plain double would
 * lose a unit for each unit of the exponent. */
typedef struct {
  double high, low;
} pair;

static pair multiply(pair a, pair b) {
  const double product = a.high * b.high;
  const double rest = fma(a.high, b.high, -product) + (a.high * b.low + a.low * b.high);
  const double high = product + rest;
  if (!isfinite(high)) return (pair){product, 0};
  return (pair){high, rest - (high - product)};
}

double lap_scalar_power(double base, unsigned long exponent) {
  pair result = {1, 0};
  for (pair square = {base, 0}; exponent; exponent >>= 1, square = multiply(square, square))
    if (exponent & 1) result = multiply(result, square);
  return result.high;
}
