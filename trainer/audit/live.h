/* live: the rows of a cache against those that its teacher makes now.
 *
 * A cache by `teach` of the same teacher holds, bit for bit, what the rows are once they are
 * rounded or drawn as they were then: any row that differs says that the model, its numbers or the
 * file are others. Rows of other programs differ by rounding; how far that goes two of their passes
 * say (trainer/audit/tolerance.h), and without them the differences are told, not judged.
 */
#ifndef LAP_TRAINER_AUDIT_LIVE_H
#define LAP_TRAINER_AUDIT_LIVE_H

#include <jansson.h>
#include <stdio.h>

#include "teacher/cache.h"
#include "trainer/cli/console.h"
#include "trainer/model/sharded.h"

typedef struct {
  bool same_teacher;   /* the cache has the teacher_sha256 of the model */
  bool redrawn;        /* the rows could be made as they were: topk, or with the draw seed */
  uint64_t rows;       /* compared */
  uint64_t other_rows; /* of which an id, a probability or the tail is not the one made now */
  double largest_gap;  /* of a topk row: between a stored probability and the live one of its id */
  double largest_tail_gap;
  double tolerance;     /* of a gap; NAN: none was given */
  uint64_t beyond_rows; /* whose largest gap is beyond it */
} lap_live_audit;

/* `weights_sha256`: of the model; `tolerance`: lap_tolerance_of_passes, or NAN. LAP_DATA where its
 * vocabulary is not that of the cache, or a row is invalid; LAP_NONFINITE where the model gives
 * NaN. Shows progress. */
lap_code lap_audit_live(const lap_sharded_model *model, const char *weights_sha256,
                        lap_cache *cache, double tolerance, int threads, lap_console *console,
                        lap_live_audit *live, lap_status *status);

/* A new reference. */
json_t *lap_live_audit_to_json(const lap_live_audit *live);
void lap_live_audit_print(const lap_live_audit *live, FILE *out);

#endif
