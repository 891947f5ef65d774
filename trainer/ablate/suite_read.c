#include "trainer/ablate/suite_read.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "core/paths.h"
#include "dataset/near_duplicates.h"
#include "trainer/ablate/arms.h"
#include "trainer/ablate/read.h"
#include "trainer/ablate/suite_measures.h"
#include "trainer/ablate/suite_teachers.h"

static lap_code read_changes_here(const lap_suite_reader *reader, const char *name,
                                  const lap_yaml_node *node, void *suite) {
  return lap_read_changes(reader, name, node, &((lap_suite *)suite)->changes);
}

/* --- corpus and sets --- */

static lap_code read_corpus_text(const lap_suite_reader *reader, const char *name,
                                 const lap_yaml_node *node, void *suite) {
  return lap_read_source(reader, name, node, &((lap_suite *)suite)->corpus.source);
}

#define CORPUS(field) offsetof(lap_suite, corpus.field)
static const lap_field corpus_shards[] = {{"train", LAP_FIELD_TEXT, .offset = CORPUS(train)},
                                          {"dev", LAP_FIELD_TEXT, .offset = CORPUS(dev)},
                                          {"test", LAP_FIELD_TEXT, .offset = CORPUS(test)},
                                          {0}};

static lap_code read_corpus_shards(const lap_suite_reader *reader, const char *name,
                                   const lap_yaml_node *node, void *suite) {
  return lap_read_mapping(reader, name, node, corpus_shards, suite);
}

static lap_code check_cluster(const lap_suite_reader *reader, const char *name,
                              const lap_yaml_node *node, const char *cluster) {
  if (!strcmp(cluster, "document") || !strcmp(cluster, "file")) return LAP_OK;
  return lap_read_fail(reader, node->line, "%s: expected document or file, found '%s'", name,
                       cluster);
}

static lap_code read_corpus_cluster(const lap_suite_reader *reader, const char *name,
                                    const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  if (node->kind != LAP_YAML_SCALAR) return lap_read_expected(reader, name, node, "a text");
  free(suite->corpus.cluster);
  suite->corpus.cluster = lap_copy_string(node->text);
  return check_cluster(reader, name, node, suite->corpus.cluster);
}

static const lap_field corpus_fields[] = {
    {"text", LAP_FIELD_READ, .read = read_corpus_text},
    {"documents", LAP_FIELD_READ, .offset = CORPUS(source.documents), .read = lap_read_documents},
    {"shards", LAP_FIELD_READ, .read = read_corpus_shards},
    {"dev", LAP_FIELD_REAL, .offset = CORPUS(dev_share), .minimum = 0, .maximum = .5},
    {"test", LAP_FIELD_REAL, .offset = CORPUS(test_share), .minimum = .001, .maximum = .5},
    {"near_duplicates", LAP_FIELD_REAL, .offset = CORPUS(near_duplicates), .minimum = 0,
     .maximum = 1},
    {"cluster", LAP_FIELD_READ, .read = read_corpus_cluster},
    {"seed", LAP_FIELD_INTEGER, .offset = CORPUS(seed), .minimum = 0, .maximum = 9e18},
    {"tokenizer", LAP_FIELD_TEXT, .offset = CORPUS(tokenizer)},
    {"vocab_size", LAP_FIELD_INTEGER, .offset = CORPUS(vocab_size), .minimum = 269,
     .maximum = 1 << 20},
    {0}};

static lap_code read_corpus(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  LAP_TRY(lap_read_mapping(reader, name, node, corpus_fields, suite));
  const bool text = suite->corpus.source.text_count > 0, shards = suite->corpus.train != NULL;
  if (text == shards)
    return lap_read_fail(reader, node->line, "%s: expected either text or shards.train, found %s",
                         name, text ? "both" : "neither");
  if (shards && !suite->corpus.test)
    return lap_read_fail(reader, node->line, "%s: shards.test is missing", name);
  if (shards && !suite->corpus.tokenizer)
    return lap_read_fail(reader, node->line,
                         "%s: tokenizer is missing: the one that made the shards", name);
  return LAP_OK;
}

