/* decode: Gemma 2 for one sequence, token by token, with a cache of keys and values.
 *
 * The logits are those of the whole forward pass (lap_gemma2_run) over the same tokens as one
 * document: bit for bit with our own products, up to rounding with OpenBLAS's. A prompt goes
 * through in blocks of positions; then each token is one pass. A layer of full attention caches the
 * keys and values of all positions; a sliding layer only those of its window, in a ring.
 *
 * The ops are those of training (op/op.h), called on one block; only attention is its own here,
 * because its queries are fewer than its keys.
 */
#ifndef LAP_AUTOGRAD_GEMMA2_DECODE_H
#define LAP_AUTOGRAD_GEMMA2_DECODE_H

#include <stdint.h>

#include "autograd/gemma2/config.h"
#include "autograd/kernel/real.h"

#define lap_decoder_create LAP_PRECISION(lap_decoder_create)
#define lap_decoder_create_bfloat16 LAP_PRECISION(lap_decoder_create_bfloat16)
#define lap_decoder_create_alone LAP_PRECISION(lap_decoder_create_alone)
#define lap_decoder_destroy LAP_PRECISION(lap_decoder_destroy)
#define lap_decoder_prefill LAP_PRECISION(lap_decoder_prefill)
#define lap_decoder_step LAP_PRECISION(lap_decoder_step)
#define lap_decoder_position LAP_PRECISION(lap_decoder_position)
#define lap_decoder_max_positions LAP_PRECISION(lap_decoder_max_positions)
#define lap_decoder_observe LAP_PRECISION(lap_decoder_observe)
#define lap_decoder_reset LAP_PRECISION(lap_decoder_reset)
#define lap_decoder_cache_bytes LAP_PRECISION(lap_decoder_cache_bytes)
#define lap_decoder_read_bytes LAP_PRECISION(lap_decoder_read_bytes)

typedef struct lap_decoder lap_decoder;

/* A decoder at position 0 for sequences of at most `max_positions` tokens. `weights` is the
 * canonical vector of gemma2/parameters.h and must outlive the decoder. `threads` bounds the OpenMP
 * threads of the calls to come; it decides scratch memory, never results. */
lap_decoder *lap_decoder_create(const lap_gemma2_config *config, const real *weights,
                                int64_t max_positions, int64_t threads);
/* The same of a vector that is held in bfloat16. */
lap_decoder *lap_decoder_create_bfloat16(const lap_gemma2_config *config, const uint16_t *weights,
                                         int64_t max_positions, int64_t threads);
/* The same where nobody else reads the weights, in one of the two forms (the other is NULL): where
 * products allow it, they are laid out for decoding, in their memory (kernel/row_strips.h). */
lap_decoder *lap_decoder_create_alone(const lap_gemma2_config *config, real *weights,
                                      uint16_t *bfloat16, int64_t max_positions, int64_t threads);
void lap_decoder_destroy(lap_decoder *decoder);

/* Appends `count` > 0 tokens to the sequence. Returns the soft-capped logits [V] of the last of
 * them, in memory of the decoder that the next call overwrites. Asserts that the sequence stays
 * within max_positions and the tokens within the vocabulary. */
const real *lap_decoder_prefill(lap_decoder *decoder, const int32_t *tokens, int64_t count);
/* The same for one token. */
const real *lap_decoder_step(lap_decoder *decoder, int32_t token);

/* Tokens in the sequence so far. */
int64_t lap_decoder_position(const lap_decoder *decoder);
int64_t lap_decoder_max_positions(const lap_decoder *decoder);
/* Calls `observer` for every query of the passes to come, with the attention probabilities of one
 * head over the keys that it sees: of positions [first, first + count), in memory that lives as
 * long as the call. Several threads call at once, each for another head. NULL: nobody. */
typedef void (*lap_attention_observer)(void *context, int64_t layer, int64_t head, int64_t query,
                                       int64_t first, const real *probability, int64_t count);
void lap_decoder_observe(lap_decoder *decoder, lap_attention_observer observer, void *context);
/* Forgets the sequence. */
void lap_decoder_reset(lap_decoder *decoder);

/* Bytes of keys and values that a decoder of this shape holds; scratch memory is not in it. */
int64_t lap_decoder_cache_bytes(const lap_gemma2_config *config, int64_t max_positions);
/* Bytes that the step of the token at `position` cannot but read: every weight once, of which each
 * takes `weight_bytes`, and the keys and values that it sees. */
int64_t lap_decoder_read_bytes(const lap_gemma2_config *config, int64_t position,
                               int64_t weight_bytes);

#endif
