#include "trainer/config/key_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

const char *lap_config_type_text(const lap_config_key *key) {
  switch (key->kind) {
    case LAP_KEY_INTEGER:
    case LAP_KEY_SMALL:
      return "integer";
    case LAP_KEY_REAL:
    case LAP_KEY_CAP:
      return "number";
    case LAP_KEY_BOOLEAN:
      return "boolean";
    case LAP_KEY_WORD:
      return "word";
    case LAP_KEY_TEXT:
      return "text";
    case LAP_KEY_LAYER_TYPES:
      return "list";
    case LAP_KEY_SOURCES:
      return "text or list";
  }
  return "";
}

/* A bound has nine digits at most, and no use for the plus and the zeros of 1e+09. */
static const char *bound_text(double bound, char text[32]) {
  snprintf(text, 32, "%.9g", bound);
  char *plus = strchr(text, '+');
  if (plus) {
    const char *digits = plus + 1 + strspn(plus + 1, "0");
    memmove(plus, digits, strlen(digits) + 1);
  }
  return text;
}

static char *number_range(const lap_config_key *key) {
  char lower[32], upper[32];
  const bool above = key->lower == LAP_ABOVE, below = key->upper == LAP_BELOW;
  bound_text(key->minimum, lower);
  bound_text(key->maximum, upper);
  const char *or_null = key->kind == LAP_KEY_CAP ? ", or null" : "";
  if (above)
    return lap_format("above %s, %s %s%s", lower, below ? "below" : "at most", upper, or_null);
  return lap_format("%s to %s%s%s", lower, below ? "below " : "", upper, or_null);
}

static char *word_list(const char *const *words) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  for (size_t i = 0; words[i]; ++i) fprintf(out, "%s%s", i ? ", " : "", words[i]);
  lap_close_text(out, &text);
  return text;
}

char *lap_config_range_text(const lap_config_key *key) {
  switch (key->kind) {
    case LAP_KEY_INTEGER:
    case LAP_KEY_SMALL:
    case LAP_KEY_REAL:
    case LAP_KEY_CAP:
      return number_range(key);
    case LAP_KEY_BOOLEAN:
      return lap_copy_string("true or false");
    case LAP_KEY_WORD:
      return word_list(key->words);
    case LAP_KEY_TEXT:
    case LAP_KEY_LAYER_TYPES:
    case LAP_KEY_SOURCES:
      break;
  }
  return lap_copy_string("");
}

bool lap_config_is_required(const lap_config_key *key) { return !key->fallback && !key->derived; }

const char *lap_config_default_text(const lap_config_key *key) {
  if (lap_config_is_required(key)) return "required";
  return key->fallback ? key->fallback : key->derived;
}

size_t lap_config_first_sentence(const char *meaning) {
  const char *end = strstr(meaning, ". ");
  return end ? (size_t)(end - meaning) : strlen(meaning) - 1;
}
