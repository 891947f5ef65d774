#include "trainer/config/yaml_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "core/byte_order_mark.h"
#include "core/memory.h"
#include "core/text.h"

typedef struct {
  const char *name; /* of the file, for messages */
  const char *text;
  size_t bytes;
  yaml_parser_t parser;
  size_t nodes;
  lap_status *status;
} yaml_reader;

static int line_of(yaml_mark_t mark) { return (int)mark.line + 1; }

static lap_yaml_node *node_create(lap_yaml_kind kind, int line) {
  lap_yaml_node *node = lap_allocate(1, sizeof *node);
  node->kind = kind;
  node->line = line;
  return node;
}

lap_yaml_node *lap_yaml_scalar(const char *text, bool quoted, int line) {
  lap_yaml_node *node = node_create(LAP_YAML_SCALAR, line);
  node->text = lap_copy_string(text);
  node->quoted = quoted;
  return node;
}

void lap_yaml_destroy(lap_yaml_node *node) {
  if (!node) return;
  for (size_t i = 0; i < node->count; ++i) {
    lap_yaml_destroy(node->child[i]);
    if (node->key) free(node->key[i]);
  }
  free(node->child);
  free(node->key);
  free(node->key_line);
  free(node->text);
  free(node);
}

static lap_code fail_at(yaml_reader *reader, int line, const char *what) {
  return lap_fail(reader->status, LAP_USAGE, "%s:%d: %s", reader->name, line, what);
}

static int line_of_offset(const yaml_reader *reader, size_t offset) {
  int line = 1;
  for (size_t i = 0; i < offset && i < reader->bytes; ++i) line += reader->text[i] == '\n';
  return line;
}

/* The reader of bytes reports an offset, scanner and parser report a mark, which lies a line too
 * far where the text ends without a newline. */
static lap_code fail_from_library(yaml_reader *reader) {
  const yaml_parser_t *parser = &reader->parser;
  const int last = line_of_offset(reader, reader->bytes);
  int line = line_of(parser->problem_mark);
  if (parser->error == YAML_READER_ERROR) line = line_of_offset(reader, parser->problem_offset);
  return lap_fail(reader->status, LAP_USAGE, "%s:%d: not valid YAML in UTF-8: %s", reader->name,
                  line < last ? line : last, parser->problem ? parser->problem : "out of memory");
}

static lap_code next_event(yaml_reader *reader, yaml_event_t *event) {
  if (!yaml_parser_parse(&reader->parser, event)) return fail_from_library(reader);
  return LAP_OK;
}

/* What libyaml accepts and a config does not need. */
static lap_code refuse_extras(yaml_reader *reader, const yaml_event_t *event) {
  const yaml_char_t *anchor = NULL, *tag = NULL;
  if (event->type == YAML_ALIAS_EVENT) {
    anchor = event->data.alias.anchor;
  } else if (event->type == YAML_SCALAR_EVENT) {
    anchor = event->data.scalar.anchor;
    tag = event->data.scalar.tag;
  } else if (event->type == YAML_SEQUENCE_START_EVENT) {
    anchor = event->data.sequence_start.anchor;
    tag = event->data.sequence_start.tag;
  } else if (event->type == YAML_MAPPING_START_EVENT) {
    anchor = event->data.mapping_start.anchor;
    tag = event->data.mapping_start.tag;
  }
  const int line = line_of(event->start_mark);
  if (anchor)
    return fail_at(reader, line,
                   "anchors and aliases (&name, *name) are not accepted; quote a text that begins "
                   "with & or *");
  if (tag) return fail_at(reader, line, "tags (!name) are not accepted");
  return LAP_OK;
}

static lap_code refuse_nul(yaml_reader *reader, const yaml_event_t *event) {
  if (strlen((const char *)event->data.scalar.value) == event->data.scalar.length) return LAP_OK;
  return fail_at(reader, line_of(event->start_mark), "a string holds a NUL character");
}

static lap_code read_scalar(yaml_reader *reader, const yaml_event_t *event, lap_yaml_node **node) {
  LAP_TRY(refuse_nul(reader, event));
  *node = lap_yaml_scalar((const char *)event->data.scalar.value,
                          event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
                          line_of(event->start_mark));
  return LAP_OK;
}

