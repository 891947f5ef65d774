/* tolerance: how far rows may be from those of another program before they are another teacher's.
 *
 * Two passes of one program over the same tokens at different batch sizes differ by its rounding
 * alone. Live rows may differ from either as much again on the other side, and by what storing a
 * log-probability in 16 bits takes away:
 *
 *   tolerance = 2 (largest difference between the passes) + max over p of p |log p| / 2^11
 *
 * of which the last is 1 / (e 2^11). An id that only one of two rows keeps is taken for as likely
 * as the other row's least likely one, at most: its place at the edge may have changed.
 */
#ifndef LAP_TRAINER_AUDIT_TOLERANCE_H
#define LAP_TRAINER_AUDIT_TOLERANCE_H

#include "teacher/cache.h"

/* *tolerance of a probability, from two caches of codec topk for the same tokens. LAP_DATA where
 * they are not alike, or a row is invalid. */
lap_code lap_tolerance_of_passes(lap_cache *cache, lap_cache *again, double *tolerance,
                                 lap_status *status);

#endif
