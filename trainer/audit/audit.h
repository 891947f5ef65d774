/* audit: what a teacher's cache is worth, read whole: how much of each distribution it keeps, where
 * it keeps less, what it costs, and whether its teacher is right as often as it says.
 *
 * Pure reading, by one process. Rows that docs/design.md#windows does not count are passed over.
 */
#ifndef LAP_TRAINER_AUDIT_AUDIT_H
#define LAP_TRAINER_AUDIT_AUDIT_H

#include <jansson.h>
#include <stdio.h>

#include "core/progress.h"
#include "teacher/cache.h"
#include "trainer/audit/reliability.h"

/* Means over the rows of a group. */
typedef struct {
  uint64_t rows;
  double kept;    /* sum of the weights: coverage; 1 of a drawn codec */
  double tail;    /* stored tail_mass */
  double slots;   /* used ones */
  double entropy; /* stored; NAN where it is not */
} lap_audit_group;

/* Lengths of context in powers of two, as `eval --by position` has them; entropies in nats. */
enum { LAP_AUDIT_CONTEXTS = 32, LAP_AUDIT_ENTROPIES = 8, LAP_AUDIT_QUANTILES = 5 };
extern const double lap_audit_entropy_from[LAP_AUDIT_ENTROPIES];
extern const double lap_audit_quantile[LAP_AUDIT_QUANTILES]; /* of the tail mass; 1: the largest */

typedef struct {
  double bytes_per_token; /* of the files */
  lap_audit_group all, context[LAP_AUDIT_CONTEXTS], entropy[LAP_AUDIT_ENTROPIES];
  bool has_entropy, is_drawn;
  double tail[LAP_AUDIT_QUANTILES];
  double teacher_loss;         /* mean -log p of the next token; NAN: not stored */
  lap_reliability calibration; /* of topk caches; else without positions */
  lap_full_calibration full;   /* likewise; of the kept ids */
} lap_audit;

/* LAP_DATA where a row is invalid. `hook`, unless NULL, is told of the tokens, window by window. */
lap_code lap_audit_cache(lap_cache *cache, const lap_progress_hook *hook, lap_audit *audit,
                         lap_status *status);

/* A new reference; NAN as null. */
json_t *lap_audit_to_json(const lap_audit *audit);
void lap_audit_print(const lap_audit *audit, FILE *out);

#endif