static void append_child(lap_yaml_node *parent, char *key, int key_line, lap_yaml_node *child) {
  const size_t count = parent->count;
  if ((count & (count - 1)) == 0) { /* 0 or a power of two: full */
    const size_t capacity = count ? 2 * count : 1;
    parent->child = lap_reallocate(parent->child, capacity, sizeof *parent->child);
    if (parent->kind == LAP_YAML_MAPPING) {
      parent->key = lap_reallocate(parent->key, capacity, sizeof *parent->key);
      parent->key_line = lap_reallocate(parent->key_line, capacity, sizeof *parent->key_line);
    }
  }
  parent->child[count] = child;
  if (parent->kind == LAP_YAML_MAPPING) {
    parent->key[count] = key;
    parent->key_line[count] = key_line;
  }
  parent->count = count + 1;
}

static lap_code read_node(yaml_reader *reader, yaml_event_t *event, int depth,
                          lap_yaml_node **node);

/* Takes a mapping's key out of its event. */
static lap_code read_key(yaml_reader *reader, const lap_yaml_node *mapping, yaml_event_t *event,
                         char **key, int *line) {
  *line = line_of(event->start_mark);
  LAP_TRY(refuse_extras(reader, event));
  if (event->type != YAML_SCALAR_EVENT) return fail_at(reader, *line, "a key must be a word");
  LAP_TRY(refuse_nul(reader, event));
  if (mapping->count == LAP_YAML_MAX_KEYS)
    return fail_at(reader, *line, "more than 1000 keys in one mapping");
  *key = lap_copy_string((const char *)event->data.scalar.value);
  for (size_t i = 0; i < mapping->count; ++i) {
    if (strcmp(mapping->key[i], *key) != 0) continue;
    const lap_code code =
        lap_fail(reader->status, LAP_USAGE, "%s:%d: duplicate key '%s', first given on line %d",
                 reader->name, *line, *key, mapping->key_line[i]);
    free(*key);
    return code;
  }
  return LAP_OK;
}

static bool ends_collection(const yaml_event_t *event) {
  return event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT;
}

/* One child, from `event` on, which is consumed. */
static lap_code read_child(yaml_reader *reader, yaml_event_t *event, int depth,
                           lap_yaml_node *parent) {
  char *key = NULL;
  int key_line = 0;
  if (parent->kind == LAP_YAML_MAPPING) {
    const lap_code code = read_key(reader, parent, event, &key, &key_line);
    yaml_event_delete(event);
    if (code != LAP_OK) return code;
    if (next_event(reader, event) != LAP_OK) {
      free(key);
      return reader->status->code;
    }
  }
  lap_yaml_node *child;
  const lap_code code = read_node(reader, event, depth + 1, &child);
  yaml_event_delete(event);
  if (code != LAP_OK) {
    free(key);
    return code;
  }
  append_child(parent, key, key_line, child);
  return LAP_OK;
}

static lap_code read_children(yaml_reader *reader, int depth, lap_yaml_node *parent) {
  yaml_event_t event;
  for (;;) {
    LAP_TRY(next_event(reader, &event));
    if (ends_collection(&event)) {
      yaml_event_delete(&event);
      return LAP_OK;
    }
    LAP_TRY(read_child(reader, &event, depth, parent));
  }
}

/* The node that `event` begins; the event stays the caller's. */
static lap_code read_node(yaml_reader *reader, yaml_event_t *event, int depth,
                          lap_yaml_node **node) {
  *node = NULL;
  const int line = line_of(event->start_mark);
  LAP_TRY(refuse_extras(reader, event));
  if (depth > LAP_YAML_MAX_DEPTH) return fail_at(reader, line, "nested deeper than 32 levels");
  if (++reader->nodes > LAP_YAML_MAX_NODES)
    return fail_at(reader, line, "more than 20000 values in one file");
  if (event->type == YAML_SCALAR_EVENT) return read_scalar(reader, event, node);
  const bool is_list = event->type == YAML_SEQUENCE_START_EVENT;
  *node = node_create(is_list ? LAP_YAML_LIST : LAP_YAML_MAPPING, line);
  const lap_code code = read_children(reader, depth, *node);
  if (code != LAP_OK) {
    lap_yaml_destroy(*node);
    *node = NULL;
  }
  return code;
}

