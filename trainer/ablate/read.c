#include "trainer/ablate/read.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/parse_number.h"
#include "core/suggest.h"
#include "dataset/documents.h"
#include "teacher/schema.h"
#include "trainer/config/load.h"

enum { MOST_SEEDS = 1000, NAME_SIZE = 256 };
static const int64_t MOST_SEED = 9000000000000000000; /* as that of a config */

lap_code lap_read_fail(const lap_suite_reader *reader, int line, const char *format, ...) {
  char message[LAP_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return lap_fail(reader->status, LAP_USAGE, "%s:%d: %s", reader->suite->file, line, message);
}

lap_code lap_read_expected(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, const char *expected) {
  char words[LAP_YAML_WORDS];
  return lap_read_fail(reader, node->line, "%s: expected %s, found %s", name, expected,
                       lap_yaml_describe(node, words));
}

/* --- mappings --- */

static lap_code read_number(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, const lap_field *field, void *place) {
  const bool whole = field->kind == LAP_FIELD_INTEGER, scalar = node->kind == LAP_YAML_SCALAR;
  int64_t integer;
  double real;
  if (scalar && !node->quoted && whole && lap_number_read_integer(node->text, &integer) &&
      (double)integer >= field->minimum && (double)integer <= field->maximum) {
    *(int64_t *)place = integer;
    return LAP_OK;
  }
  if (scalar && !node->quoted && !whole && lap_number_read_real(node->text, &real) &&
      real >= field->minimum && real <= field->maximum) {
    *(double *)place = real;
    return LAP_OK;
  }
  char expected[96];
  snprintf(expected, sizeof expected, "%s from %.12g to %.12g", whole ? "an integer" : "a number",
           field->minimum, field->maximum);
  return lap_read_expected(reader, name, node, expected);
}

static lap_code read_field(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, const lap_field *field, void *destination) {
  void *place = (char *)destination + field->offset;
  if (field->kind == LAP_FIELD_READ) return field->read(reader, name, node, place);
  if (field->kind != LAP_FIELD_TEXT) return read_number(reader, name, node, field, place);
  if (node->kind != LAP_YAML_SCALAR || !*node->text)
    return lap_read_expected(reader, name, node, "a text");
  free(*(char **)place);
  *(char **)place = lap_copy_string(node->text);
  return LAP_OK;
}

static lap_code unknown(const lap_suite_reader *reader, const char *name, int line,
                        const lap_field *fields) {
  const char *names[64];
  size_t count = 0;
  for (; fields[count].name; ++count) names[count] = fields[count].name;
  const char *dot = strrchr(name, '.'), *near = lap_suggest(dot ? dot + 1 : name, names, count);
  return lap_read_fail(reader, line, "unknown key '%s'%s%.*s%s%s", name,
                       near ? "; did you mean '" : "", near && dot ? (int)(dot + 1 - name) : 0,
                       name, near ? near : "", near ? "'?" : "");
}

lap_code lap_read_mapping(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, const lap_field *fields, void *destination) {
  if (node->kind != LAP_YAML_MAPPING)
    return lap_read_expected(reader, *name ? name : "suite", node, "a mapping");
  for (size_t i = 0; i < node->count; ++i) {
    char own[NAME_SIZE];
    snprintf(own, sizeof own, "%s%s%s", name, *name ? "." : "", node->key[i]);
    const lap_field *field = fields;
    while (field->name && strcmp(field->name, node->key[i]) != 0) ++field;
    if (!field->name) return unknown(reader, own, node->key_line[i], fields);
    if (lap_yaml_is_null(node->child[i])) continue;
    LAP_TRY(read_field(reader, own, node->child[i], field, destination));
  }
  return LAP_OK;
}

/* --- lists --- */

lap_code lap_read_texts(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        char ***texts, size_t *count) {
  const lap_yaml_node *const alone[] = {node};
  const bool list = node->kind == LAP_YAML_LIST;
  const size_t given = list ? node->count : 1;
  if (given == 0) return lap_read_expected(reader, name, node, "at least one");
  for (size_t i = 0; i < given; ++i) {
    const lap_yaml_node *item = list ? node->child[i] : alone[0];
    if (item->kind != LAP_YAML_SCALAR || !*item->text)
      return lap_read_expected(reader, name, item, "a text, or a list of texts");
    *texts = lap_reallocate(*texts, (int64_t)*count + 1, sizeof **texts);
    (*texts)[(*count)++] = lap_copy_string(item->text);
  }
  return LAP_OK;
}

lap_code lap_read_documents(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, void *how) {
  char **text = how;
  lap_document_source source;
  lap_status ignored;
  if (node->kind != LAP_YAML_SCALAR || lap_documents_parse(node->text, &source, &ignored) != LAP_OK)
    return lap_read_expected(reader, name, node, "file, line, blank or jsonl:KEY");
  free(*text);
  *text = lap_copy_string(node->text);
  return LAP_OK;
}

lap_code lap_read_source(const lap_suite_reader *reader, const char *name,
                         const lap_yaml_node *node, void *source) {
  lap_suite_text *text = source;
  return lap_read_texts(reader, name, node, &text->text, &text->text_count);
}

static lap_code add_seed(const lap_suite_reader *reader, const char *name,
                         const lap_yaml_node *item, int64_t *seeds, size_t *count) {
  int64_t seed;
  if (item->kind != LAP_YAML_SCALAR || item->quoted ||
      !lap_number_read_integer(item->text, &seed) || seed < 0 || seed > MOST_SEED)
    return lap_read_expected(reader, name, item, "an integer from 0 to 9e+18");
  for (size_t i = 0; i < *count; ++i)
    if (seeds[i] == seed)
      return lap_read_fail(reader, item->line, "%s: %" PRId64 " is given twice", name, seed);
  seeds[(*count)++] = seed;
  return LAP_OK;
}

lap_code lap_read_seeds(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        bool may_count, size_t fewest, int64_t **seeds, size_t *count) {
  *count = 0;
  if (node->kind == LAP_YAML_SCALAR && may_count) {
    int64_t wanted = 0;
    const bool read = !node->quoted && lap_number_read_integer(node->text, &wanted);
    if (!read || wanted < (int64_t)fewest || wanted > MOST_SEEDS)
      return lap_read_expected(reader, name, node, "a list of seeds, or how many there are");
    *seeds = lap_reallocate(*seeds, wanted, sizeof **seeds);
    for (int64_t i = 0; i < wanted; ++i) (*seeds)[(*count)++] = i + 1;
    return LAP_OK;
  }
  if (node->kind != LAP_YAML_LIST || node->count < fewest || node->count > MOST_SEEDS) {
    char expected[64];
    snprintf(expected, sizeof expected, "a list of %zu to %d seeds", fewest, MOST_SEEDS);
    return lap_read_expected(reader, name, node, expected);
  }
  *seeds = lap_reallocate(*seeds, (int64_t)node->count, sizeof **seeds);
  for (size_t i = 0; i < node->count; ++i)
    LAP_TRY(add_seed(reader, name, node->child[i], *seeds, count));
  return LAP_OK;
}

lap_code lap_read_ascending(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, double **numbers, size_t *count) {
  if (node->kind != LAP_YAML_LIST || node->count == 0)
    return lap_read_expected(reader, name, node, "a list of numbers");
  *numbers = lap_reallocate(*numbers, (int64_t)node->count, sizeof **numbers);
  *count = 0;
  for (size_t i = 0; i < node->count; ++i) {
    const lap_yaml_node *item = node->child[i];
    double number;
    if (item->kind != LAP_YAML_SCALAR || item->quoted ||
        !lap_number_read_real(item->text, &number) || number <= (i ? (*numbers)[i - 1] : 0))
      return lap_read_expected(reader, name, item,
                               "numbers above 0, each larger than the one before");
    (*numbers)[(*count)++] = number;
  }
  return LAP_OK;
}

/* --- keys and names --- */

lap_code lap_read_codec(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        void *codec) {
  char **text = codec;
  lap_codec known;
  if (node->kind != LAP_YAML_SCALAR || !lap_codec_find(node->text, &known))
    return lap_read_expected(reader, name, node, LAP_CODEC_NAMES);
  free(*text);
  *text = lap_copy_string(node->text);
  return LAP_OK;
}

lap_code lap_read_check_key(const lap_suite_reader *reader, const char *name, const char *key,
                            int line) {
  static const char *const own[] = {"seed",       "run_dir",   "tokenizer",
                                    "data.train", "data.eval", "teacher.cache"};
  for (size_t i = 0; i < sizeof own / sizeof *own; ++i)
    if (strcmp(key, own[i]) == 0)
      return lap_read_fail(reader, line,
                           "%s: %s is set by the suite itself: its seeds, corpus and teacher", name,
                           key);
  const char *meant = lap_config_key_suggest(key);
  if (meant && strcmp(meant, key) == 0) return LAP_OK;
  return lap_read_fail(reader, line, "%s: unknown key '%s' of the config%s%s%s", name, key,
                       meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
}

lap_code lap_read_changes(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, lap_changes *changes) {
  if (node->kind != LAP_YAML_MAPPING)
    return lap_read_expected(reader, name, node, "a mapping of keys of the config");
  for (size_t i = 0; i < node->count; ++i) {
    LAP_TRY(lap_read_check_key(reader, name, node->key[i], node->key_line[i]));
    if (node->child[i]->kind != LAP_YAML_SCALAR)
      return lap_read_expected(reader, node->key[i], node->child[i], "one value");
    lap_changes_add(changes, node->key[i],
                    lap_yaml_is_null(node->child[i]) ? "null" : node->child[i]->text);
  }
  return LAP_OK;
}

lap_code lap_read_check_name(const lap_suite_reader *reader, const char *what, const char *name,
                             int line) {
  static const char letters[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=,+";
  enum { LONGEST = 160 };
  const size_t length = strlen(name);
  if (length > 0 && length <= LONGEST && strspn(name, letters) == length && name[0] != '.' &&
      name[0] != '-')
    return LAP_OK;
  return lap_read_fail(reader, line,
                       "%s '%s': expected 1 to %d letters, digits and -_.=,+, as the name of a "
                       "directory, not beginning with . or -",
                       what, name, LONGEST);
}

lap_code lap_read_check_set_name(const lap_suite_reader *reader, const char *key, const char *name,
                                 int line) {
  static const char *const taken[] = {"train", "dev", "test", "memorise", "attend", "judge"};
  static const char done[] = ".done";
  const size_t length = strlen(name), tail = strlen(done);
  LAP_TRY(lap_read_check_name(reader, key, name, line));
  for (size_t i = 0; i < sizeof taken / sizeof *taken; ++i)
    if (!strcmp(name, taken[i]))
      return lap_read_fail(reader, line, "%s.%s: the suite itself has this set", key, name);
  if (length < tail || strcmp(name + length - tail, done) != 0) return LAP_OK;
  return lap_read_fail(reader, line,
                       "%s.%s: a name must not end in %s: its results would be in the file that "
                       "says that '%.*s' is done",
                       key, name, done, (int)(length - tail), name);
}
