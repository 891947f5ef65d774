/* shadow: an independent check of a tape's plan (tape/plan.h), by walking its schedule over a map
 * of the arena that remembers which operand each number belongs to.
 *
 * It knows nothing of lifetimes. Each step must find what it reads still there, must not write
 * where another operand of the same step lies, and accumulates into a gradient exactly when someone
 * wrote it before. Double build.
 */
#ifndef TESTS_AUTOGRAD_SHADOW_H
#define TESTS_AUTOGRAD_SHADOW_H

#include "autograd/tape/internal.h"

/* NULL where the plan is sound, else what is wrong with it; free() it. */
char *shadow_check(const lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent);

#endif
