/* tape_table: the recorded ops of a model, one line each, for people who write ops: shapes, steps
 * of the schedule, slots of the arena, bytes (autograd/tape/walk.h).
 */
#ifndef LAP_TRAINER_PLAN_TAPE_TABLE_H
#define LAP_TRAINER_PLAN_TAPE_TABLE_H

#include <jansson.h>

#include "autograd/gemma2/model.h"

/* On stdout. The model may be recorded without memory, as below. */
void lap_tape_table_print(const lap_gemma2 *model);

/* {"ops": [{...}, ...], "arena_bytes", "rotary_bytes", "total_bytes"}, owned by the caller; null
 * where there is no such step or memory. */
json_t *lap_tape_table_to_json(const lap_gemma2 *model);

#endif
