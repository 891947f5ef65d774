/* numbers: which keys of a config decide the numbers of a run, by a list that is not the schema's;
 * the hash by its definition; and the first difference of two lists. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/numerics_version.h"
#include "core/memory.h"
#include "trainer/config/load.h"
#include "trainer/config/numbers.h"
#include "trainer/config/schema.h"

static lap_config *load(const char *const *overrides, size_t count) {
  static const char text[] =
      "model: {vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2,\n"
      "  num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 8,\n"
      "  query_pre_attn_scalar: 8}\nbatch: {sequences: 4}\ndata: {sequence_length: 9, train: t}\n"
      "schedule: {steps: 7, warmup_steps: 1}\n";
  lap_config *config;
  lap_status status = {0};
  if (lap_config_parse("c.yaml", text, sizeof text - 1, overrides, count, &config, &status) !=
      LAP_OK)
    fail_msg("%s", status.message);
  return config;
}

static lap_numbers *numbers_of_all(const char *const *overrides, size_t count) {
  lap_config *config = load(overrides, count);
  lap_numbers *numbers = lap_numbers_create(config);
  lap_config_destroy(config);
  return numbers;
}

static lap_numbers *numbers_of(const char *override) {
  return numbers_of_all(&override, override ? 1 : 0);
}

static bool begins_with(const char *text, const char *prefix) {
  return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* docs/design.md#identity: model, objective, seed, data settings, logical mesh, batch, optimizer,
 * schedule, precision and what computes products; the content of files comes from elsewhere. */
static bool decides_the_numbers(const char *key) {
  static const char *const sections[] = {"model.", "objective.", "batch.", "optimizer.",
                                         "schedule."};
  static const char *const keys[] = {"seed",
                                     "data.sequence_length",
                                     "data.document_mask",
                                     "mesh.pods",
                                     "mesh.data",
                                     "mesh.model",
                                     "gemm",
                                     "precision"};
  for (size_t i = 0; i < sizeof sections / sizeof *sections; ++i)
    if (begins_with(key, sections[i]))
      return strcmp(key, "batch.micro_sequences") != 0 && strcmp(key, "objective.head") != 0 &&
             strcmp(key, "objective.tail_weight") != 0 && /* of decoupled alone */
             strcmp(key, "objective.smoothing") != 0 &&   /* where there is some */
             strcmp(key, "model.pre_norms_only") != 0;    /* where it is true */
  for (size_t i = 0; i < sizeof keys / sizeof *keys; ++i)
    if (!strcmp(key, keys[i])) return true;
  return false;
}

static void exactly_what_decides_the_numbers_is_listed(void **state) {
  (void)state;
  lap_numbers *numbers = numbers_of(NULL);
  json_t *listed = lap_numbers_to_json(numbers);
  size_t keys, expected = 3; /* numerics_version, init, data.train.weights */
  const lap_config_key *schema = lap_config_schema(&keys);
  for (size_t i = 0; i < keys; ++i) {
    if (!strcmp(schema[i].name, "init")) continue;
    const bool decides = decides_the_numbers(schema[i].name);
    if ((lap_numbers_value(numbers, schema[i].name) != NULL) != decides)
      fail_msg("%s", schema[i].name);
    expected += decides;
  }
  assert_int_equal(json_object_size(listed), expected);
  char version[16];
  snprintf(version, sizeof version, "%d", LAP_NUMERICS_VERSION);
  assert_string_equal(lap_numbers_value(numbers, "numerics_version"), version);
  assert_string_equal(lap_numbers_value(numbers, "model.hidden_size"), "16");
  assert_string_equal(lap_numbers_value(numbers, "optimizer.beta1"), "0.9");
  assert_null(lap_numbers_value(numbers, "model"));
  assert_null(lap_numbers_value(numbers, "model.hidden_siz"));
  json_decref(listed);
  lap_numbers_destroy(numbers);
}

