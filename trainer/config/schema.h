/* schema: the table of config keys. Private to this folder.
 *
 * A row says everything about a key: the loader, its messages, numbers_sha256, `lapidary config
 * --help-keys` and docs/config.md all read it. A new key is a field of lap_config, a row here, and
 * the code that uses it (a new section one more row, lap_config_sections).
 */
#ifndef LAP_TRAINER_CONFIG_SCHEMA_H
#define LAP_TRAINER_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/config/config.h"

typedef enum {
  LAP_KEY_INTEGER,     /* int64_t */
  LAP_KEY_SMALL,       /* int */
  LAP_KEY_REAL,        /* double */
  LAP_KEY_CAP,         /* double, null is 0 and means off */
  LAP_KEY_BOOLEAN,     /* bool */
  LAP_KEY_WORD,        /* an enum, stored as the index into `words` */
  LAP_KEY_TEXT,        /* char *, not empty */
  LAP_KEY_LAYER_TYPES, /* model.layer_types */
  LAP_KEY_SOURCES,     /* data.train */
} lap_key_kind;

typedef enum { LAP_FROM, LAP_ABOVE } lap_lower_bound; /* >= or > */
typedef enum { LAP_TO, LAP_BELOW } lap_upper_bound;   /* <= or < */

typedef struct {
  const char *name; /* dotted */
  lap_key_kind kind;
  size_t offset;           /* of the field in lap_config */
  const char *fallback;    /* the default as it would be written; NULL: none */
  const char *derived;     /* without fallback: what holds when the key is not given, in words;
                              neither: commands that need the key refuse to go without */
  double minimum, maximum; /* numbers */
  lap_lower_bound lower;
  lap_upper_bound upper;
  const char *const *words; /* LAP_KEY_WORD: ends with NULL */
  unsigned needs;           /* lap_config_needs that it belongs to */
  bool in_numbers;          /* decides the numbers of a run (docs/design.md#identity) */

  /* --- for people --- */
  const char *unit;    /* of a number, "tokens"; NULL: none */
  const char *meaning; /* sentences; the first, without its full stop, fits behind an example */
  const char *example; /* its value in the example config; NULL: the fallback */
  bool commented_out;  /* the example shows it as a comment */
} lap_config_key;

/* The table, in the order of printing: keys of one section stand together. */
const lap_config_key *lap_config_schema(size_t *count);
/* Index of a dotted name, or -1. */
int lap_config_find(const char *name);

typedef struct {
  const char *name;    /* what stands before the dot of its keys */
  const char *meaning; /* a sentence */
} lap_config_section;

/* Sections in the order of their keys. */
const lap_config_section *lap_config_sections(size_t *count);
/* Whether keys begin with the name and a dot: a section, or a mapping within one. */
bool lap_config_is_section(const char *name);
/* The name of a key's section, "" where it is in none; and its name within that section. */
const char *lap_config_section_of(const lap_config_key *key);
const char *lap_config_own_name(const lap_config_key *key);
/* " ; did you mean ..." material: the nearest key to a name nobody knows, or NULL. */
const char *lap_config_nearest(const char *name);

#endif