#define SET(field) offsetof(lap_suite_set, field)
static const lap_field set_fields[] = {
    {"text", LAP_FIELD_READ, .offset = SET(source), .read = lap_read_source},
    {"documents", LAP_FIELD_READ, .offset = SET(source.documents), .read = lap_read_documents},
    {"shards", LAP_FIELD_TEXT, .offset = SET(shards)},
    {"cluster", LAP_FIELD_TEXT, .offset = SET(cluster)},
    {"limit", LAP_FIELD_INTEGER, .offset = SET(limit), .minimum = 1000, .maximum = 1e15},
    {0}};

static lap_code read_set(const lap_suite_reader *reader, const char *name, const char *own,
                         const lap_yaml_node *node, lap_suite_set *set) {
  LAP_TRY(lap_read_check_set_name(reader, name, own, node->line));
  char *dotted = lap_format("%s.%s", name, own);
  lap_code code = lap_read_mapping(reader, dotted, node, set_fields, set);
  if (code == LAP_OK && (set->source.text_count > 0) == (set->shards != NULL))
    code = lap_read_fail(reader, node->line, "%s: expected either text or shards", dotted);
  if (code == LAP_OK && set->limit > 0 && set->shards)
    code = lap_read_fail(reader, node->line, "%s.limit: is of text, not of shards", dotted);
  char *cluster = lap_format("%s.cluster", dotted);
  if (code == LAP_OK) code = check_cluster(reader, cluster, node, set->cluster);
  free(cluster);
  free(dotted);
  return code;
}

static lap_code read_sets(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  if (node->kind != LAP_YAML_MAPPING)
    return lap_read_expected(reader, name, node, "a mapping of names to sets");
  suite->sets = lap_allocate((int64_t)node->count, sizeof *suite->sets);
  for (size_t i = 0; i < node->count; ++i) {
    lap_suite_set *set = &suite->sets[suite->set_count++];
    *set = (lap_suite_set){.name = lap_copy_string(node->key[i]),
                           .source.documents = lap_copy_string("file"),
                           .cluster = lap_copy_string("document")};
    LAP_TRY(read_set(reader, name, node->key[i], node->child[i], set));
  }
  return LAP_OK;
}

/* --- texts --- */

static const lap_field texts_fields[] = {
    {"text", LAP_FIELD_READ, .offset = offsetof(lap_suite_texts, source), .read = lap_read_source},
    {"documents", LAP_FIELD_READ, .offset = offsetof(lap_suite_texts, source.documents),
     .read = lap_read_documents},
    {0}};

static lap_code read_texts(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  if (node->kind != LAP_YAML_MAPPING || node->count == 0)
    return lap_read_expected(reader, name, node, "a mapping of names to texts");
  suite->texts = lap_allocate((int64_t)node->count, sizeof *suite->texts);
  for (size_t i = 0; i < node->count; ++i) {
    lap_suite_texts *texts = &suite->texts[suite->texts_count++];
    *texts = (lap_suite_texts){.name = lap_copy_string(node->key[i]),
                               .source.documents = lap_copy_string("file")};
    LAP_TRY(lap_read_check_name(reader, "texts", texts->name, node->key_line[i]));
    char *dotted = lap_format("%s.%s", name, texts->name);
    lap_code code = lap_read_mapping(reader, dotted, node->child[i], texts_fields, texts);
    if (code == LAP_OK && texts->source.text_count == 0)
      code = lap_read_fail(reader, node->key_line[i], "%s.text is missing", dotted);
    free(dotted);
    LAP_TRY(code);
  }
  return LAP_OK;
}

/* --- tune --- */

