#include "trainer/config/help.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/config/key_text.h"
#include "trainer/config/other_names.h"

enum { WIDTH = 100, INDENT = 4 };

static lap_code check_name(const char *name, lap_status *status) {
  if (!name || lap_config_find(name) >= 0 || lap_config_is_section(name)) return LAP_OK;
  const char *near = lap_config_by_other_name(name);
  if (!near) near = lap_config_nearest(name);
  return lap_fail(status, LAP_USAGE, "unknown key or section '%s'%s%s%s", name,
                  near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Whether `name` asks for the key, by itself or with its section. */
static bool is_asked_for(const char *name, const lap_config_key *key) {
  return !name || strcmp(name, key->name) == 0 || strcmp(name, lap_config_section_of(key)) == 0;
}

/* --- for a terminal --- */

/* Words of `text` in indented lines. */
static void print_wrapped(FILE *out, const char *text) {
  size_t column = 0;
  while (*text) {
    const size_t length = strcspn(text, " ");
    if (column > 0 && column + 1 + length > WIDTH) {
      fputc('\n', out);
      column = 0;
    }
    if (column == 0)
      column = (size_t)fprintf(out, "%*s%.*s", INDENT, "", (int)length, text);
    else
      column += (size_t)fprintf(out, " %.*s", (int)length, text);
    text += length;
    text += strspn(text, " ");
  }
  fputc('\n', out);
}

static void print_key(FILE *out, const lap_config_key *key) {
  char *range = lap_config_range_text(key);
  char *first =
      lap_format("%s%s%s%s%s [%s]", lap_config_type_text(key), *range ? ": " : "", range,
                 key->unit ? " " : "", key->unit ? key->unit : "", lap_config_default_text(key));
  fprintf(out, "%s\n", key->name);
  print_wrapped(out, first);
  print_wrapped(out, key->meaning);
  free(first);
  free(range);
}

static void print_keys_of(FILE *out, const char *name, const char *section) {
  size_t count;
  const lap_config_key *keys = lap_config_schema(&count);
  for (size_t i = 0; i < count; ++i)
    if (is_asked_for(name, &keys[i]) && strcmp(lap_config_section_of(&keys[i]), section) == 0)
      print_key(out, &keys[i]);
}

lap_code lap_config_help_print(const char *name, FILE *out, lap_status *status) {
  LAP_TRY(check_name(name, status));
  size_t count;
  const lap_config_section *sections = lap_config_sections(&count);
  if (!name) fputs("A key, its type: its range [its default], and what it means.\n\n", out);
  print_keys_of(out, name, "");
  for (size_t i = 0; i < count; ++i) {
    const char *section = sections[i].name;
    if (!name || strcmp(name, section) == 0)
      fprintf(out, "%s%s: %s\n\n", name ? "" : "\n", section, sections[i].meaning);
    print_keys_of(out, name, section);
  }
  return LAP_OK;
}

/* --- for programs --- */

static json_t *text_or_null(const char *text) { return text ? json_string(text) : json_null(); }

static json_t *bound_json(const lap_config_key *key, double bound, bool has_it) {
  if (!has_it) return json_null();
  const bool is_integer = key->kind == LAP_KEY_INTEGER || key->kind == LAP_KEY_SMALL;
  return is_integer ? json_integer((json_int_t)bound) : json_real(bound);
}

static void add_range(json_t *object, const lap_config_key *key) {
  const char *type = lap_config_type_text(key);
  const bool has_range = strcmp(type, "integer") == 0 || strcmp(type, "number") == 0;
  const bool above = key->lower == LAP_ABOVE, below = key->upper == LAP_BELOW;
  json_object_set_new(object, "minimum", bound_json(key, key->minimum, has_range && !above));
  json_object_set_new(object, "exclusive_minimum",
                      bound_json(key, key->minimum, has_range && above));
  json_object_set_new(object, "maximum", bound_json(key, key->maximum, has_range && !below));
  json_object_set_new(object, "exclusive_maximum",
                      bound_json(key, key->maximum, has_range && below));
}

static json_t *words_json(const char *const *words) {
  if (!words) return json_null();
  json_t *list = json_array();
  for (size_t i = 0; words[i]; ++i) json_array_append_new(list, json_string(words[i]));
  return list;
}

static json_t *key_json(const lap_config_key *key) {
  const char *section = lap_config_section_of(key);
  json_t *object =
      json_pack("{s:s, s:o, s:s, s:o, s:o, s:b}", "key", key->name, "section",
                text_or_null(*section ? section : NULL), "type", lap_config_type_text(key),
                "default", text_or_null(key->fallback), "default_in_words",
                text_or_null(key->derived), "required", lap_config_is_required(key));
  add_range(object, key);
  json_object_set_new(object, "words", words_json(key->words));
  json_object_set_new(object, "unit", text_or_null(key->unit));
  json_object_set_new(object, "meaning", json_string(key->meaning));
  return object;
}

lap_code lap_config_help_json(const char *name, json_t **object, lap_status *status) {
  LAP_TRY(check_name(name, status));
  size_t count;
  const lap_config_key *keys = lap_config_schema(&count);
  json_t *list = json_array();
  for (size_t i = 0; i < count; ++i)
    if (is_asked_for(name, &keys[i])) json_array_append_new(list, key_json(&keys[i]));
  *object = json_pack("{s:o}", "keys", list);
  return LAP_OK;
}
