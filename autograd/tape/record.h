/* record: the ops of op/op.h as functions from values to values, so that a model reads like its
 * forward pass. Shapes follow from the inputs. */
#ifndef LAP_AUTOGRAD_TAPE_RECORD_H
#define LAP_AUTOGRAD_TAPE_RECORD_H

#include "autograd/tape/tape.h"

#define lap_record_embedding LAP_PRECISION(lap_record_embedding)
#define lap_record_rmsnorm LAP_PRECISION(lap_record_rmsnorm)
#define lap_record_linear LAP_PRECISION(lap_record_linear)
#define lap_record_rope LAP_PRECISION(lap_record_rope)
#define lap_record_attention LAP_PRECISION(lap_record_attention)
#define lap_record_geglu LAP_PRECISION(lap_record_geglu)
#define lap_record_residual LAP_PRECISION(lap_record_residual)
#define lap_record_head LAP_PRECISION(lap_record_head)

/* weight [V, H] -> [rows, H] */
lap_value lap_record_embedding(lap_tape *tape, lap_value weight, int64_t rows, double scale);
/* x [R, H], weight [1, H] -> [R, H] */
lap_value lap_record_rmsnorm(lap_tape *tape, lap_value x, lap_value weight, double epsilon);
/* x [R, I], weight [O, I] -> [R, O] */
lap_value lap_record_linear(lap_tape *tape, lap_value x, lap_value weight);
/* x [BT, heads D] -> the same memory, rotated; x must not be used again */
lap_value lap_record_rope(lap_tape *tape, lap_value x, const lap_rope_attributes *attributes);
/* q [BT, N D], k, v [BT, M D] -> [BT, N D] */
lap_value lap_record_attention(lap_tape *tape, lap_value q, lap_value k, lap_value v,
                               const lap_attention_attributes *attributes);
/* gate, up [R, I] -> [R, I] */
lap_value lap_record_geglu(lap_tape *tape, lap_value gate, lap_value up);
/* x, y [R, H] -> [R, H] */
lap_value lap_record_residual(lap_tape *tape, lap_value x, lap_value y);
/* x [BT, H], weight [V, H] -> [1, 1], the sum of losses */
lap_value lap_record_head(lap_tape *tape, lap_value x, lap_value weight,
                          const lap_head_attributes *attributes);

#endif
