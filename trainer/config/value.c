#include "trainer/config/value.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "trainer/config/origin.h"

static lap_code mismatch(lap_status *status, const char *expected, const lap_yaml_node *node) {
  char words[LAP_YAML_WORDS];
  return lap_fail(status, LAP_USAGE, "expected %s, found %s", expected,
                  lap_yaml_describe(node, words));
}

/* The bounds of integers are integers themselves, and in range. */
static bool integer_in_range(const lap_config_key *key, int64_t value) {
  return value >= (int64_t)key->minimum && value <= (int64_t)key->maximum;
}

static bool in_range(const lap_config_key *key, double value) {
  const bool above = key->lower == LAP_ABOVE ? value > key->minimum : value >= key->minimum;
  const bool below = key->upper == LAP_BELOW ? value < key->maximum : value <= key->maximum;
  return above && below;
}

/* Whether the value is a number, and more than the key takes. */
static bool is_too_large(const lap_config_key *key, const lap_yaml_node *node) {
  double value;
  return node->kind == LAP_YAML_SCALAR && lap_number_read_real(node->text, &value) &&
         value > key->maximum;
}

/* "an integer from 1 to 512", "a number greater than 0", "a number from 0 to below 1". Bounds that
 * only keep arithmetic safe are not worth reading, unless they were passed. */
static lap_code range_mismatch(const lap_config_key *key, const char *what,
                               const lap_yaml_node *node, lap_status *status) {
  enum { WORTH_READING = 1 << 24 };
  char expected[160];
  const char *lower = key->lower == LAP_ABOVE ? "greater than" : "from";
  if (key->maximum > WORTH_READING && !is_too_large(key, node))
    snprintf(expected, sizeof expected, "%s %s %g%s", what, lower, key->minimum,
             key->lower == LAP_ABOVE ? "" : " up");
  else
    snprintf(expected, sizeof expected, "%s %s %.9g %s%.9g", what, lower, key->minimum,
             key->upper == LAP_BELOW ? "to below " : "to ", key->maximum);
  return mismatch(status, expected, node);
}

static bool is_plain(const lap_yaml_node *node) {
  return node->kind == LAP_YAML_SCALAR && !node->quoted;
}

static lap_code set_integer(const lap_config_key *key, const lap_yaml_node *node, void *field,
                            lap_status *status) {
  int64_t value;
  if (!is_plain(node) || !lap_number_read_integer(node->text, &value) ||
      !integer_in_range(key, value))
    return range_mismatch(key, "an integer", node, status);
  if (key->kind == LAP_KEY_SMALL)
    *(int *)field = (int)value;
  else
    *(int64_t *)field = value;
  return LAP_OK;
}

static lap_code set_real(const lap_config_key *key, const lap_yaml_node *node, void *field,
                         lap_status *status) {
  double value;
  if (!is_plain(node) || !lap_number_read_real(node->text, &value) || !in_range(key, value))
    return range_mismatch(key, key->kind == LAP_KEY_CAP ? "null or a number" : "a number", node,
                          status);
  *(double *)field = value;
  return LAP_OK;
}

static lap_code set_boolean(const lap_yaml_node *node, void *field, lap_status *status) {
  const bool is_true = is_plain(node) && strcmp(node->text, "true") == 0;
  if (!is_true && !(is_plain(node) && strcmp(node->text, "false") == 0))
    return mismatch(status, "true or false", node);
  *(bool *)field = is_true;
  return LAP_OK;
}

static lap_code set_word(const lap_config_key *key, const lap_yaml_node *node, void *field,
                         lap_status *status) {
  char expected[160] = "one of";
  for (int i = 0; key->words[i]; ++i) {
    if (node->kind == LAP_YAML_SCALAR && strcmp(node->text, key->words[i]) == 0) {
      *(int *)field = i;
      return LAP_OK;
    }
    const size_t used = strlen(expected);
    snprintf(expected + used, sizeof expected - used, "%s %s", i ? "," : "", key->words[i]);
  }
  return mismatch(status, expected, node);
}

