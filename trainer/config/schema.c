#include "trainer/config/schema.h"

#include <stddef.h>
#include <string.h>

#include "core/suggest.h"

static const char *const tail_words[] = {"ghost", "drop", "renormalise", "renormalise_both",
                                         "none",  NULL};
static const char *const shard_words[] = {"none", "optimizer", "gradients", "full", NULL};
static const char *const recompute_words[] = {"none", "block", "attention", NULL};
static const char *const schedule_words[] = {"cosine", "linear", "constant", "wsd", NULL};
static const char *const precision_words[] = {"float32", "bfloat16", NULL};

/* Upper bounds keep products of two keys within int64_t; the model's own check is stricter. */
enum { MODEL_WIDTH = 1 << 20, MODEL_LENGTH = 1 << 24 };

/* clang-format off */
static const lap_config_key schema[] = {
    {"seed", LAP_KEY_INTEGER, offsetof(lap_config, seed), .fallback = "1", .minimum = 0,
     .maximum = 9e18, .in_numbers = true},
    {"init", LAP_KEY_TEXT, offsetof(lap_config, init), .fallback = "random"},
    {"run_dir", LAP_KEY_TEXT, offsetof(lap_config, run_dir), .needs = LAP_NEEDS_RUN},
    {"tokenizer", LAP_KEY_TEXT, offsetof(lap_config, tokenizer), .needs = LAP_NEEDS_DATA},

    {"model.vocab_size", LAP_KEY_INTEGER, offsetof(lap_config, model.vocab_size), .minimum = 2,
     .maximum = MODEL_LENGTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.hidden_size", LAP_KEY_INTEGER, offsetof(lap_config, model.hidden_size), .minimum = 1,
     .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.intermediate_size", LAP_KEY_INTEGER, offsetof(lap_config, model.intermediate_size),
     .minimum = 1, .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.num_hidden_layers", LAP_KEY_INTEGER, offsetof(lap_config, model.num_hidden_layers),
     .minimum = 1, .maximum = LAP_MAX_LAYERS, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.num_attention_heads", LAP_KEY_INTEGER, offsetof(lap_config, model.num_attention_heads),
     .minimum = 1, .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.num_key_value_heads", LAP_KEY_INTEGER, offsetof(lap_config, model.num_key_value_heads),
     .minimum = 1, .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.head_dim", LAP_KEY_INTEGER, offsetof(lap_config, model.head_dim), .minimum = 2,
     .maximum = MODEL_WIDTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.sliding_window", LAP_KEY_INTEGER, offsetof(lap_config, model.sliding_window),
     .minimum = 1, .maximum = MODEL_LENGTH, .needs = LAP_NEEDS_MODEL, .in_numbers = true},
    {"model.query_pre_attn_scalar", LAP_KEY_REAL, offsetof(lap_config, model.query_pre_attn_scalar),
     .minimum = 0, .maximum = 1e300, .lower = LAP_ABOVE, .needs = LAP_NEEDS_MODEL,
     .in_numbers = true},
    {"model.attn_logit_softcapping", LAP_KEY_CAP,
     offsetof(lap_config, model.attn_logit_softcapping), .fallback = "50", .minimum = 0,
     .maximum = 1e300, .lower = LAP_ABOVE, .in_numbers = true},
    {"model.final_logit_softcapping", LAP_KEY_CAP,
     offsetof(lap_config, model.final_logit_softcapping), .fallback = "30", .minimum = 0,
     .maximum = 1e300, .lower = LAP_ABOVE, .in_numbers = true},
    {"model.rope_theta", LAP_KEY_REAL, offsetof(lap_config, model.rope_theta), .fallback = "10000",
     .minimum = 0, .maximum = 1e300, .lower = LAP_ABOVE, .in_numbers = true},
    {"model.rms_norm_eps", LAP_KEY_REAL, offsetof(lap_config, model.rms_norm_eps),
     .fallback = "1e-6", .minimum = 0, .maximum = 1, .lower = LAP_ABOVE, .in_numbers = true},
    {"model.max_position_embeddings", LAP_KEY_INTEGER,
     offsetof(lap_config, model.max_position_embeddings), .fallback = "8192", .minimum = 1,
     .maximum = MODEL_LENGTH, .in_numbers = true},
    {"model.layer_types", LAP_KEY_LAYER_TYPES, offsetof(lap_config, model.sliding),
     .in_numbers = true},

    {"data.train", LAP_KEY_SOURCES, offsetof(lap_config, data), .needs = LAP_NEEDS_DATA},
    {"data.eval", LAP_KEY_TEXT, offsetof(lap_config, data.eval), .fallback = NULL},
    {"data.sequence_length", LAP_KEY_INTEGER, offsetof(lap_config, data.sequence_length),
     .minimum = 2, .maximum = MODEL_LENGTH, .needs = LAP_NEEDS_BATCH, .in_numbers = true},
    {"data.document_mask", LAP_KEY_BOOLEAN, offsetof(lap_config, data.document_mask),
     .fallback = "true", .in_numbers = true},

    {"teacher.cache", LAP_KEY_TEXT, offsetof(lap_config, teacher.cache), .fallback = NULL},
    {"teacher.allow_context_mismatch", LAP_KEY_BOOLEAN,
     offsetof(lap_config, teacher.allow_context_mismatch), .fallback = "false"},
    {"teacher.allow_shift", LAP_KEY_BOOLEAN, offsetof(lap_config, teacher.allow_shift),
     .fallback = "false"},

    {"objective.distill_weight", LAP_KEY_REAL, offsetof(lap_config, objective.distill_weight),
     .minimum = 0, .maximum = 1, .in_numbers = true},
    {"objective.temperature", LAP_KEY_REAL, offsetof(lap_config, objective.temperature),
     .fallback = "1", .minimum = 0, .maximum = 1000, .lower = LAP_ABOVE, .in_numbers = true},
    {"objective.tail", LAP_KEY_WORD, offsetof(lap_config, objective.tail), .words = tail_words,
     .in_numbers = true},

    {"mesh.pods", LAP_KEY_SMALL, offsetof(lap_config, mesh.pods), .fallback = "1", .minimum = 1,
     .maximum = 4096, .in_numbers = true},
    {"mesh.data", LAP_KEY_SMALL, offsetof(lap_config, mesh.data), .fallback = "1", .minimum = 1,
     .maximum = 65536, .in_numbers = true},
    {"mesh.model", LAP_KEY_SMALL, offsetof(lap_config, mesh.model), .fallback = "1", .minimum = 1,
     .maximum = 4096, .in_numbers = true},
    {"mesh.shard", LAP_KEY_WORD, offsetof(lap_config, shard), .fallback = "optimizer",
     .words = shard_words},
    {"mesh.model_ranks", LAP_KEY_SMALL, offsetof(lap_config, model_ranks), .minimum = 1,
     .maximum = 4096},
    {"recompute", LAP_KEY_WORD, offsetof(lap_config, recompute), .fallback = "none",
     .words = recompute_words},

    {"batch.sequences", LAP_KEY_INTEGER, offsetof(lap_config, batch.sequences), .minimum = 1,
     .maximum = 1e9, .needs = LAP_NEEDS_BATCH, .in_numbers = true},
    {"batch.micro_sequences", LAP_KEY_INTEGER, offsetof(lap_config, batch.micro_sequences),
     .fallback = "1", .minimum = 1, .maximum = 1e9, .in_numbers = true},

    {"optimizer.learning_rate", LAP_KEY_REAL, offsetof(lap_config, optimizer.learning_rate),
     .minimum = 0, .maximum = 1000, .lower = LAP_ABOVE, .in_numbers = true},
    {"optimizer.beta1", LAP_KEY_REAL, offsetof(lap_config, optimizer.beta1), .fallback = "0.9",
     .minimum = 0, .maximum = 1, .upper = LAP_BELOW, .in_numbers = true},
    {"optimizer.beta2", LAP_KEY_REAL, offsetof(lap_config, optimizer.beta2), .fallback = "0.95",
     .minimum = 0, .maximum = 1, .upper = LAP_BELOW, .in_numbers = true},
    {"optimizer.epsilon", LAP_KEY_REAL, offsetof(lap_config, optimizer.epsilon),
     .fallback = "1e-8", .minimum = 0, .maximum = 1, .lower = LAP_ABOVE, .in_numbers = true},
    {"optimizer.weight_decay", LAP_KEY_REAL, offsetof(lap_config, optimizer.weight_decay),
     .fallback = "0.1", .minimum = 0, .maximum = 1000, .in_numbers = true},
    {"optimizer.clip_norm", LAP_KEY_REAL, offsetof(lap_config, optimizer.clip_norm),
     .fallback = "1", .minimum = 0, .maximum = 1e300, .lower = LAP_ABOVE, .in_numbers = true},

    {"schedule.steps", LAP_KEY_INTEGER, offsetof(lap_config, schedule.steps), .minimum = 1,
     .maximum = 1e12, .in_numbers = true},
    {"schedule.tokens", LAP_KEY_INTEGER, offsetof(lap_config, schedule.tokens), .minimum = 1,
     .maximum = 1e18, .in_numbers = true},
    {"schedule.epochs", LAP_KEY_REAL, offsetof(lap_config, schedule.epochs), .minimum = 0,
     .maximum = 1e9, .lower = LAP_ABOVE, .in_numbers = true},
    {"schedule.warmup_steps", LAP_KEY_INTEGER, offsetof(lap_config, schedule.warmup_steps),
     .minimum = 0, .maximum = 1e12, .in_numbers = true},
    {"schedule.kind", LAP_KEY_WORD, offsetof(lap_config, schedule.kind), .fallback = "cosine",
     .words = schedule_words, .in_numbers = true},
    {"schedule.final_ratio", LAP_KEY_REAL, offsetof(lap_config, schedule.final_ratio),
     .fallback = "0.1", .minimum = 0, .maximum = 1, .in_numbers = true},

    {"checkpoint.every_steps", LAP_KEY_INTEGER, offsetof(lap_config, checkpoint.every_steps),
     .minimum = 0, .maximum = 1e12},
    {"checkpoint.every_minutes", LAP_KEY_REAL, offsetof(lap_config, checkpoint.every_minutes),
     .minimum = 0, .maximum = 1e9},
    {"checkpoint.keep", LAP_KEY_INTEGER, offsetof(lap_config, checkpoint.keep), .fallback = "3",
     .minimum = 1, .maximum = 1e9},
    {"checkpoint.keep_every", LAP_KEY_INTEGER, offsetof(lap_config, checkpoint.keep_every),
     .minimum = 1, .maximum = 1e12},
    {"checkpoint.keep_best", LAP_KEY_BOOLEAN, offsetof(lap_config, checkpoint.keep_best),
     .fallback = "false"},
    {"eval.every_steps", LAP_KEY_INTEGER, offsetof(lap_config, eval.every_steps), .minimum = 0,
     .maximum = 1e12},

    {"threads", LAP_KEY_SMALL, offsetof(lap_config, threads), .fallback = "1", .minimum = 1,
     .maximum = 4096},
    {"blas_core", LAP_KEY_TEXT, offsetof(lap_config, blas_core), .fallback = "auto",
     .in_numbers = true},
    {"precision", LAP_KEY_WORD, offsetof(lap_config, precision), .fallback = "float32",
     .words = precision_words, .in_numbers = true},
    {"watchdog_seconds", LAP_KEY_REAL, offsetof(lap_config, watchdog_seconds), .fallback = "300",
     .minimum = 0, .maximum = 1e9, .lower = LAP_ABOVE},
    {"max_bad_steps", LAP_KEY_INTEGER, offsetof(lap_config, max_bad_steps), .fallback = "10",
     .minimum = 1, .maximum = 1e9},
};
/* clang-format on */

enum { KEYS = sizeof schema / sizeof *schema };

const lap_config_key *lap_config_schema(size_t *count) {
  *count = KEYS;
  return schema;
}

int lap_config_find(const char *name) {
  for (int i = 0; i < KEYS; ++i)
    if (strcmp(schema[i].name, name) == 0) return i;
  return -1;
}

bool lap_config_is_section(const char *name) {
  const size_t length = strlen(name);
  for (int i = 0; i < KEYS; ++i)
    if (strncmp(schema[i].name, name, length) == 0 && schema[i].name[length] == '.') return true;
  return false;
}

/* Sections are candidates too: "modle: {...}" is a section misspelt, not a key. */
const char *lap_config_nearest(const char *name) {
  static const char *const sections[] = {"model", "data",      "teacher",  "objective",  "mesh",
                                         "batch", "optimizer", "schedule", "checkpoint", "eval"};
  enum { SECTIONS = sizeof sections / sizeof *sections };
  const char *candidates[KEYS + SECTIONS];
  for (int i = 0; i < KEYS; ++i) candidates[i] = schema[i].name;
  for (int i = 0; i < SECTIONS; ++i) candidates[KEYS + i] = sections[i];
  return lap_suggest(name, candidates, KEYS + SECTIONS);
}