static lap_code read_tune_keys(const lap_suite_reader *reader, const char *name,
                               const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  if (node->kind != LAP_YAML_MAPPING || node->count == 0)
    return lap_read_expected(reader, name, node, "a mapping of keys to factors");
  suite->tune.keys = lap_allocate((int64_t)node->count, sizeof *suite->tune.keys);
  for (size_t i = 0; i < node->count; ++i) {
    lap_tune_key *key = &suite->tune.keys[suite->tune.key_count++];
    key->key = lap_copy_string(node->key[i]);
    LAP_TRY(lap_read_check_key(reader, name, key->key, node->key_line[i]));
    LAP_TRY(lap_read_ascending(reader, key->key, node->child[i], &key->factor, &key->count));
  }
  return LAP_OK;
}

static lap_code read_tune_seeds(const lap_suite_reader *reader, const char *name,
                                const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  return lap_read_seeds(reader, name, node, false, 2, &suite->tune.seeds, &suite->tune.seed_count);
}

static const lap_field tune_fields[] = {
    {"keys", LAP_FIELD_READ, .read = read_tune_keys},
    {"seeds", LAP_FIELD_READ, .read = read_tune_seeds},
    {"extend", LAP_FIELD_INTEGER, .offset = offsetof(lap_suite, tune.extend), .minimum = 0,
     .maximum = 10},
    {0}};

static lap_code read_tune(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, void *destination) {
  const lap_suite *suite = destination;
  LAP_TRY(lap_read_mapping(reader, name, node, tune_fields, destination));
  if (suite->tune.key_count == 0)
    return lap_read_fail(reader, node->line, "%s.keys is missing", name);
  if (suite->tune.seed_count == 0)
    return lap_read_fail(reader, node->line,
                         "%s.seeds is missing: at least 2 that the suite does not use", name);
  return LAP_OK;
}

/* --- the rest --- */

static lap_code read_seeds(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  return lap_read_seeds(reader, name, node, true, 1, &suite->seeds, &suite->seed_count);
}

static const lap_field endpoint_fields[] = {
    {"set", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, endpoint.set)},
    {"measure", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, endpoint.measure)},
    {0}};

static lap_code read_endpoint(const lap_suite_reader *reader, const char *name,
                              const lap_yaml_node *node, void *suite) {
  return lap_read_mapping(reader, name, node, endpoint_fields, suite);
}

static lap_code read_multiples(const lap_suite_reader *reader, const char *name,
                               const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  LAP_TRY(lap_read_ascending(reader, name, node, &suite->break_even.multiples,
                             &suite->break_even.multiple_count));
  if (suite->break_even.multiples[0] != 1)
    return lap_read_fail(reader, node->line, "%s: the first multiple is 1: the baseline itself",
                         name);
  if (suite->break_even.multiple_count > 1) return LAP_OK;
  return lap_read_fail(reader, node->line,
                       "%s: expected two multiples at least, between which a line is drawn; found "
                       "1 alone",
                       name);
}

static const lap_field break_even_fields[] = {
    {"arm", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, break_even.arm)},
    {"baseline", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, break_even.baseline)},
    {"multiples", LAP_FIELD_READ, .read = read_multiples},
    {0}};

static lap_code read_break_even(const lap_suite_reader *reader, const char *name,
                                const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  static const double usual[] = {1, 1.19, 1.41, 2, 2.83, 4};
  LAP_TRY(lap_read_mapping(reader, name, node, break_even_fields, suite));
  if (!suite->break_even.arm || !suite->break_even.baseline)
    return lap_read_fail(reader, node->line, "%s: arm and baseline are needed", name);
  if (suite->break_even.multiple_count > 0) return LAP_OK;
  const size_t count = sizeof usual / sizeof *usual;
  suite->break_even.multiples = lap_allocate((int64_t)count, sizeof *usual);
  memcpy(suite->break_even.multiples, usual, sizeof usual);
  suite->break_even.multiple_count = count;
  return LAP_OK;
}

static const lap_field smoke_fields[] = {
    {"seeds", LAP_FIELD_INTEGER, .offset = offsetof(lap_suite, smoke.seeds), .minimum = 1,
     .maximum = 100},
    {"steps", LAP_FIELD_INTEGER, .offset = offsetof(lap_suite, smoke.steps), .minimum = 1,
     .maximum = 1e6},
    {"text_bytes", LAP_FIELD_INTEGER, .offset = offsetof(lap_suite, smoke.text_bytes),
     .minimum = 1000, .maximum = 1e15},
    {0}};

