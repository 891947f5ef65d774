#include "trainer/config/numbers.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/numerics_version.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "trainer/config/schema.h"
#include "trainer/config/value.h"

struct lap_numbers {
  size_t count;
  char **key;   /* [count] */
  char **value; /* [count] */
};

void lap_numbers_append(lap_numbers *numbers, const char *key, const char *value) {
  assert(!lap_numbers_value(numbers, key));
  const size_t count = numbers->count + 1;
  numbers->key = lap_reallocate(numbers->key, count, sizeof *numbers->key);
  numbers->value = lap_reallocate(numbers->value, count, sizeof *numbers->value);
  numbers->key[numbers->count] = lap_copy_string(key);
  numbers->value[numbers->count] = lap_copy_string(value);
  numbers->count = count;
}

const char *lap_numbers_value(const lap_numbers *numbers, const char *key) {
  for (size_t i = 0; i < numbers->count; ++i)
    if (strcmp(numbers->key[i], key) == 0) return numbers->value[i];
  return NULL;
}

/* How much of each source is seen decides the numbers; where it lies does not. */
static void append_weights(lap_numbers *numbers, const lap_config *config) {
  char *text = NULL, number[LAP_NUMBER_TEXT];
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  for (size_t i = 0; i < config->data.train_count; ++i)
    fprintf(out, "%s%s", i ? " " : "", lap_number_print_real(config->data.train[i].weight, number));
  lap_close_text(out, &text);
  lap_numbers_append(numbers, "data.train.weights", text);
  free(text);
}

/* Keys that decide bits where OpenBLAS computes, in which the shape of a product does. */
static bool is_of_openblas(const char *key) {
  return strcmp(key, "blas_core") == 0 || strcmp(key, "batch.micro_sequences") == 0;
}

/* Keys that only the rule decoupled has; other runs have the numbers they had before these keys. */
static bool is_of_decoupled(const char *key) {
  return strcmp(key, "objective.head") == 0 || strcmp(key, "objective.tail_weight") == 0;
}

/* Keys that only change runs which have them; others have the numbers they had before. */
static bool is_at_default(const lap_config *config, const char *key) {
  if (strcmp(key, "objective.smoothing") == 0) return config->smoothing == LAP_SMOOTHING_NONE;
  return strcmp(key, "model.pre_norms_only") == 0 && !config->model.pre_norms_only;
}

/* Whose bits changed with LAP_TEACHER_VERSION; others have the numbers they had before. The row of
 * uniform smoothing is the same in both orders. */
static bool has_teacher_version(const lap_config *config) {
  const lap_objective *objective = &config->objective;
  if (objective->distill_weight == 0) return false;
  return objective->temperature != 1 ||
         (config->smoothing == LAP_SMOOTHING_UNIGRAM && objective->tail == LAP_TAIL_DECOUPLED);
}

static void append_version(lap_numbers *numbers, const char *key, int version) {
  char text[16];
  snprintf(text, sizeof text, "%d", version);
  lap_numbers_append(numbers, key, text);
}

static void append_key(lap_numbers *numbers, const lap_config *config, int index) {
  char *value = lap_config_value_text(config, index);
  lap_numbers_append(numbers, lap_config_schema(&(size_t){0})[index].name, value);
  free(value);
}

lap_numbers *lap_numbers_create(const lap_config *config) {
  lap_numbers *numbers = lap_allocate(1, sizeof *numbers);
  append_version(numbers, "numerics_version", LAP_NUMERICS_VERSION);
  const int gemm = lap_config_find("gemm");
  append_key(numbers, config, gemm); /* first: which of the others are there depends on it */
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  for (size_t i = 0; i < count; ++i) {
    if (!schema[i].in_numbers || (int)i == gemm) continue;
    if (config->gemm == LAP_GEMM_LAPIDARY && is_of_openblas(schema[i].name)) continue;
    if (config->objective.tail != LAP_TAIL_DECOUPLED && is_of_decoupled(schema[i].name)) continue;
    if (is_at_default(config, schema[i].name)) continue;
    append_key(numbers, config, (int)i);
  }
  lap_numbers_append(numbers, "init", strcmp(config->init, "random") == 0 ? "random" : "weights");
  append_weights(numbers, config);
  if (has_teacher_version(config))
    append_version(numbers, "objective.teacher_version", LAP_TEACHER_VERSION);
  return numbers;
}

void lap_numbers_destroy(lap_numbers *numbers) {
  if (!numbers) return;
  for (size_t i = 0; i < numbers->count; ++i) {
    free(numbers->key[i]);
    free(numbers->value[i]);
  }
  free(numbers->key);
  free(numbers->value);
  free(numbers);
}

void lap_numbers_sha256(const lap_numbers *numbers, char hex[LAP_SHA256_HEX]) {
  lap_sha256_stream *stream = lap_sha256_create();
  for (size_t i = 0; i < numbers->count; ++i) {
    char *line = lap_format("%s=%s\n", numbers->key[i], numbers->value[i]);
    lap_sha256_add(stream, line, strlen(line));
    free(line);
  }
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
}

json_t *lap_numbers_to_json(const lap_numbers *numbers) {
  json_t *object = json_object();
  for (size_t i = 0; i < numbers->count; ++i)
    json_object_set_new(object, numbers->key[i], json_string(numbers->value[i]));
  return object;
}

lap_code lap_numbers_from_json(const json_t *object, const char *name, lap_numbers **numbers,
                               lap_status *status) {
  *numbers = NULL;
  if (!json_is_object(object))
    return lap_fail(status, LAP_DATA, "%s: numbers: expected a JSON object of texts", name);
  lap_numbers *read = lap_allocate(1, sizeof *read);
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)object, key, value) {
    if (!json_is_string(value)) {
      lap_numbers_destroy(read);
      return lap_fail(status, LAP_DATA, "%s: numbers.%s: expected a text", name, key);
    }
    lap_numbers_append(read, key, json_string_value(value));
  }
  *numbers = read;
  return LAP_OK;
}

static bool is_one_of(const char *const *keys, const char *key) {
  for (; keys && *keys; ++keys)
    if (strcmp(*keys, key) == 0) return true;
  return false;
}

/* The first entry of `a` that `b` does not have with the same value. */
static const char *first_without_match(const lap_numbers *a, const lap_numbers *b,
                                       const char *const *except) {
  for (size_t i = 0; i < a->count; ++i) {
    if (is_one_of(except, a->key[i])) continue;
    const char *other = lap_numbers_value(b, a->key[i]);
    if (!other || strcmp(other, a->value[i]) != 0) return a->key[i];
  }
  return NULL;
}

bool lap_numbers_differ_except(const lap_numbers *then, const lap_numbers *now,
                               const char *const *except, lap_numbers_difference *difference) {
  const char *key = first_without_match(now, then, except);
  if (!key) key = first_without_match(then, now, except);
  if (!key) return false;
  const char *before = lap_numbers_value(then, key), *after = lap_numbers_value(now, key);
  *difference = (lap_numbers_difference){key, before ? before : "absent", after ? after : "absent"};
  return true;
}

bool lap_numbers_differ(const lap_numbers *then, const lap_numbers *now,
                        lap_numbers_difference *difference) {
  return lap_numbers_differ_except(then, now, NULL, difference);
}
