/* gguf_fixture: small checkpoints with hand-made tokenizers, and `lapidary export --format gguf`
 * run on them. A failure of the fixture itself fails the test. */
#ifndef LAP_TESTS_TRAINER_EXPORT_GGUF_FIXTURE_H
#define LAP_TESTS_TRAINER_EXPORT_GGUF_FIXTURE_H

#include <stdbool.h>

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/config/config.h"

enum { VOCABULARY = 280, HIDDEN = 10, INNER = 12, LAYERS = 3, HEADS = 2, HEAD_DIM = 4 };

#define MODEL_OF(layers)                                                                  \
  "model: {vocab_size: 280, hidden_size: 10, intermediate_size: 12,\n"                    \
  "  num_hidden_layers: " layers                                                          \
  ", num_attention_heads: 2, num_key_value_heads: 1,\n"                                   \
  "  head_dim: 4, sliding_window: 7, query_pre_attn_scalar: 4, rope_theta: 12345.5,\n"    \
  "  attn_logit_softcapping: 20.5, final_logit_softcapping: 10.25, rms_norm_eps: 3e-5,\n" \
  "  max_position_embeddings: 48}\n"

typedef struct {
  char *directory;
  lap_comm *comm;
} gguf_fixture;

int gguf_set_up(void **state);
int gguf_tear_down(void **state);

/* The types of pieces, in SentencePiece and in GGUF, and of models. */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };
enum { UNIGRAM = 1, BPE = 2 };

typedef struct {
  const char *name;
  float score;
  int type;
} extra_piece;

enum { FIRST_EXTRA = 4 + 256, EXTRAS = 6 };
extern const extra_piece gguf_extras[EXTRAS];

/* Writes a tokenizer model of four special pieces, 256 byte pieces and `extra` [count]; returns its
 * path. */
const char *gguf_write_model(const gguf_fixture *f, int model_type, bool bytes,
                             const extra_piece *extra, int count);
/* One with gguf_extras, in which nothing is wrong. */
const char *gguf_good_model(const gguf_fixture *f);

/* Weights that are different everywhere, norms too. */
void gguf_fill(const lap_parameters *parameters, float *weights);
/* Writes the checkpoint "model" of a config text with `change` (NULL: none), gguf_fill's weights
 * and a tokenizer (NULL: none). */
void gguf_write_checkpoint(const gguf_fixture *f, const char *text, const char *change,
                           const char *tokenizer);

/* Runs `BEFORE lapidary export model --format gguf --out OUT` in the directory and returns its exit
 * code; stderr and stdout go to `said` [size]. */
int gguf_export(const gguf_fixture *f, const char *before, const char *out, char *said,
                size_t size);
/* Exports to x.gguf, as it must be possible. */
void gguf_export_well(const gguf_fixture *f);

#endif
