/* reference_model: Gemma 2 forward in double as nested loops over docs/design.md#model, without a
 * tape.
 *
 * Slow and plain on purpose; it shares no code with autograd/ but the config. Weights come by
 * Hugging Face name from whoever calls, so that it can check any way to store them.
 */
#ifndef TESTS_AUTOGRAD_REFERENCE_MODEL_H
#define TESTS_AUTOGRAD_REFERENCE_MODEL_H

#include <stdint.h>

#include "autograd/gemma2/config.h"

/* The row-major elements of a weight, e.g. "model.layers.0.mlp.up_proj.weight". */
typedef const double *(*reference_weight)(void *context, const char *name);

/* logits [sequences, length, vocab_size] after the final soft-cap. tokens and document_start
 * [sequences, length]: position i sees the positions from document_start[i], and on sliding layers
 * only the last sliding_window. */
void reference_model_logits(const lap_gemma2_config *config, reference_weight weight, void *context,
                            int64_t sequences, int64_t length, const int32_t *tokens,
                            const int32_t *document_start, double *logits);

#endif
