/* numerics_version: one number for the order in which lapidary adds, multiplies and rounds.
 *
 * Bumped whenever a kernel, a reduction, an initialisation or the data order changes the bits of a
 * training state. It is part of numbers_sha256, so that a run never silently resumes on other
 * arithmetic.
 *
 * The teacher's version counts only for runs whose bits changed with it (trainer/config/numbers.c):
 * since 2 a temperature raises a row's probabilities relative to its largest, and smoothing towards
 * token frequencies has its most probable ids first where the tail is decoupled.
 */
#ifndef LAP_AUTOGRAD_KERNEL_NUMERICS_VERSION_H
#define LAP_AUTOGRAD_KERNEL_NUMERICS_VERSION_H

enum { LAP_NUMERICS_VERSION = 6 };
enum { LAP_TEACHER_VERSION = 2 };

#endif