static lap_code read_smoke(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *suite) {
  return lap_read_mapping(reader, name, node, smoke_fields, suite);
}

/* Once the arms are known. */
static lap_code pass_over(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, void *suite) {
  (void)reader, (void)name, (void)node, (void)suite;
  return LAP_OK;
}

static const lap_field suite_fields[] = {
    {"name", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, name)},
    {"config", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, config)},
    {"changes", LAP_FIELD_READ, .read = read_changes_here},
    {"corpus", LAP_FIELD_READ, .read = read_corpus},
    {"texts", LAP_FIELD_READ, .read = read_texts},
    {"teacher", LAP_FIELD_READ, .read = lap_read_teacher},
    {"teachers", LAP_FIELD_READ, .read = lap_read_teachers},
    {"seeds", LAP_FIELD_READ, .read = read_seeds},
    {"arms", LAP_FIELD_READ, .read = lap_read_arms},
    {"tune", LAP_FIELD_READ, .read = read_tune},
    {"compare", LAP_FIELD_READ, .read = pass_over},
    {"measures", LAP_FIELD_READ, .read = lap_read_measures},
    {"endpoint", LAP_FIELD_READ, .read = read_endpoint},
    {"margin", LAP_FIELD_REAL, .offset = offsetof(lap_suite, margin), .minimum = 0, .maximum = 100},
    {"confidence", LAP_FIELD_REAL, .offset = offsetof(lap_suite, confidence), .minimum = .5,
     .maximum = .999},
    {"sets", LAP_FIELD_READ, .read = read_sets},
    {"choices", LAP_FIELD_READ, .read = lap_read_choices},
    {"memorise", LAP_FIELD_READ, .read = lap_read_memorise},
    {"judge", LAP_FIELD_READ, .read = lap_read_judge},
    {"attend", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, attend)},
    {"break_even", LAP_FIELD_READ, .read = read_break_even},
    {"pilot", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, pilot)},
    {"ranks", LAP_FIELD_INTEGER, .offset = offsetof(lap_suite, ranks), .minimum = 1,
     .maximum = 1 << 20},
    {"launcher", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, launcher)},
    {"smoke", LAP_FIELD_READ, .read = read_smoke},
    {0}};

static const lap_yaml_node *find(const lap_yaml_node *root, const char *key, int *line) {
  for (size_t i = 0; i < root->count; ++i)
    if (strcmp(root->key[i], key) == 0 && !lap_yaml_is_null(root->child[i])) {
      *line = root->key_line[i];
      return root->child[i];
    }
  return NULL;
}

static lap_code read_compare(const lap_suite_reader *reader, const lap_yaml_node *root) {
  int line = 1;
  const lap_yaml_node *node = find(root, "compare", &line);
  if (!node) return LAP_OK;
  static const char expected[] = "a list of pairs [arm, baseline]";
  if (node->kind != LAP_YAML_LIST) return lap_read_expected(reader, "compare", node, expected);
  for (size_t i = 0; i < node->count; ++i) {
    const lap_yaml_node *pair = node->child[i];
    if (pair->kind != LAP_YAML_LIST || pair->count != 2 ||
        pair->child[0]->kind != LAP_YAML_SCALAR || pair->child[1]->kind != LAP_YAML_SCALAR)
      return lap_read_expected(reader, "compare", pair, expected);
    LAP_TRY(lap_add_pairs(reader, pair->line, pair->child[0]->text, pair->child[1]->text));
  }
  return LAP_OK;
}

/* --- what several keys must agree on --- */

static bool has_seed(const int64_t *seeds, size_t count, int64_t seed) {
  for (size_t i = 0; i < count; ++i)
    if (seeds[i] == seed) return true;
  return false;
}

