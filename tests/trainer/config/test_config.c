/* config: good configs load, print and load again; bad ones are refused with line, key, advice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "trainer/config/load.h"
#include "trainer/config/numbers.h"
#include "trainer/config/origin.h"
#include "trainer/config/resolve.h"
#include "trainer/config/schema.h"
#include "trainer/config/value.h"

/* 11 lines; what a test adds begins on line 12. */
#define MODEL                                                                                    \
  "model:\n  vocab_size: 512\n  hidden_size: 64\n  intermediate_size: 128\n"                     \
  "  num_hidden_layers: 3\n  num_attention_heads: 4\n  num_key_value_heads: 2\n  head_dim: 16\n" \
  "  sliding_window: 32\n  query_pre_attn_scalar: 16\n  rope_theta: 10000.0\n"

static const char full[] = MODEL
    "  attn_logit_softcapping: null\n  layer_types: [full_attention, sliding_attention, "
    "full_attention]\n"
    "seed: 7\nrun_dir: \"runs/a \\\"b\\\"\"\ntokenizer: t.model\n"
    "data:\n  train:\n  - {path: 'a/*.h5', weight: 0.1}\n  - path: b/*.h5\n"
    "  eval: e/*.h5\n  sequence_length: 128\n  document_mask: false\n"
    "teacher: {cache: c/*.h5}\n"
    "objective: {temperature: 2, tail: renormalise}\n"
    "mesh: {data: 4, shard: none}\n"
    "batch: {sequences: 16, micro_sequences: 2}\n"
    "optimizer: {learning_rate: 1e-3, beta1: .9}\n"
    "schedule: {steps: 100, kind: wsd}\n"
    "checkpoint: {every_steps: 10, keep_best: true}\nthreads: 2\nblas_core: HASWELL\n";

