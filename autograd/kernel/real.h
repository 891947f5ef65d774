/* real: autograd is compiled twice from the same source, for float and for double.
 *
 * Everything in autograd/ that computes is written for `real`. The float build is what trains; the
 * double build is what tests differentiate and what `probe --double` prints. Each build's public
 * names get a suffix, so that both can live in one program: a header that declares such a name
 * defines it as LAP_PRECISION(name) first.
 */
#ifndef LAP_AUTOGRAD_KERNEL_REAL_H
#define LAP_AUTOGRAD_KERNEL_REAL_H

#ifdef LAP_DOUBLE
typedef double real;
#define LAP_PRECISION(name) name##_double
#else
typedef float real;
#define LAP_PRECISION(name) name##_float
#endif

#endif