static lap_code check_tune(const lap_suite_reader *reader, int line) {
  const lap_suite *suite = reader->suite;
  if (suite->tune.key_count == 0) return LAP_OK;
  for (size_t i = 0; i < suite->arm_count; ++i)
    if (suite->arms[i].evaluates)
      return lap_read_fail(reader, line, "tune: arms.%s trains nothing that could be tuned",
                           suite->arms[i].name);
  for (size_t i = 0; i < suite->tune.seed_count; ++i)
    if (has_seed(suite->seeds, suite->seed_count, suite->tune.seeds[i]))
      return lap_read_fail(reader, line,
                           "tune.seeds: %" PRId64
                           " is a seed of the suite; tuning has seeds of its own",
                           suite->tune.seeds[i]);
  const bool has_dev =
      suite->corpus.train ? suite->corpus.dev != NULL : suite->corpus.dev_share > 0;
  if (has_dev) return LAP_OK;
  return lap_read_fail(reader, line, "tune: the corpus has no dev set to tune on");
}

static lap_code check_near_duplicates(const lap_suite_reader *reader, int line) {
  const double similarity = reader->suite->corpus.near_duplicates;
  if (similarity == 0 || similarity >= LAP_LEAST_SIMILARITY) return LAP_OK;
  return lap_read_fail(reader, line, "corpus.near_duplicates: expected 0, or %g to 1, found %g",
                       LAP_LEAST_SIMILARITY, similarity);
}

static lap_code check(const lap_suite_reader *reader, const lap_yaml_node *root) {
  static const char *const needed[] = {"config", "corpus", "seeds", "arms"};
  const lap_suite *suite = reader->suite;
  int line = 1;
  for (size_t i = 0; i < sizeof needed / sizeof *needed; ++i)
    if (!find(root, needed[i], &line)) return lap_read_fail(reader, 1, "%s is missing", needed[i]);
  const bool is_named = find(root, "name", &line) != NULL;
  LAP_TRY(lap_read_check_name(
      reader, is_named ? "name" : "name is missing, and that of the file will not do:", suite->name,
      is_named ? line : 1));
  find(root, "corpus", &line);
  LAP_TRY(check_near_duplicates(reader, line));
  find(root, "measures", &line);
  LAP_TRY(lap_check_measures(reader, line));
  find(root, "endpoint", &line);
  LAP_TRY(lap_check_endpoint(reader, line));
  LAP_TRY(lap_check_teachers(reader));
  find(root, "judge", &line);
  LAP_TRY(lap_check_judge(reader, line));
  find(root, "tune", &line);
  return check_tune(reader, line);
}

/* --- smoke --- */

static bool has_length(const lap_changes *changes) {
  return lap_changes_find(changes, "schedule.steps") ||
         lap_changes_find(changes, "schedule.tokens") ||
         lap_changes_find(changes, "schedule.epochs");
}

/* A run has one length: the others that the changes name are taken back. */
static void cut_length(lap_changes *changes, const char *steps) {
  static const char *const others[] = {"schedule.tokens", "schedule.epochs"};
  lap_changes_add(changes, "schedule.steps", steps);
  for (size_t i = 0; i < sizeof others / sizeof *others; ++i)
    if (lap_changes_find(changes, others[i])) lap_changes_add(changes, others[i], "null");
}

/* One that fits stays: it may be what arms differ in. */
static void cut_warmup(lap_changes *changes, int64_t steps) {
  const char *given = lap_changes_find(changes, "schedule.warmup_steps");
  int64_t warmup;
  if (given && lap_number_read_integer(given, &warmup) && warmup > steps)
    lap_changes_add(changes, "schedule.warmup_steps", "null");
}

static void cut_teacher(lap_suite_teacher *teacher, const char *steps) {
  if (teacher->kind != LAP_TEACHER_CONFIG) return;
  cut_length(&teacher->changes, steps);
  lap_changes_add(&teacher->changes, "schedule.warmup_steps", "null");
}