static lap_code set_text(const lap_yaml_node *node, void *field, lap_status *status) {
  if (node->kind == LAP_YAML_LIST)
    return mismatch(status, "one text (several paths in one: {a,b}, quoted)", node);
  if (node->kind != LAP_YAML_SCALAR || !*node->text)
    return mismatch(status, "a text that is not empty", node);
  char **text = field;
  free(*text);
  *text = lap_copy_string(node->text);
  return LAP_OK;
}

static lap_code set_layer_types(lap_config *config, const lap_yaml_node *node, lap_status *status) {
  static const char expected[] = "a list of sliding_attention and full_attention";
  if (node->kind != LAP_YAML_LIST || node->count == 0) return mismatch(status, expected, node);
  if (node->count > LAP_MAX_LAYERS)
    return lap_fail(status, LAP_USAGE, "expected at most %d entries, found %zu", LAP_MAX_LAYERS,
                    node->count);
  for (size_t i = 0; i < node->count; ++i) {
    const lap_yaml_node *entry = node->child[i];
    const bool scalar = entry->kind == LAP_YAML_SCALAR;
    const bool sliding = scalar && strcmp(entry->text, "sliding_attention") == 0;
    if (!sliding && !(scalar && strcmp(entry->text, "full_attention") == 0))
      return mismatch(status, expected, entry);
    config->model.sliding[i] = sliding;
  }
  config->layer_type_count = (int64_t)node->count;
  return LAP_OK;
}

static void release_sources(lap_data_source *sources, size_t count) {
  for (size_t i = 0; i < count; ++i) free(sources[i].path);
  free(sources);
}

/* A glob, or {path: GLOB, weight: W}. */
static lap_code set_source(lap_data_source *source, const lap_yaml_node *node, lap_status *status) {
  static const lap_config_key weight = {"weight", LAP_KEY_REAL, .maximum = 1e9, .lower = LAP_ABOVE};
  source->weight = 1;
  if (node->kind == LAP_YAML_SCALAR) return set_text(node, &source->path, status);
  if (node->kind != LAP_YAML_MAPPING)
    return mismatch(status, "an entry that is a glob or {path: GLOB, weight: W}", node);
  for (size_t i = 0; i < node->count; ++i) {
    if (strcmp(node->key[i], "path") == 0)
      LAP_TRY(set_text(node->child[i], &source->path, status));
    else if (strcmp(node->key[i], "weight") == 0)
      LAP_TRY(set_real(&weight, node->child[i], &source->weight, status));
    else
      return lap_fail(status, LAP_USAGE, "expected path and weight in an entry, found '%s'",
                      node->key[i]);
  }
  if (!source->path) return lap_fail(status, LAP_USAGE, "an entry has no path");
  return LAP_OK;
}

static lap_code set_sources(lap_config *config, const lap_yaml_node *node, lap_status *status) {
  const bool one = node->kind == LAP_YAML_SCALAR;
  if (node->kind == LAP_YAML_MAPPING || (!one && node->count == 0))
    return mismatch(status, "a glob, or a list of globs and {path: GLOB, weight: W}", node);
  const size_t count = one ? 1 : node->count;
  lap_data_source *sources = lap_allocate(count, sizeof *sources);
  lap_code code = LAP_OK;
  for (size_t i = 0; code == LAP_OK && i < count; ++i)
    code = set_source(&sources[i], one ? node : node->child[i], status);
  if (code != LAP_OK) {
    release_sources(sources, count);
    return code;
  }
  release_sources(config->data.train, config->data.train_count);
  config->data.train = sources;
  config->data.train_count = count;
  return LAP_OK;
}

