/* roof_table: where the time of `bench` went, beside what the cores and the memory would allow:
 * the table of --profile, and the same as JSON.
 *
 * A row is a kind of op, or a part of the step that is not an op. Its roof is the lower of the peak
 * and of bandwidth times intensity (Williams et al. 2009), intensity being useful FLOPs over bytes
 * of compulsory traffic (op.h, step/moved.h). The share of the roof is therefore the larger of
 *   useful FLOPs / (peak x seconds)     and     bytes / (bandwidth x seconds)
 * which also says how near a row without products is to the bandwidth. What does more than it must
 * - scores that nobody sees, logits written out, operands packed again, waiting for other ranks -
 * has a smaller share. A row whose operands are still in a cache, or that writes past the caches,
 * may exceed 1.
 */
#ifndef LAP_TRAINER_COMMANDS_ROOF_TABLE_H
#define LAP_TRAINER_COMMANDS_ROOF_TABLE_H

#include <jansson.h>

#include "autograd/tape/profile.h"
#include "trainer/step/step.h"

/* Of one rank, sums over `steps` steps. */
typedef struct {
  int64_t steps;
  double seconds;                   /* of the steps */
  double phase_seconds[LAP_PHASES]; /* of the parts that are not ops */
  double phase_moved[LAP_PHASES];   /* bytes of a single step; 0: not known */
  lap_tape_profile_row rows[16];
  int row_count;
  double peak_gflops, triad_gbps; /* of this rank; 0: not measured */
} lap_roof_profile;

/* On stdout. */
void lap_roof_table_print(const lap_roof_profile *profile);

/* A list, one object a row, of a mean step; the caller's. `roof_share`, `bound` and the rates are
 * null where they mean nothing. */
json_t *lap_roof_table_to_json(const lap_roof_profile *profile);

#endif