/* Where OpenBLAS computes, bits depend on its core type and on the shapes of products. */
static void a_core_type_and_micro_batches_count_where_openblas_computes(void **state) {
  (void)state;
  static const struct {
    const char *override, *gemm, *core;
  } cases[] = {{"blas_core=auto", "lapidary", NULL},
               {"gemm=openblas", "openblas", "\"auto\""},
               {"blas_core=HASWELL", "openblas", "\"HASWELL\""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_numbers *numbers = numbers_of(cases[i].override);
    assert_string_equal(lap_numbers_value(numbers, "gemm"), cases[i].gemm);
    const char *core = lap_numbers_value(numbers, "blas_core");
    assert_int_equal(lap_numbers_value(numbers, "batch.micro_sequences") != NULL, core != NULL);
    if (cases[i].core)
      assert_string_equal(core, cases[i].core);
    else
      assert_null(core);
    lap_numbers_destroy(numbers);
  }
}

static void smoothing_counts_where_there_is_some(void **state) {
  (void)state;
  lap_numbers *numbers = numbers_of("objective.smoothing=unigram");
  assert_string_equal(lap_numbers_value(numbers, "objective.smoothing"), "unigram");
  assert_string_equal(lap_numbers_value(numbers, "objective.distill_weight"), "0.1");
  lap_numbers_destroy(numbers);
}

/* The version of what was corrected once, where that changed the bits. */
static void the_teachers_version_counts_where_bits_changed(void **state) {
  (void)state;
  static const char *const with[][3] = {
      {"objective.temperature=0.5", "objective.tail=renormalise", "teacher.cache=c"},
      {"objective.temperature=0.5", "objective.tail=renormalise", "objective.smoothing=uniform"},
      {"objective.tail=decoupled", "objective.head=3", "objective.smoothing=unigram"}};
  static const char *const without[][3] = {
      {"objective.temperature=1", "objective.tail=renormalise", "teacher.cache=c"},
      {"objective.temperature=0.5", "objective.tail=renormalise", "objective.distill_weight=0"},
      {"objective.tail=decoupled", "objective.head=3", "objective.smoothing=uniform"},
      {"objective.tail=decoupled", "objective.head=3", "teacher.cache=c"},
      {"objective.tail=ghost", "seed=1", "objective.smoothing=unigram"}};
  for (size_t i = 0; i < sizeof with / sizeof *with; ++i) {
    lap_numbers *numbers = numbers_of_all(with[i], 3);
    const char *version = lap_numbers_value(numbers, "objective.teacher_version");
    if (!version || strcmp(version, "2") != 0) fail_msg("%s: no version", with[i][0]);
    lap_numbers_destroy(numbers);
  }
  for (size_t i = 0; i < sizeof without / sizeof *without; ++i) {
    lap_numbers *numbers = numbers_of_all(without[i], 3);
    if (lap_numbers_value(numbers, "objective.teacher_version"))
      fail_msg("%s %s: a version", without[i][0], without[i][2]);
    lap_numbers_destroy(numbers);
  }
}

/* A path is not an identity; that there are weights at all is one. */
static void of_paths_only_what_they_mean_is_listed(void **state) {
  (void)state;
  static const struct {
    const char *override, *key, *value;
  } cases[] = {{"init=random", "init", "random"},
               {"init=some/where", "init", "weights"},
               {"data.train=else/where", "data.train.weights", "1"},
               {"data.train=[{path: a, weight: 0.25}, {path: b, weight: 3}, {path: c}]",
                "data.train.weights", "0.25 3 1"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_numbers *numbers = numbers_of(cases[i].override);
    assert_string_equal(lap_numbers_value(numbers, cases[i].key), cases[i].value);
    lap_numbers_destroy(numbers);
  }
}

/* --- the hash --- */

static void expected_sha256(const lap_numbers *numbers, char hex[LAP_SHA256_HEX]) {
  json_t *listed = lap_numbers_to_json(numbers); /* in order */
  char *text, digest[LAP_SHA256_SIZE];
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  const char *key;
  json_t *value;
  json_object_foreach(listed, key, value) fprintf(out, "%s=%s\n", key, json_string_value(value));
  fclose(out);
  lap_sha256(text, bytes, (uint8_t *)digest);
  lap_sha256_hex((uint8_t *)digest, hex);
  free(text);
  json_decref(listed);
}

static void the_hash_is_over_keys_and_values_in_order(void **state) {
  (void)state;
  char expected[LAP_SHA256_HEX], found[LAP_SHA256_HEX], before[LAP_SHA256_HEX];
  lap_numbers *numbers = numbers_of(NULL);
  lap_numbers_sha256(numbers, before);
  lap_numbers_append(numbers, "data.train_sha256", "ab");
  lap_numbers_append(numbers, "another", "");
  expected_sha256(numbers, expected);
  lap_numbers_sha256(numbers, found);
  assert_string_equal(found, expected);
  assert_string_not_equal(found, before);
  /* The same entries in another order. */
  lap_numbers *swapped = numbers_of(NULL);
  lap_numbers_append(swapped, "another", "");
  lap_numbers_append(swapped, "data.train_sha256", "ab");
  lap_numbers_difference difference;
  assert_false(lap_numbers_differ(numbers, swapped, &difference));
  lap_numbers_sha256(swapped, found);
  assert_string_not_equal(found, expected);
  lap_numbers_destroy(swapped);
  lap_numbers_destroy(numbers);
}

/* The last bit of a number is a difference. */
static void values_are_listed_with_all_their_bits(void **state) {
  (void)state;
  char override[64], hex[2][LAP_SHA256_HEX];
  for (int i = 0; i < 2; ++i) {
    snprintf(override, sizeof override, "optimizer.learning_rate=%.17g",
             i ? nextafter(0.003, 1) : 0.003);
    lap_numbers *numbers = numbers_of(override);
    lap_numbers_sha256(numbers, hex[i]);
    lap_numbers_destroy(numbers);
  }
  assert_string_not_equal(hex[0], hex[1]);
}

/* --- differences and JSON --- */

static lap_numbers *parse(const char *text) {
  json_t *object = json_loads(text, 0, NULL);
  lap_numbers *numbers;
  lap_status status = {0};
  if (lap_numbers_from_json(object, "m.json", &numbers, &status) != LAP_OK)
    fail_msg("%s", status.message);
  json_decref(object);
  return numbers;
}

static void the_first_difference_of_now_is_named_and_then_what_is_gone(void **state) {
  (void)state;
  static const struct {
    const char *then, *now, *key, *before, *after; /* key NULL: equal */
  } cases[] = {
      {"{}", "{}", NULL, NULL, NULL},
      {"{\"a\": \"1\", \"b\": \"2\"}", "{\"b\": \"2\", \"a\": \"1\"}", NULL, NULL, NULL},
      {"{\"a\": \"1\", \"b\": \"2\"}", "{\"b\": \"3\", \"a\": \"4\"}", "b", "2", "3"},
      {"{\"a\": \"1\", \"b\": \"2\"}", "{\"a\": \"1\", \"b\": \"2\", \"c\": \"\"}", "c", "absent",
       ""},
      {"{\"z\": \"0\", \"a\": \"1\", \"b\": \"2\"}", "{\"a\": \"1\", \"b\": \"5\"}", "b", "2", "5"},
      {"{\"a\": \"1\", \"b\": \"2\"}", "{\"a\": \"1\"}", "b", "2", "absent"},
      {"{\"a\": \"1\"}", "{\"a\": \"10\"}", "a", "1", "10"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_numbers *then = parse(cases[i].then), *now = parse(cases[i].now);
    lap_numbers_difference difference = {0};
    assert_int_equal(lap_numbers_differ(then, now, &difference), cases[i].key != NULL);
    if (cases[i].key) {
      assert_string_equal(difference.key, cases[i].key);
      assert_string_equal(difference.then, cases[i].before);
      assert_string_equal(difference.now, cases[i].after);
    }
    lap_numbers_destroy(then);
    lap_numbers_destroy(now);
  }
}

static void numbers_survive_json(void **state) {
  (void)state;
  char before[LAP_SHA256_HEX], after[LAP_SHA256_HEX];
  lap_numbers *numbers = numbers_of(NULL), *back;
  lap_status status = {0};
  lap_numbers_append(numbers, "blas_version", "OpenBLAS \"0.3\"\n\xC3\xA9");
  lap_numbers_sha256(numbers, before);
  json_t *object = lap_numbers_to_json(numbers);
  char *text = json_dumps(object, 0);
  json_decref(object);
  object = json_loads(text, 0, NULL);
  assert_int_equal(lap_numbers_from_json(object, "m.json", &back, &status), LAP_OK);
  lap_numbers_sha256(back, after);
  assert_string_equal(after, before);
  json_decref(object);
  free(text);
  lap_numbers_destroy(back);
  lap_numbers_destroy(numbers);
}

static void what_is_not_an_object_of_texts_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } cases[] = {{"[]", "m.json: numbers: expected a JSON object"},
               {"null", "m.json: numbers: expected a JSON object"},
               {"{\"a\": \"1\", \"b\": 2}", "m.json: numbers.b: expected a text"},
               {"{\"a\": null}", "m.json: numbers.a: expected a text"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_status status = {0};
    lap_numbers *numbers = (lap_numbers *)"untouched";
    json_t *value = json_loads(cases[i].text, JSON_DECODE_ANY, NULL);
    assert_int_equal(lap_numbers_from_json(value, "m.json", &numbers, &status), LAP_DATA);
    assert_null(numbers);
    assert_non_null(strstr(status.message, cases[i].says));
    json_decref(value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exactly_what_decides_the_numbers_is_listed),
      cmocka_unit_test(smoothing_counts_where_there_is_some),
      cmocka_unit_test(the_teachers_version_counts_where_bits_changed),
      cmocka_unit_test(of_paths_only_what_they_mean_is_listed),
      cmocka_unit_test(a_core_type_and_micro_batches_count_where_openblas_computes),
      cmocka_unit_test(the_hash_is_over_keys_and_values_in_order),
      cmocka_unit_test(values_are_listed_with_all_their_bits),
      cmocka_unit_test(the_first_difference_of_now_is_named_and_then_what_is_gone),
      cmocka_unit_test(numbers_survive_json),
      cmocka_unit_test(what_is_not_an_object_of_texts_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