lap_code lap_config_set(lap_config *config, const lap_config_key *key, const lap_yaml_node *node,
                        lap_status *status) {
  void *field = (char *)config + key->offset;
  switch (key->kind) {
    case LAP_KEY_INTEGER:
    case LAP_KEY_SMALL:
      return set_integer(key, node, field, status);
    case LAP_KEY_REAL:
    case LAP_KEY_CAP:
      return set_real(key, node, field, status);
    case LAP_KEY_BOOLEAN:
      return set_boolean(node, field, status);
    case LAP_KEY_WORD:
      return set_word(key, node, field, status);
    case LAP_KEY_TEXT:
      return set_text(node, field, status);
    case LAP_KEY_LAYER_TYPES:
      return set_layer_types(config, node, status);
    case LAP_KEY_SOURCES:
      return set_sources(config, node, status);
  }
  return LAP_OK;
}

void lap_config_clear(lap_config *config, const lap_config_key *key) {
  void *field = (char *)config + key->offset;
  switch (key->kind) {
    case LAP_KEY_INTEGER:
      *(int64_t *)field = 0;
      break;
    case LAP_KEY_SMALL:
    case LAP_KEY_WORD:
      *(int *)field = 0;
      break;
    case LAP_KEY_REAL:
    case LAP_KEY_CAP:
      *(double *)field = 0;
      break;
    case LAP_KEY_BOOLEAN:
      *(bool *)field = false;
      break;
    case LAP_KEY_TEXT:
      free(*(char **)field);
      *(char **)field = NULL;
      break;
    case LAP_KEY_LAYER_TYPES:
      for (int i = 0; i < LAP_MAX_LAYERS; ++i) config->model.sliding[i] = i % 2 == 0;
      config->layer_type_count = 0;
      break;
    case LAP_KEY_SOURCES:
      release_sources(config->data.train, config->data.train_count);
      config->data.train = NULL;
      config->data.train_count = 0;
      break;
  }
}

/* --- printing --- */

static uint32_t code_point(const char *character, size_t length) {
  static const uint8_t first_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
  uint32_t point = (uint8_t)character[0] & first_bits[length];
  for (size_t i = 1; i < length; ++i) point = point << 6 | ((uint8_t)character[i] & 0x3F);
  return point;
}

/* What YAML refuses in a text, or takes for a line break: control characters, line and paragraph
 * separator, byte order mark, no characters. */
static bool needs_escape(uint32_t point) {
  return point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x2028 || point == 0x2029 ||
         point == 0xFEFF || point == 0xFFFE || point == 0xFFFF;
}

/* Double quotes with escapes, so that no path is taken for something else. `text` is UTF-8. */
static void print_text(FILE *out, const char *text) {
  fputc('"', out);
  for (size_t length; *text; text += length) {
    length = lap_utf8_character(text, strlen(text));
    assert(length > 0);
    const uint32_t point = code_point(text, length);
    if (point == '"' || point == '\\')
      fprintf(out, "\\%c", *text);
    else if (needs_escape(point))
      fprintf(out, "\\u%04X", point);
    else
      fwrite(text, 1, length, out);
  }
  fputc('"', out);
}

static void print_layer_types(FILE *out, const lap_gemma2_config *model) {
  if (model->num_hidden_layers == 0) {
    fputs("null", out);
    return;
  }
  for (int64_t i = 0; i < model->num_hidden_layers; ++i)
    fprintf(out, "%s%s", i ? ", " : "[",
            model->sliding[i] ? "sliding_attention" : "full_attention");
  fputc(']', out);
}

static void print_sources(FILE *out, const lap_config *config) {
  char number[LAP_NUMBER_TEXT];
  for (size_t i = 0; i < config->data.train_count; ++i) {
    const lap_data_source *source = &config->data.train[i];
    fputs(i ? ", {path: " : "[{path: ", out);
    print_text(out, source->path);
    fprintf(out, ", weight: %s}", lap_number_print_real(source->weight, number));
  }
  fputc(']', out);
}