static lap_config *load(const char *text, const char *const *overrides, size_t count) {
  lap_config *config;
  lap_status status = {0};
  if (lap_config_parse("c.yaml", text, strlen(text), overrides, count, &config, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return config;
}

static void a_full_config_arrives_in_its_fields(void **state) {
  (void)state;
  lap_config *config = load(full, NULL, 0);
  lap_status status = {0};
  assert_int_equal(lap_config_require(config, LAP_NEEDS_ALL, &status), LAP_OK);
  assert_int_equal(config->seed, 7);
  assert_int_equal(config->model.hidden_size, 64);
  assert_true(config->model.attn_logit_softcapping == 0);
  assert_true(config->model.final_logit_softcapping == 30);
  assert_false(config->model.sliding[0]);
  assert_true(config->model.sliding[1]);
  assert_string_equal(config->run_dir, "runs/a \"b\"");
  assert_int_equal(config->data.train_count, 2);
  assert_string_equal(config->data.train[0].path, "a/*.h5");
  assert_true(config->data.train[0].weight == 0.1);
  assert_true(config->data.train[1].weight == 1);
  assert_false(config->data.document_mask);
  assert_true(config->objective.distill_weight == 1);
  assert_int_equal(config->objective.tail, LAP_TAIL_RENORMALISE);
  assert_int_equal(config->mesh.data, 4);
  assert_int_equal(config->sharding, LAP_SHARDING_NONE);
  assert_true(config->optimizer.learning_rate == 1e-3);
  assert_true(config->optimizer.beta1 == 0.9);
  assert_int_equal(config->schedule.kind, LAP_SCHEDULE_WSD);
  assert_int_equal(config->schedule.warmup_steps, -1);
  assert_true(config->checkpoint.keep_best);
  assert_string_equal(config->blas_core, "HASWELL");
  assert_int_equal(config->gemm, LAP_GEMM_OPENBLAS); /* whose core type is named */
  lap_config_destroy(config);
}

static void defaults_are_those_of_the_design(void **state) {
  (void)state;
  lap_config *config = load(MODEL, NULL, 0);
  assert_int_equal(config->seed, 1);
  assert_string_equal(config->init, "random");
  assert_true(config->model.attn_logit_softcapping == 50);
  assert_true(config->model.rms_norm_eps == 1e-6);
  assert_true(config->model.sliding[0] && !config->model.sliding[1] && config->model.sliding[2]);
  assert_true(config->data.document_mask);
  assert_true(config->objective.distill_weight == 0);
  assert_true(config->objective.temperature == 1);
  assert_int_equal(config->sharding, LAP_SHARDING_OPTIMIZER);
  assert_true(config->optimizer.learning_rate == 6e-3);
  assert_true(config->optimizer.beta2 == 0.95 && config->optimizer.epsilon == 1e-8);
  assert_true(config->optimizer.weight_decay == 0.1 && config->optimizer.clip_norm == 1);
  assert_int_equal(config->schedule.kind, LAP_SCHEDULE_COSINE);
  assert_true(config->schedule.final_ratio == 0.1);
  assert_int_equal(config->checkpoint.keep, 3);
  assert_int_equal(config->threads, 1);
  assert_string_equal(config->blas_core, "auto");
  assert_int_equal(config->gemm, LAP_GEMM_LAPIDARY);
  assert_true(config->watchdog_seconds == 300);
  assert_int_equal(config->max_bad_steps, 10);
  assert_int_equal(config->integrity.messages, LAP_ON);
  assert_int_equal(config->integrity.sums, LAP_ON);
  assert_int_equal(config->integrity.state, LAP_ON);
  assert_false(lap_config_is_given(config, "objective.distill_weight"));
  assert_true(lap_config_is_given(config, "model.head_dim"));
  lap_config_destroy(config);
  const char *wide[] = {"model.hidden_size=1000"};
  config = load(MODEL, wide, 1);
  assert_true(config->optimizer.learning_rate == 0.5 / 1000);
  lap_config_destroy(config);
}

static void a_micro_batch_has_4096_positions_unless_it_is_given(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t expected;
  } cases[] = {
      {"data: {sequence_length: 128}\nbatch: {sequences: 64}\nmesh: {data: 4}\n", 16},
      {"data: {sequence_length: 512}\nbatch: {sequences: 64}\nmesh: {data: 4}\n", 8},
      {"data: {sequence_length: 600}\nbatch: {sequences: 45}\nmesh: {pods: 3}\n", 5},
      {"data: {sequence_length: 700}\nbatch: {sequences: 28}\nmesh: {data: 4}\n", 1},
      {"data: {sequence_length: 8000}\nbatch: {sequences: 64}\n", 1},
      {"data: {sequence_length: 128}\nbatch: {sequences: 64, micro_sequences: 2}\n", 2},
      {"data: {sequence_length: 128}\nbatch: {sequences: 64}\ngemm: openblas\n", 1},
      {"data: {sequence_length: 128}\nbatch: {sequences: 64}\nblas_core: ZEN\n", 1},
      {"batch: {sequences: 64}\n", 1},
      {"", 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_config *config = load(cases[i].text, NULL, 0);
    assert_int_equal(config->batch.micro_sequences, cases[i].expected);
    lap_config_limit_micro_sequences(config, 3);
    const bool given = strstr(cases[i].text, "micro_sequences") != NULL;
    assert_true(config->batch.micro_sequences <= (given ? 2 : 3));
    lap_config_destroy(config);
  }
}

/* reset_key trusts the table; here the table is tried. */
static void every_default_in_the_schema_is_valid(void **state) {
  (void)state;
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  lap_config *config = load("", NULL, 0);
  for (size_t i = 0; i < count; ++i) {
    if (!schema[i].fallback) continue;
    lap_status status = {0};
    lap_yaml_node *node = lap_yaml_scalar(schema[i].fallback, false, 1);
    if (lap_config_set(config, &schema[i], node, &status) != LAP_OK)
      fail_msg("%s: %s", schema[i].name, status.message);
    lap_yaml_destroy(node);
  }
  lap_config_destroy(config);
}

static void what_is_printed_loads_as_the_same(void **state) {
  (void)state;
  const char *const texts[] = {full, MODEL, "seed: 3\n", ""};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    lap_config *first = load(texts[i], NULL, 0);
    char *printed = lap_config_print(first);
    lap_config *second = load(printed, NULL, 0);
    char *again = lap_config_print(second);
    assert_string_equal(printed, again);
    assert_memory_equal(&first->model, &second->model, sizeof first->model);
    assert_memory_equal(&first->optimizer, &second->optimizer, sizeof first->optimizer);
    lap_numbers *a = lap_numbers_create(first), *b = lap_numbers_create(second);
    char hex[2][LAP_SHA256_HEX];
    lap_numbers_sha256(a, hex[0]);
    lap_numbers_sha256(b, hex[1]);
    assert_string_equal(hex[0], hex[1]);
    lap_numbers_destroy(a);
    lap_numbers_destroy(b);
    free(printed);
    free(again);
    lap_config_destroy(first);
    lap_config_destroy(second);
  }
}

static void overrides_win_and_are_read_like_the_shell_gives_them(void **state) {
  (void)state;
  const char *const overrides[] = {
      "data.train=*.h5",
      "optimizer.learning_rate=1e-4",
      "mesh={data: 2}",
      "schedule.tokens=4096",
      "run_dir=a: b # c",
      "model.final_logit_softcapping=null",
      "model.layer_types=[sliding_attention, sliding_attention, full_attention]",
      "teacher.cache=null",
      "seed=8",
      "seed=9"};
  lap_config *config = load(full, overrides, sizeof overrides / sizeof *overrides);
  assert_int_equal(config->data.train_count, 1);
  assert_string_equal(config->data.train[0].path, "*.h5");
  assert_true(config->optimizer.learning_rate == 1e-4);
  assert_int_equal(config->mesh.data, 2);
  assert_int_equal(config->schedule.tokens, 4096);
  assert_int_equal(config->schedule.steps, 0);
  assert_string_equal(config->run_dir, "a: b # c");
  assert_true(config->model.final_logit_softcapping == 0);
  assert_true(config->model.sliding[1]);
  assert_null(config->teacher.cache);
  assert_true(config->objective.distill_weight == 0);
  assert_int_equal(config->seed, 9);
  lap_config_destroy(config);
}

/* Characters that YAML refuses, or takes for a line break, come back all the same. */
static void every_character_of_a_text_is_printed_and_read(void **state) {
  (void)state;
  static const char *const overrides[] = {
      "run_dir=caf\xC3\xA9 \xE6\xBC\xA2 \xF0\x9F\x99\x82 \"\\ \x01\n\x7F", /* plain and control */
      "run_dir=\xC2\x80\xC2\x85\xC2\x9F\xC2\xA0 \xE2\x80\xA8\xE2\x80\xA9", /* U+0080 to U+2029 */
      "run_dir=\xEF\xBB\xBF \xEF\xBF\xBE\xEF\xBF\xBF\xEF\xBF\xBD \xF4\x8F\xBF\xBF"};
  for (size_t i = 0; i < sizeof overrides / sizeof *overrides; ++i) {
    lap_config *first = load("", &overrides[i], 1);
    char *printed = lap_config_print(first);
    lap_config *second = load(printed, NULL, 0);
    assert_string_equal(first->run_dir, overrides[i] + strlen("run_dir="));
    assert_string_equal(second->run_dir, first->run_dir);
    free(printed);
    lap_config_destroy(first);
    lap_config_destroy(second);
  }
}

typedef struct {
  const char *text;
  const char *fragment;
  const char *override;
} bad_config;

static void assert_refused(const bad_config *bad) {
  lap_config *config;
  lap_status status = {0};
  const lap_code code = lap_config_parse("c.yaml", bad->text, strlen(bad->text), &bad->override,
                                         bad->override != NULL, &config, &status);
  if (code != LAP_USAGE || !strstr(status.message, bad->fragment))
    fail_msg("code %d, '%s' lacks '%s'", code, status.message, bad->fragment);
  assert_null(config);
}

static void bad_keys_and_values_are_refused_in_place(void **state) {
  (void)state;
  static const bad_config bad[] = {
      {"model:\n  hiden_size: 3\n",
       "c.yaml:2: unknown key 'model.hiden_size'; did you mean 'model.hidden_size'?", NULL},
      {"learning_rate: 1\n", "did you mean 'optimizer.learning_rate'?", NULL},
      {"modle: {}\n", "c.yaml:1: unknown key 'modle'; did you mean 'model'?", NULL},
      {"xyzzyxyzzy: 1\n", "c.yaml:1: unknown key 'xyzzyxyzzy'", NULL},
      {"", "command line: unknown key 'sed'; did you mean 'seed'?", "sed=1"},
      {"", "command line: expected KEY=VALUE", "=1"},
      {"", "command line: seed: expected an integer from 0 up, found 'x'", "seed=x"},
      {"", "command line: mesh: value:1: not valid YAML", "mesh={data"},
      {"", "command line: run_dir: the value is not text in UTF-8", "run_dir=caf\xE9"},
      {"", "command line: run_dir: the value is not text in UTF-8", "run_dir=\"caf\xE9\""},
      {"model: 3\n", "c.yaml:1: model: expected a mapping of model keys, found '3'", NULL},
      {"- 1\n", "expected a mapping of keys", NULL},
      {"seed: 1\nseed: 2\n", "c.yaml:2: duplicate key 'seed'", NULL},
      {"mesh.data: 1\nmesh:\n  data: 2\n",
       "c.yaml:3: duplicate key 'mesh.data', first given on line 1", NULL},
      {"seed: -1\n", "c.yaml:1: seed: expected an integer from 0 up, found '-1'", NULL},
      {"seed: 1.5\n", "seed: expected an integer", NULL},
      {"seed: 1__000\n", "found '1__000'", NULL},
      {"seed: 1e19\n", "an integer from 0 to 9e+18, found '1e19'", NULL},
      {"seed: 0x10\n", "found '0x10'", NULL},
      {"seed: 010\n", "found '010'", NULL},
      {"seed: '1'\n", "seed: expected an integer", NULL},
      {"seed: 99999999999999999999\n", "seed: expected an integer", NULL},
      {"seed: [1]\n", "found a list of 1", NULL},
      {"threads: 5000\n", "threads: expected an integer from 1 to 4096, found '5000'", NULL},
      {"optimizer: {learning_rate: nan}\n", "found 'nan'", NULL},
      {"optimizer: {learning_rate: .inf}\n", "found '.inf'", NULL},
      {"optimizer: {learning_rate: 1e999}\n", "found '1e999'", NULL},
      {"optimizer: {learning_rate: 1e-3x}\n", "found '1e-3x'", NULL},
      {"optimizer: {epsilon: 1e-46}\n", "a number from 1e-16 to 1, found '1e-46'", NULL},
      {"model: {rms_norm_eps: 1e-46}\n", "a number from 1e-30 to 1, found '1e-46'", NULL},
      {"optimizer: {learning_rate: 0}\n", "a number greater than 0 to 1000, found '0'", NULL},
      {"optimizer: {beta1: 1}\n", "expected a number from 0 to below 1, found '1'", NULL},
      {"objective: {distill_weight: 1.5}\n", "a number from 0 to 1, found '1.5'", NULL},
      {"objective: {temperature: 0}\n", "temperature: expected a number from 0.001 to 1000", NULL},
      {"objective: {tail: gost}\n",
       "one of ghost, drop, renormalise, renormalise_both, none, decoupled", NULL},
      {"model: {attn_logit_softcapping: 0}\n", "expected null or a number from 1e-06 up", NULL},
      {"model: {attn_logit_softcapping: 1e39}\n", "from 1e-06 to 1e+30, found '1e39'", NULL},
      {"data: {document_mask: yes}\n", "expected true or false, found 'yes'", NULL},
      {"data: {document_mask: 'true'}\n", "expected true or false, found 'true' in quotes", NULL},
      {"run_dir: ''\n", "run_dir: expected a text that is not empty", NULL},
      {"run_dir: {a: b}\n", "found a mapping", NULL},
      {"data: {sequence_length: 1}\n", "sequence_length: expected an integer from 2", NULL},
      {"data: {train: []}\n",
       "a glob, or a list of globs and {path: GLOB, weight: W}, found a list of 0", NULL},
      {"data:\n  train:\n  - {weight: 1}\n", "an entry has no path", NULL},
      {"data:\n  train:\n  - {path: a, wieght: 1}\n", "found 'wieght'", NULL},
      {"data:\n  train:\n  - {path: a, weight: 0}\n", "greater than 0", NULL},
      {"data:\n  train:\n  - [a]\n", "an entry that is a glob or {path: GLOB", NULL},
      {"data:\n  train:\n  - ''\n", "a text that is not empty", NULL},
      {"data: {eval: [a, b]}\n", "several paths in one: {a,b}, quoted), found a list", NULL},
      {"", "command line: data.eval: expected one text (", "data.eval=[a, b]"},
      {"blas_core: haswell\n", "c.yaml:1: blas_core: expected auto or a core type", NULL},
      {"schedule: {steps: 1, tokens: 2}\n", "exactly one of", NULL},
      {"schedule: {steps: 10, warmup_steps: 11}\n", "exceeds schedule.steps, 10", NULL},
      {"a: *b\n", "anchors and aliases", NULL},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) assert_refused(&bad[i]);
}

static void keys_that_do_not_fit_together_are_refused(void **state) {
  (void)state;
  static const bad_config bad[] = {
      {MODEL,
       "command line: model.num_attention_heads: 3; it must be a multiple of num_key_value_heads",
       "model.num_attention_heads=3"},
      {MODEL, "command line: model.head_dim: 15; it must be even", "model.head_dim=15"},
      {MODEL, "c.yaml:6: model.num_attention_heads: 4; it must", "model.num_key_value_heads=3"},
      {MODEL "  layer_types: [full_attention]\n",
       "c.yaml:12: model.layer_types: expected one entry for each of the 3 layers", NULL},
      {MODEL "  layer_types: [global, global, global]\n",
       "c.yaml:12: model.layer_types: expected a list of sliding_attention and full_attention, "
       "found 'global'",
       NULL},
      {MODEL "data: {sequence_length: 10000}\n", "exceeds model.max_position_embeddings, 8192",
       NULL},
      {"batch: {sequences: 10}\nmesh: {data: 4}\n",
       "c.yaml:1: batch.sequences: 10 is not a multiple of the 4 lanes of mesh.pods x mesh.data; 8 "
       "or 12 would be",
       NULL},
      {"batch: {sequences: 3}\nmesh: {pods: 2, data: 2}\n", "4 would be", NULL},
      {"batch: {sequences: 24, micro_sequences: 5}\nmesh: {data: 2}\n", "4 or 6 would", NULL},
      {"batch: {sequences: 8, micro_sequences: 9}\n", "8 would", NULL},
      {"objective: {temperature: 2}\n", "needs objective.tail renormalise", NULL},
      {"objective: {temperature: 2, tail: ghost}\n", "needs objective.tail renormalise", NULL},
      {"mesh: {model: 4, model_ranks: 3}\n", "3 does not divide the 4 shards", NULL},
      {MODEL "mesh: {model: 4}\n", "do not divide model.num_key_value_heads, 2", NULL},
      {"gemm: lapidary\nblas_core: ZEN\n",
       "c.yaml:2: blas_core: ZEN is a core type of OpenBLAS, but gemm is lapidary", NULL},
      {"gemm: lapidary\n", "leave blas_core out, or set gemm to openblas", "blas_core=HASWELL"},
      {"blas_core: HASWELL\n", "but gemm is lapidary", "gemm=lapidary"},
      {"gemm: mkl\n", "expected one of lapidary, openblas", NULL},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) assert_refused(&bad[i]);
}

static void bfloat16_is_of_our_own_kernels(void **state) {
  (void)state;
  static const char *const wanted[] = {"precision=bfloat16"};
  lap_config *config;
  lap_status status = {0};
  assert_int_equal(lap_config_load(NULL, wanted, 1, &config, &status), LAP_OK);
  assert_int_equal(config->precision, LAP_MATMUL_BFLOAT16);
  lap_config_destroy(config);
  static const bad_config bad = {
      "gemm: openblas\nprecision: bfloat16\n",
      "c.yaml:2: precision: bfloat16 is computed by lapidary's own kernels, but gemm is openblas; "
      "leave gemm out, or set precision to float32",
      NULL};
  assert_refused(&bad);
}

static void requirements_depend_on_what_is_needed(void **state) {
  (void)state;
  static const struct {
    const char *text;
    unsigned needs;
    const char *fragment; /* NULL: passes */
  } cases[] = {
      {MODEL, LAP_NEEDS_MODEL, NULL},
      {MODEL "objective: {distill_weight: 0.5}\n", LAP_NEEDS_MODEL, NULL},
      {"seed: 1\n", LAP_NEEDS_MODEL, "c.yaml: model.vocab_size is missing"},
      {MODEL, LAP_NEEDS_BATCH, "data.sequence_length is missing"},
      {"data: {sequence_length: 8}\n", LAP_NEEDS_BATCH, "batch.sequences is missing"},
      {MODEL, LAP_NEEDS_DATA, "tokenizer is missing"},
      {MODEL, LAP_NEEDS_RUN, "run_dir is missing"},
      {MODEL, LAP_NEEDS_SCHEDULE, "exactly one of schedule.steps"},
      {"schedule: {epochs: 0.5}\n", LAP_NEEDS_SCHEDULE, NULL},
      {"tokenizer: t\ndata: {train: a}\nobjective: {distill_weight: 0.5}\n", LAP_NEEDS_DATA,
       "c.yaml:3: objective.distill_weight: 0.5 needs teacher.cache"},
      {"tokenizer: t\ndata: {train: a}\n", LAP_NEEDS_DATA, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_config *config = load(cases[i].text, NULL, 0);
    lap_status status = {0};
    const lap_code code = lap_config_require(config, cases[i].needs, &status);
    assert_int_equal(code, cases[i].fragment ? LAP_USAGE : LAP_OK);
    if (cases[i].fragment && !strstr(status.message, cases[i].fragment))
      fail_msg("'%s' lacks '%s'", status.message, cases[i].fragment);
    lap_config_destroy(config);
  }
}

static void the_tail_follows_the_codec_unless_given(void **state) {
  (void)state;
  lap_status status = {0};
  static const struct {
    const char *text, *codec;
    lap_tail tail;
  } cases[] = {{"", "topk", LAP_TAIL_GHOST},
               {"", "sampled", LAP_TAIL_NONE},
               {"", "stratified", LAP_TAIL_NONE},
               {"objective: {tail: drop}\n", "topk", LAP_TAIL_DROP},
               {"objective: {tail: ghost}\n", "varopt", LAP_TAIL_NONE},
               {"objective: {tail: drop}\n", "sampled", LAP_TAIL_DROP}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_config *config = load(cases[i].text, NULL, 0);
    const lap_config_teacher teacher = {.name = "c.h5", .codec = cases[i].codec};
    assert_int_equal(lap_config_resolve_tail(config, &teacher, &status), LAP_OK);
    assert_int_equal(config->objective.tail, cases[i].tail);
    lap_config_destroy(config);
  }
  lap_config *config = load("objective: {temperature: 2, tail: renormalise}\n", NULL, 0);
  const lap_config_teacher topk = {.name = "c.h5", .codec = "topk"};
  assert_int_equal(lap_config_resolve_tail(config, &topk, &status), LAP_OK);
  lap_config_destroy(config);
}

static void a_tail_rule_fits_its_teacher(void **state) {
  (void)state;
  static const struct {
    const char *text;
    lap_config_teacher teacher;
    const char *says; /* NULL: accepted */
  } cases[] = {{"objective: {temperature: 2, tail: renormalise}\n",
                {"c.h5", "sampled", 0, false},
                "needs a teacher cache of codec topk; c.h5 is sampled"},
               {"objective: {tail: renormalise_both}\n",
                {"c.h5", "varopt", 0, false},
                "the draws of c.h5 (varopt)"},
               {"objective: {tail: decoupled}\n", {"c.h5", "topk", 0, false}, "c.h5 is topk"},
               {"objective: {tail: decoupled}\n", {"c.h5", "varopt", 0, false}, "c.h5 is varopt"},
               {"objective: {tail: decoupled}\n", {"c.h5", "topk", 0, true}, "objective.head"},
               {"objective: {tail: decoupled, head: 5}\n", {"c.h5", "topk", 0, true}, NULL},
               {"objective: {tail: decoupled}\n", {"c.h5", "stratified", 5, false}, NULL},
               {"objective: {tail: decoupled, head: 5}\n", {"c.h5", "stratified", 5, false}, NULL},
               {"objective: {tail: decoupled, head: 4}\n",
                {"c.h5", "stratified", 5, false},
                "4 is not the 5 exact ids of c.h5"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_status status = {0};
    lap_config *config = load(cases[i].text, NULL, 0);
    const lap_code code = lap_config_resolve_tail(config, &cases[i].teacher, &status);
    assert_int_equal(code, cases[i].says ? LAP_USAGE : LAP_OK);
    if (cases[i].says && !strstr(status.message, cases[i].says)) fail_msg("%s", status.message);
    if (code == LAP_OK) {
      assert_int_equal(config->objective.head, 5);
      assert_true(config->objective.tail_weight == 1);
    }
    lap_config_destroy(config);
  }
}

static void warmup_is_five_percent_unless_given(void **state) {
  (void)state;
  lap_status status = {0};
  lap_config *config = load("", NULL, 0);
  assert_int_equal(lap_config_resolve_warmup(config, 119, &status), LAP_OK);
  assert_int_equal(config->schedule.warmup_steps, 5);
  lap_config_destroy(config);
  config = load("schedule: {warmup_steps: 0}\n", NULL, 0);
  assert_int_equal(lap_config_resolve_warmup(config, 119, &status), LAP_OK);
  assert_int_equal(config->schedule.warmup_steps, 0);
  lap_config_destroy(config);
  config = load("schedule: {warmup_steps: 120, epochs: 1}\n", NULL, 0);
  assert_int_equal(lap_config_resolve_warmup(config, 119, &status), LAP_USAGE);
  lap_config_destroy(config);
}

/* Which overrides change numbers_sha256, and which do not. */
static void only_what_decides_the_numbers_changes_their_hash(void **state) {
  (void)state;
  static const struct {
    const char *override;
    const char *key; /* NULL: no difference */
  } cases[] = {
      {"seed=8", "seed"},
      {"model.rope_theta=5000", "model.rope_theta"},
      {"model.layer_types=null", "model.layer_types"},
      {"model.pre_norms_only=true", "model.pre_norms_only"},
      {"objective.distill_weight=0.5", "objective.distill_weight"},
      {"mesh.data=2", "mesh.data"},
      {"batch.micro_sequences=1", "batch.micro_sequences"},
      {"optimizer.beta1=0.8", "optimizer.beta1"},
      {"schedule.final_ratio=0", "schedule.final_ratio"},
      {"data.document_mask=true", "data.document_mask"},
      {"data.train=[{path: a, weight: 2}, {path: b}]", "data.train.weights"},
      {"blas_core=ZEN", "blas_core"},
      {"blas_core=auto", "gemm"},
      {"init=some/checkpoint", "init"},
      {"threads=3", NULL},
      {"mesh.shard=optimizer", NULL},
      {"run_dir=elsewhere", NULL},
      {"checkpoint.every_steps=7", NULL},
      {"data.train=[{path: x, weight: 0.1}, {path: y}]", NULL},
      {"teacher.cache=z", NULL},
      {"watchdog_seconds=5", NULL},
      {"integrity.messages=off", NULL},
      {"integrity.sums=off", NULL},
      {"integrity.state=off", NULL},
  };
  lap_config *base_config = load(full, NULL, 0);
  lap_numbers *base = lap_numbers_create(base_config);
  char base_hex[LAP_SHA256_HEX];
  lap_numbers_sha256(base, base_hex);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_config *config = load(full, &cases[i].override, 1);
    lap_numbers *numbers = lap_numbers_create(config);
    char hex[LAP_SHA256_HEX];
    lap_numbers_sha256(numbers, hex);
    lap_numbers_difference difference;
    const bool differ = lap_numbers_differ(base, numbers, &difference);
    if (differ != (cases[i].key != NULL) || differ != (strcmp(hex, base_hex) != 0))
      fail_msg("%s", cases[i].override);
    if (differ) assert_string_equal(difference.key, cases[i].key);
    lap_numbers_destroy(numbers);
    lap_config_destroy(config);
  }
  lap_numbers_destroy(base);
  lap_config_destroy(base_config);
}

static void numbers_survive_json_and_name_the_first_difference(void **state) {
  (void)state;
  lap_config *config = load(full, NULL, 0);
  lap_numbers *numbers = lap_numbers_create(config), *read;
  lap_numbers_append(numbers, "data.train.sha256", "abc");
  json_t *object = lap_numbers_to_json(numbers);
  lap_status status = {0};
  assert_int_equal(lap_numbers_from_json(object, "run.json", &read, &status), LAP_OK);
  char hex[2][LAP_SHA256_HEX];
  lap_numbers_sha256(numbers, hex[0]);
  lap_numbers_sha256(read, hex[1]);
  assert_string_equal(hex[0], hex[1]);
  lap_numbers_difference difference;
  assert_false(lap_numbers_differ(numbers, read, &difference));
  lap_numbers_append(read, "extra", "1");
  assert_true(lap_numbers_differ(read, numbers, &difference));
  assert_string_equal(difference.key, "extra");
  assert_string_equal(difference.then, "1");
  assert_string_equal(difference.now, "absent");
  lap_numbers_destroy(read);
  json_object_set_new(object, "seed", json_integer(1));
  assert_int_equal(lap_numbers_from_json(object, "run.json", &read, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "run.json: numbers.seed: expected a text"));
  assert_int_equal(lap_numbers_from_json(NULL, "run.json", &read, &status), LAP_DATA);
  json_decref(object);
  lap_numbers_destroy(numbers);
  lap_config_destroy(config);
}

/* Every truncation of a config loads or is refused with a message; run under ASan. */
static void no_truncation_breaks_the_loader(void **state) {
  (void)state;
  for (size_t bytes = 0; bytes < sizeof full; ++bytes) {
    lap_config *config;
    lap_status status = {0};
    const lap_code code = lap_config_parse("c.yaml", full, bytes, NULL, 0, &config, &status);
    if (code == LAP_OK)
      assert_non_null(config);
    else
      assert_true(code == LAP_USAGE && !config && *status.message);
    lap_config_destroy(config);
  }
}

static void a_missing_file_is_a_data_error(void **state) {
  (void)state;
  lap_config *config;
  lap_status status = {0};
  assert_int_equal(lap_config_load("/nonexistent/c.yaml", NULL, 0, &config, &status), LAP_USAGE);
  assert_null(config);
  assert_non_null(strstr(status.message, "/nonexistent/c.yaml: cannot be opened"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_full_config_arrives_in_its_fields),
      cmocka_unit_test(defaults_are_those_of_the_design),
      cmocka_unit_test(a_micro_batch_has_4096_positions_unless_it_is_given),
      cmocka_unit_test(every_default_in_the_schema_is_valid),
      cmocka_unit_test(what_is_printed_loads_as_the_same),
      cmocka_unit_test(every_character_of_a_text_is_printed_and_read),
      cmocka_unit_test(overrides_win_and_are_read_like_the_shell_gives_them),
      cmocka_unit_test(bad_keys_and_values_are_refused_in_place),
      cmocka_unit_test(keys_that_do_not_fit_together_are_refused),
      cmocka_unit_test(bfloat16_is_of_our_own_kernels),
      cmocka_unit_test(requirements_depend_on_what_is_needed),
      cmocka_unit_test(the_tail_follows_the_codec_unless_given),
      cmocka_unit_test(a_tail_rule_fits_its_teacher),
      cmocka_unit_test(warmup_is_five_percent_unless_given),
      cmocka_unit_test(only_what_decides_the_numbers_changes_their_hash),
      cmocka_unit_test(numbers_survive_json_and_name_the_first_difference),
      cmocka_unit_test(no_truncation_breaks_the_loader),
      cmocka_unit_test(a_missing_file_is_a_data_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
