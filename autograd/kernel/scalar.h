/* scalar: exp, log, cos and sin of one double, without libm.
 *
 * libm's results differ between versions and CPUs, so nothing on the path to the state of a
 * run calls it (docs/design.md#arithmetic). These are for the few places where one value at a time
 * is needed: rotary tables, initialisation, learning-rate schedule, log-sum-exp of a row. Built
 * from IEEE operations and fma only: the same bits everywhere. Errors are below 2 ulp on the
 * ranges given (tests/autograd).
 */
#ifndef LAP_AUTOGRAD_KERNEL_SCALAR_H
#define LAP_AUTOGRAD_KERNEL_SCALAR_H

double lap_scalar_exp(double x);               /* 0 below -745, inf above 709.78; NaN stays */
double lap_scalar_log(double x);               /* -inf at 0; NaN for x < 0 */
double lap_scalar_log_add(double a, double b); /* log(e^a + e^b); -inf for two of them */
void lap_scalar_sincos(double x, double *sine, double *cosine); /* |x| <= 2^20 */
double lap_scalar_power(double base, unsigned long exponent);   /* by squaring */

#endif