static void print_value(FILE *out, const lap_config *config, const lap_config_key *key) {
  char number[LAP_NUMBER_TEXT];
  const void *field = (const char *)config + key->offset;
  switch (key->kind) {
    case LAP_KEY_INTEGER:
      fprintf(out, "%" PRId64, *(const int64_t *)field);
      break;
    case LAP_KEY_SMALL:
      fprintf(out, "%d", *(const int *)field);
      break;
    case LAP_KEY_REAL:
      fputs(lap_number_print_real(*(const double *)field, number), out);
      break;
    case LAP_KEY_CAP: {
      const double cap = *(const double *)field;
      fputs(cap == 0 ? "null" : lap_number_print_real(cap, number), out);
      break;
    }
    case LAP_KEY_BOOLEAN:
      fputs(*(const bool *)field ? "true" : "false", out);
      break;
    case LAP_KEY_WORD:
      fputs(key->words[*(const int *)field], out);
      break;
    case LAP_KEY_TEXT:
      print_text(out, *(char *const *)field);
      break;
    case LAP_KEY_LAYER_TYPES:
      print_layer_types(out, &config->model);
      break;
    case LAP_KEY_SOURCES:
      print_sources(out, config);
      break;
  }
}

char *lap_config_value_text(const lap_config *config, int index) {
  size_t count;
  const lap_config_key *key = &lap_config_schema(&count)[index];
  if (config->origin[index] == LAP_ORIGIN_NONE) return lap_copy_string("null");
  char *text = NULL;
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  print_value(out, config, key);
  lap_close_text(out, &text);
  return text;
}

char *lap_config_print(const lap_config *config) {
  char *text = NULL;
  size_t size = 0, count;
  FILE *out = lap_open_text(&text, &size);
  const lap_config_key *schema = lap_config_schema(&count);
  const char *section = "";
  for (size_t i = 0; i < count; ++i) {
    const char *own = lap_config_section_of(&schema[i]);
    if (*own && strcmp(own, section) != 0) fprintf(out, "%s:\n", own);
    section = own;
    char *value = lap_config_value_text(config, (int)i);
    fprintf(out, "%s%s: %s\n", *own ? "  " : "", lap_config_own_name(&schema[i]), value);
    free(value);
  }
  lap_close_text(out, &text);
  return text;
}

static json_t *layer_types_json(const lap_gemma2_config *model) {
  if (model->num_hidden_layers == 0) return json_null();
  json_t *list = json_array();
  for (int64_t i = 0; i < model->num_hidden_layers; ++i)
    json_array_append_new(list,
                          json_string(model->sliding[i] ? "sliding_attention" : "full_attention"));
  return list;
}

static json_t *sources_json(const lap_config *config) {
  json_t *list = json_array();
  for (size_t i = 0; i < config->data.train_count; ++i)
    json_array_append_new(list, json_pack("{s:s, s:f}", "path", config->data.train[i].path,
                                          "weight", config->data.train[i].weight));
  return list;
}

static json_t *value_json(const lap_config *config, int index) {
  size_t count;
  const lap_config_key *key = &lap_config_schema(&count)[index];
  if (config->origin[index] == LAP_ORIGIN_NONE) return json_null();
  if (key->kind == LAP_KEY_LAYER_TYPES) return layer_types_json(&config->model);
  if (key->kind == LAP_KEY_SOURCES) return sources_json(config);
  if (key->kind == LAP_KEY_WORD)
    return json_string(key->words[*(const int *)((const char *)config + key->offset)]);
  /* Numbers, booleans, quoted texts and null are written alike in YAML and JSON. */
  char *text = lap_config_value_text(config, index);
  json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
  assert(value);
  free(text);
  return value;
}

json_t *lap_config_to_json(const lap_config *config) {
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  json_t *object = json_object();
  for (size_t i = 0; i < count; ++i) {
    const char *section = lap_config_section_of(&schema[i]);
    if (*section && !json_object_get(object, section))
      json_object_set_new(object, section, json_object());
    json_object_set_new(*section ? json_object_get(object, section) : object,
                        lap_config_own_name(&schema[i]), value_json(config, (int)i));
  }
  return object;
}
