/* distributions: Student's t, chi squared and the normal distribution, in double.
 *
 * By hand: of the libraries that Debian packages, GSL and R's libRmath are under the GPL, which
 * cannot be linked into a program under Apache-2.0 without making the whole GPL, and Boost.Math
 * would add C++ and 150 MB of headers for three functions. The tests hold them to SciPy's values
 * within 1e-8 of their size.
 */
#ifndef LAP_TRAINER_STATISTICS_DISTRIBUTIONS_H
#define LAP_TRAINER_STATISTICS_DISTRIBUTIONS_H

/* P(Z <= z) of the standard normal distribution. */
double lap_normal_cdf(double z);

/* P(T <= t) of Student's t with `df` > 0 degrees of freedom, any real number of them; INFINITY is
 * the normal distribution. t may be infinite. */
double lap_student_cdf(double t, double df);
/* P(|T| >= |t|), exact in the far tail too. */
double lap_student_two_sided(double t, double df);
/* The t with P(T <= t) = p, for p in (0, 1) and df > 0. */
double lap_student_quantile(double p, double df);

/* P(X <= x) of the chi squared distribution with df > 0. */
double lap_chi_squared_cdf(double x, double df);
/* The x with P(X <= x) = p, for p in (0, 1). */
double lap_chi_squared_quantile(double p, double df);

#endif
