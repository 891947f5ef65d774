/* yaml_tree: YAML text as a tree of nodes that remember their lines.
 *
 * The subset of YAML that a config needs, bounded before it costs anything: at most 256 KiB, 32
 * levels, 20,000 nodes, 1000 keys in a mapping and 16 lines that begin with % (libyaml takes 30 s
 * for 100 KB of '['; at the depth limit it is stopped after one line; finding duplicates, of keys
 * here and of directives there, takes the square of their number). Refused with file and line:
 * aliases, anchors, tags, directives, several documents, keys that are not plain words, duplicate
 * keys, bytes that are not UTF-8, NUL in a string. Scalars keep their text and whether they were
 * quoted: what they mean is for the schema to say, not for YAML.
 */
#ifndef LAP_TRAINER_CONFIG_YAML_TREE_H
#define LAP_TRAINER_CONFIG_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum {
  LAP_YAML_MAX_BYTES = 256 << 10,
  LAP_YAML_MAX_DEPTH = 32,
  LAP_YAML_MAX_NODES = 20000,
  LAP_YAML_MAX_KEYS = 1000,
  LAP_YAML_MAX_DIRECTIVES = 16,
};

typedef enum { LAP_YAML_SCALAR, LAP_YAML_LIST, LAP_YAML_MAPPING } lap_yaml_kind;

typedef struct lap_yaml_node lap_yaml_node;
struct lap_yaml_node {
  lap_yaml_kind kind;
  int line;              /* 1-based */
  char *text;            /* scalar: its value, UTF-8 */
  bool quoted;           /* scalar: not plain, so never null, a number or a boolean */
  size_t count;          /* list or mapping: children */
  lap_yaml_node **child; /* [count] */
  char **key;            /* mapping: [count] */
  int *key_line;         /* mapping: [count] */
};

/* LAP_USAGE "NAME:LINE: ...". An empty document gives an empty mapping. The tree is owned by the
 * caller. */
lap_code lap_yaml_parse(const char *name, const char *text, size_t bytes, lap_yaml_node **root,
                        lap_status *status);
void lap_yaml_destroy(lap_yaml_node *node);

/* A scalar node with this text; owned by the caller. */
lap_yaml_node *lap_yaml_scalar(const char *text, bool quoted, int line);

/* Whether the node is null: a plain scalar `null`, `~` or nothing at all. */
bool lap_yaml_is_null(const lap_yaml_node *node);

/* The node in words for a message, cut where it is long: "'abc'", "'5' in quotes", "a list of 2",
 * "a mapping", "null". */
enum { LAP_YAML_WORDS = 80 };
const char *lap_yaml_describe(const lap_yaml_node *node, char words[LAP_YAML_WORDS]);

#endif