static void cut_sizes(lap_suite *suite) {
  char steps[32];
  snprintf(steps, sizeof steps, "%" PRId64, suite->smoke.steps);
  const size_t seeds = (size_t)suite->smoke.seeds;
  if (suite->seed_count > seeds) suite->seed_count = seeds;
  if (suite->tune.seed_count > 2) suite->tune.seed_count = 2;
  suite->tune.extend = 0;
  suite->corpus.limit = suite->smoke.text_bytes;
  cut_length(&suite->changes, steps);
  lap_changes_add(&suite->changes, "schedule.warmup_steps", "null");
  for (size_t i = 0; i < suite->arm_count; ++i) {
    lap_changes *changes = &suite->arms[i].changes;
    if (has_length(changes)) cut_length(changes, steps);
    cut_warmup(changes, suite->smoke.steps);
  }
  cut_teacher(&suite->teacher, steps);
  for (size_t i = 0; i < suite->teacher_count; ++i) cut_teacher(&suite->teachers[i], steps);
}

/* --- the whole --- */

static char *name_of_file(const char *file) {
  const char *own = lap_path_name(file), *dot = strrchr(own, '.');
  return lap_format("%.*s", dot && dot > own ? (int)(dot - own) : (int)strlen(own), own);
}

static lap_code read_root(const lap_suite_reader *reader, const lap_yaml_node *root) {
  lap_suite *suite = reader->suite;
  LAP_TRY(lap_read_mapping(reader, "", root, suite_fields, suite));
  LAP_TRY(check(reader, root));
  int line = 1;
  find(root, "break_even", &line);
  LAP_TRY(lap_add_break_even_arms(reader, line));
  LAP_TRY(read_compare(reader, root));
  if (suite->is_smoke) cut_sizes(suite);
  return LAP_OK;
}

static void set_defaults(lap_suite *suite, const char *name) {
  suite->name = name_of_file(name);
  suite->corpus.source.documents = lap_copy_string("file");
  suite->corpus.dev_share = suite->corpus.test_share = .05;
  suite->corpus.near_duplicates = .8;
  suite->corpus.cluster = lap_copy_string("document");
  suite->corpus.seed = 1;
  suite->teacher.k = 64;
  suite->teacher.codec = lap_copy_string("topk");
  suite->teacher.source.documents = lap_copy_string("file");
  suite->teacher.seed = -1;
  suite->tune.extend = 2;
  suite->endpoint.set = lap_copy_string("test");
  suite->endpoint.measure = lap_copy_string("loss");
  suite->confidence = .95;
  suite->ranks = 1;
  suite->launcher = lap_copy_string("mpirun --bind-to none");
  suite->smoke.seeds = 2;
  suite->smoke.steps = 20;
  suite->smoke.text_bytes = 1000000;
}

lap_code lap_suite_parse(const char *name, const char *text, size_t bytes, bool smoke,
                         lap_suite *suite, lap_status *status) {
  *suite = (lap_suite){.file = lap_copy_string(name), .is_smoke = smoke};
  suite->text = lap_format("%.*s", (int)bytes, text);
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(text, bytes, digest);
  lap_sha256_hex(digest, suite->sha256);
  set_defaults(suite, name);
  const lap_suite_reader reader = {.suite = suite, .status = status};
  lap_yaml_node *root;
  lap_code code = lap_yaml_parse(name, text, bytes, &root, status);
  if (code == LAP_OK) {
    code = read_root(&reader, root);
    lap_yaml_destroy(root);
  }
  if (code == LAP_OK)
    lap_default_measures(suite);
  else
    lap_suite_release(suite);
  return code;
}

lap_code lap_suite_load(const char *path, bool smoke, lap_suite *suite, lap_status *status) {
  *suite = (lap_suite){0};
  char *text;
  size_t bytes;
  if (lap_file_read(path, LAP_YAML_MAX_BYTES, &text, &bytes, status) != LAP_OK)
    return status->code = LAP_USAGE; /* a mistake on the command line, not in the data */
  const lap_code code = lap_suite_parse(path, text, bytes, smoke, suite, status);
  free(text);
  return code;
}
