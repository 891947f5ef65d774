/* read: mappings of a suite, read by tables of fields. Private to this folder.
 */
#ifndef LAP_TRAINER_ABLATE_READ_H
#define LAP_TRAINER_ABLATE_READ_H

#include "core/status.h"
#include "trainer/ablate/suite.h"
#include "trainer/config/yaml_tree.h"

typedef struct {
  lap_suite *suite;
  lap_status *status;
} lap_suite_reader;

typedef enum {
  LAP_FIELD_TEXT,    /* char * */
  LAP_FIELD_INTEGER, /* int64_t */
  LAP_FIELD_REAL,    /* double */
  LAP_FIELD_READ,    /* by a function */
} lap_field_kind;

typedef struct lap_field lap_field;
struct lap_field {
  const char *name;
  lap_field_kind kind;
  size_t offset; /* in the destination */
  double minimum, maximum;
  /* `name` is dotted, for messages; `destination` is at the offset. */
  lap_code (*read)(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                   void *destination);
};

/* Reads a mapping; fields [ends with a NULL name]. Null values are passed over. `name` is the
 * dotted name of the mapping, "" for the suite itself. */
lap_code lap_read_mapping(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, const lap_field *fields, void *destination);

/* LAP_USAGE "FILE:LINE: NAME: expected ..., found ...". */
lap_code lap_read_expected(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, const char *expected);
/* LAP_USAGE "FILE:LINE: ...". */
lap_code lap_read_fail(const lap_suite_reader *reader, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A text, or a list of texts. */
lap_code lap_read_texts(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        char ***texts, size_t *count);
/* What a document is, as --documents says it (dataset/documents.h), to be freed by the suite; *how,
 * which may have one already, gets it: to be a field's. */
lap_code lap_read_documents(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, void *how);
/* A text or a list of texts, of a lap_suite_text: to be a field's. */
lap_code lap_read_source(const lap_suite_reader *reader, const char *name,
                         const lap_yaml_node *node, void *source);
/* A list of at least `fewest` different integers from 0 on, or, with `may_count`, N for 1 to N. */
lap_code lap_read_seeds(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        bool may_count, size_t fewest, int64_t **seeds, size_t *count);
/* A list of ascending numbers above 0. */
lap_code lap_read_ascending(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, double **numbers, size_t *count);
/* A mapping of keys of a config to one value each. */
lap_code lap_read_changes(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, lap_changes *changes);
/* The name of a codec of caches, to be freed by the suite; *codec, which may have one already, gets
 * it. To be a field's. */
lap_code lap_read_codec(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        void *codec);
/* Whether a key is one that a suite may change: LAP_USAGE naming the nearest one, or saying that
 * the suite sets it itself. */
lap_code lap_read_check_key(const lap_suite_reader *reader, const char *name, const char *key,
                            int line);
/* A name that a directory may have. */
lap_code lap_read_check_name(const lap_suite_reader *reader, const char *what, const char *name,
                             int line);
/* The name of something that runs are evaluated on, of sets or choices: one that no set of the
 * suite itself has, and whose files beside those of other sets are its own. */
lap_code lap_read_check_set_name(const lap_suite_reader *reader, const char *key, const char *name,
                                 int line);

#endif