/* STREAM-START (DOCUMENT-START node DOCUMENT-END)? STREAM-END. */
static lap_code read_stream(yaml_reader *reader, lap_yaml_node **root) {
  yaml_event_t event;
  for (;;) {
    LAP_TRY(next_event(reader, &event));
    const yaml_event_type_t type = event.type;
    const int line = line_of(event.start_mark);
    lap_code code = LAP_OK;
    if (type == YAML_DOCUMENT_START_EVENT && *root)
      code = fail_at(reader, line, "a second document (---) begins; a config is one document");
    else if (type == YAML_DOCUMENT_START_EVENT && event.data.document_start.tag_directives.start !=
                                                      event.data.document_start.tag_directives.end)
      code = fail_at(reader, line, "directives (%TAG) are not accepted");
    else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
             type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
      code = read_node(reader, &event, 1, root);
    yaml_event_delete(&event);
    if (code != LAP_OK || type == YAML_STREAM_END_EVENT) return code;
  }
}

static lap_code count_directives(yaml_reader *reader) {
  int line = 1, count = 0;
  for (size_t i = 0; i < reader->bytes; ++i) {
    const bool begins = i == 0 || reader->text[i - 1] == '\n';
    line += begins && i > 0;
    if (begins && reader->text[i] == '%' && ++count > LAP_YAML_MAX_DIRECTIVES)
      return fail_at(reader, line, "more than 16 lines begin with % (directives)");
  }
  return LAP_OK;
}

static lap_code refuse_utf16(const char *name, const char *text, size_t bytes, lap_status *status) {
  if (bytes < 2 || (memcmp(text, "\xFF\xFE", 2) != 0 && memcmp(text, "\xFE\xFF", 2) != 0))
    return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s:1: is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8 %s >NEW)", name,
                  name);
}

lap_code lap_yaml_parse(const char *name, const char *text, size_t bytes, lap_yaml_node **root,
                        lap_status *status) {
  *root = NULL;
  if (bytes > LAP_YAML_MAX_BYTES)
    return lap_fail(status, LAP_USAGE, "%s: is %zu bytes long; a config has at most %d", name,
                    bytes, LAP_YAML_MAX_BYTES);
  LAP_TRY(refuse_utf16(name, text, bytes, status));
  text = lap_skip_byte_order_mark(text, &bytes);
  yaml_reader reader = {.name = name, .text = text, .bytes = bytes, .status = status};
  LAP_TRY(count_directives(&reader));
  if (!yaml_parser_initialize(&reader.parser))
    return lap_fail(status, LAP_USAGE, "%s: libyaml cannot start: out of memory", name);
  /* Said, not guessed: libyaml would read a file that begins with a UTF-16 mark as UTF-16. */
  yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, bytes);
  const lap_code code = read_stream(&reader, root);
  yaml_parser_delete(&reader.parser);
  if (code != LAP_OK) {
    lap_yaml_destroy(*root);
    *root = NULL;
  } else if (!*root || lap_yaml_is_null(*root)) {
    lap_yaml_destroy(*root);
    *root = node_create(LAP_YAML_MAPPING, 1);
  }
  return code;
}

bool lap_yaml_is_null(const lap_yaml_node *node) {
  if (node->kind != LAP_YAML_SCALAR || node->quoted) return false;
  return !*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0;
}

/* Quotes are said: where a number or a boolean is expected, they are what is wrong. */
static void describe_scalar(const lap_yaml_node *node, char words[LAP_YAML_WORDS]) {
  enum { LONGEST_SHOWN = 60 };
  const size_t bytes = strlen(node->text);
  const bool is_long = bytes > LONGEST_SHOWN;
  const size_t shown = is_long ? lap_utf8_floor(node->text, LONGEST_SHOWN) : bytes;
  snprintf(words, LAP_YAML_WORDS, "'%.*s'%s%s", (int)shown, node->text, is_long ? "..." : "",
           node->quoted ? " in quotes" : "");
}

const char *lap_yaml_describe(const lap_yaml_node *node, char words[LAP_YAML_WORDS]) {
  if (node->kind == LAP_YAML_LIST)
    snprintf(words, LAP_YAML_WORDS, "a list of %zu", node->count);
  else if (node->kind == LAP_YAML_MAPPING)
    snprintf(words, LAP_YAML_WORDS, "a mapping");
  else if (lap_yaml_is_null(node))
    snprintf(words, LAP_YAML_WORDS, "null");
  else
    describe_scalar(node, words);
  return words;
}
