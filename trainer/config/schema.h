/* config_schema: the table of config keys, and how one value is set and printed by it. Private to
 * the config*.c and numbers.c files.
 */
#ifndef LAP_TRAINER_CONFIG_SCHEMA_H
#define LAP_TRAINER_CONFIG_SCHEMA_H

#include "trainer/config/config.h"
#include "trainer/config/yaml_tree.h"

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
  double minimum, maximum; /* numbers */
  lap_lower_bound lower;
  lap_upper_bound upper;
  const char *const *words; /* LAP_KEY_WORD: ends with NULL */
  unsigned needs;           /* lap_config_needs that it belongs to */
  bool in_numbers;          /* decides the numbers of a run (docs/design.md#identity) */
} lap_config_key;

/* The table, in the order of printing: keys of one section stand together. */
const lap_config_key *lap_config_schema(size_t *count);
/* Index of a dotted name, or -1. */
int lap_config_find(const char *name);
/* Whether some key begins with "NAME.". */
bool lap_config_is_section(const char *name);
/* " ; did you mean ..." material: the nearest key to a name nobody knows, or NULL. */
const char *lap_config_nearest(const char *name);

/* Where the value of a key comes from: a line of the file when positive. */
enum { LAP_ORIGIN_NONE = -2, LAP_ORIGIN_COMMAND_LINE = -1, LAP_ORIGIN_DEFAULT = 0 };

/* Sets the field from a node that is not null; on failure LAP_USAGE "expected ..., found ..."
 * without the place, which the caller knows. */
lap_code lap_config_set(lap_config *config, const lap_config_key *key, const lap_yaml_node *node,
                        lap_status *status);

/* The value as YAML text on one line, malloc'ed; what has no value is null. */
char *lap_config_value_text(const lap_config *config, int index);

/* LAP_USAGE "FILE:LINE: KEY: MESSAGE" for a check that concerns this key. */
lap_code lap_config_fail(const lap_config *config, const char *key, lap_status *status,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

/* All checks between keys; fills learning_rate and distill_weight where they are not given. */
lap_code lap_config_resolve(lap_config *config, lap_status *status);

#endif
