#include "trainer/ablate/suite_teachers.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/parse_number.h"
#include "core/suggest.h"

/* --- one teacher --- */

static lap_code take(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                     lap_suite_teacher *teacher, lap_teacher_kind kind) {
  if (teacher->path)
    return lap_read_fail(
        reader, node->line,
        "%s: the teacher is given twice: expected one of config, model, cache, average", name);
  if (node->kind != LAP_YAML_SCALAR || !*node->text)
    return lap_read_expected(reader, name, node, "a path");
  teacher->kind = kind;
  teacher->path = lap_copy_string(node->text);
  return LAP_OK;
}

static lap_code read_config(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, void *teacher) {
  return take(reader, name, node, teacher, LAP_TEACHER_CONFIG);
}

static lap_code read_model(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *teacher) {
  return take(reader, name, node, teacher, LAP_TEACHER_MODEL);
}

static lap_code read_cache(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *teacher) {
  return take(reader, name, node, teacher, LAP_TEACHER_CACHE);
}

static lap_code read_average(const lap_suite_reader *reader, const char *name,
                             const lap_yaml_node *node, void *destination) {
  lap_suite_teacher *teacher = destination;
  if (node->kind != LAP_YAML_LIST || node->count < 2)
    return lap_read_expected(reader, name, node, "a list of two or more of `teachers`");
  if (node->child[0]->kind == LAP_YAML_SCALAR)
    LAP_TRY(take(reader, name, node->child[0], teacher, LAP_TEACHER_AVERAGE));
  return lap_read_texts(reader, name, node, &teacher->members, &teacher->member_count);
}

static lap_code read_changes(const lap_suite_reader *reader, const char *name,
                             const lap_yaml_node *node, void *changes) {
  return lap_read_changes(reader, name, node, changes);
}

static lap_code read_eval_k(const lap_suite_reader *reader, const char *name,
                            const lap_yaml_node *node, void *destination) {
  int64_t *k = destination;
  const bool scalar = node->kind == LAP_YAML_SCALAR;
  if (scalar && !strcmp(node->text, "dense")) {
    *k = LAP_DENSE;
    return LAP_OK;
  }
  if (scalar && lap_number_read_integer(node->text, k) && *k >= 1 && *k <= 1 << 20) return LAP_OK;
  return lap_read_expected(reader, name, node, "an integer from 1 on, or dense");
}

#define TEACHER(field) offsetof(lap_suite_teacher, field)
static const lap_field fields[] = {
    {"config", LAP_FIELD_READ, .read = read_config},
    {"model", LAP_FIELD_READ, .read = read_model},
    {"cache", LAP_FIELD_READ, .read = read_cache},
    {"average", LAP_FIELD_READ, .read = read_average},
    {"seed", LAP_FIELD_INTEGER, .offset = TEACHER(seed), .minimum = 0, .maximum = 9e18},
    {"changes", LAP_FIELD_READ, .offset = TEACHER(changes), .read = read_changes},
    {"text", LAP_FIELD_READ, .offset = TEACHER(source), .read = lap_read_source},
    {"documents", LAP_FIELD_READ, .offset = TEACHER(source.documents), .read = lap_read_documents},
    {"texts", LAP_FIELD_TEXT, .offset = TEACHER(texts)},
    {"k", LAP_FIELD_INTEGER, .offset = TEACHER(k), .minimum = 1, .maximum = 1 << 20},
    {"eval_k", LAP_FIELD_READ, .offset = TEACHER(eval_k), .read = read_eval_k},
    {"codec", LAP_FIELD_READ, .offset = TEACHER(codec), .read = lap_read_codec},
    {"name", LAP_FIELD_TEXT, .offset = TEACHER(name)},
    {0}};

static lap_code check(const lap_suite_reader *reader, const char *name, int line,
                      const lap_suite_teacher *teacher) {
  if (!teacher->path)
    return lap_read_fail(reader, line, "%s: expected one of config, model, cache, average", name);
  if (teacher->kind == LAP_TEACHER_CONFIG) return LAP_OK;
  const char *wrong = NULL;
  if (teacher->changes.count > 0) wrong = "changes";
  if (teacher->source.text_count > 0) wrong = "text";
  if (teacher->texts) wrong = "texts";
  if (teacher->seed >= 0) wrong = "seed";
  if (!wrong) return LAP_OK;
  return lap_read_fail(reader, line, "%s.%s: this teacher is not trained here; it takes a config",
                       name, wrong);
}

lap_code lap_read_teacher(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, void *destination) {
  lap_suite_teacher *teacher = &((lap_suite *)destination)->teacher;
  LAP_TRY(lap_read_mapping(reader, name, node, fields, teacher));
  LAP_TRY(check(reader, name, node->line, teacher));
  if (teacher->eval_k == 0 || teacher->kind != LAP_TEACHER_CACHE) return LAP_OK;
  return lap_read_fail(reader, node->line,
                       "%s.eval_k: this teacher is a cache, which is as it is; a config or model "
                       "writes evaluation caches",
                       name);
}

/* --- others --- */

static lap_code read_other(const lap_suite_reader *reader, const char *name, int line,
                           const lap_yaml_node *node, lap_suite_teacher *teacher) {
  LAP_TRY(lap_read_check_name(reader, "teacher", teacher->given, line));
  if (!strcmp(teacher->given, LAP_OWN_TEACHER))
    return lap_read_fail(reader, line, "%s: means the suite's own teacher: choose another name",
                         name);
  LAP_TRY(lap_read_mapping(reader, name, node, fields, teacher));
  LAP_TRY(check(reader, name, node->line, teacher));
  if (teacher->eval_k == 0) return LAP_OK;
  return lap_read_fail(reader, node->line,
                       "%s.eval_k: all runs are evaluated against the suite's own teacher: say it "
                       "there",
                       name);
}

lap_code lap_read_teachers(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  if (node->kind != LAP_YAML_MAPPING || node->count == 0)
    return lap_read_expected(reader, name, node, "a mapping of names to teachers");
  suite->teachers = lap_allocate((int64_t)node->count, sizeof *suite->teachers);
  for (size_t i = 0; i < node->count; ++i) {
    lap_suite_teacher *teacher = &suite->teachers[suite->teacher_count++];
    *teacher = (lap_suite_teacher){.given = lap_copy_string(node->key[i]),
                                   .source.documents = lap_copy_string("file"),
                                   .seed = -1};
    char *dotted = lap_format("%s.%s", name, node->key[i]);
    const lap_code code = read_other(reader, dotted, node->key_line[i], node->child[i], teacher);
    free(dotted);
    LAP_TRY(code);
  }
  return LAP_OK;
}

/* --- what arms say of them --- */

static lap_code no_teacher(const lap_suite_reader *reader, const lap_arm *arm) {
  const lap_suite *suite = reader->suite;
  const char **names = lap_allocate((int64_t)suite->teacher_count + 1, sizeof *names);
  names[0] = LAP_OWN_TEACHER;
  for (size_t i = 0; i < suite->teacher_count; ++i) names[1 + i] = suite->teachers[i].given;
  const char *near = lap_suggest(arm->teacher, names, suite->teacher_count + 1);
  lap_read_fail(reader, arm->line, "arms.%s: there is no teacher '%s'%s%s%s", arm->name,
                arm->teacher, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  free(names);
  return LAP_USAGE;
}

static lap_code check_texts(const lap_suite_reader *reader, int line, const char *what,
                            const char *whose, const char *texts) {
  if (!texts || lap_suite_find_texts(reader->suite, texts)) return LAP_OK;
  return lap_read_fail(reader, line, "%s%s: texts: there are no texts '%s'", what, whose, texts);
}

/* Members of an average are teachers with weights. */
static lap_code check_members(const lap_suite_reader *reader, const lap_suite_teacher *teacher) {
  const char *whose = teacher->given ? teacher->given : LAP_OWN_TEACHER;
  for (size_t i = 0; i < teacher->member_count; ++i) {
    const lap_suite_teacher *member = lap_suite_find_teacher(reader->suite, teacher->members[i]);
    if (!member)
      return lap_read_fail(reader, 1, "teachers: average of %s: there is no teacher '%s'", whose,
                           teacher->members[i]);
    if (member->kind != LAP_TEACHER_CONFIG && member->kind != LAP_TEACHER_MODEL)
      return lap_read_fail(reader, 1,
                           "teachers: average of %s: '%s' has no weights; a config or model does",
                           whose, teacher->members[i]);
  }
  return LAP_OK;
}

lap_code lap_check_teachers(const lap_suite_reader *reader) {
  const lap_suite *suite = reader->suite;
  if (suite->teacher_count > 0 && suite->teacher.kind == LAP_TEACHER_NONE)
    return lap_read_fail(reader, 1,
                         "teachers: teacher is missing, against which all runs are "
                         "evaluated");
  LAP_TRY(check_texts(reader, 1, "", "teacher", suite->teacher.texts));
  LAP_TRY(check_members(reader, &suite->teacher));
  for (size_t i = 0; i < suite->teacher_count; ++i) {
    const lap_suite_teacher *teacher = &suite->teachers[i];
    LAP_TRY(check_texts(reader, 1, "teachers.", teacher->given, teacher->texts));
    LAP_TRY(check_members(reader, teacher));
  }
  for (size_t i = 0; i < suite->arm_count; ++i) {
    const lap_arm *arm = &suite->arms[i];
    const lap_suite_teacher *teacher = lap_suite_teacher_of(suite, arm);
    if (!teacher) return no_teacher(reader, arm);
    LAP_TRY(check_texts(reader, arm->line, "arms.", arm->name, arm->texts));
    if (arm->swap_percent > 0 && teacher->kind == LAP_TEACHER_CACHE)
      return lap_read_fail(
          reader, arm->line,
          "arms.%s: teacher.swap_percent: this teacher is a cache, which is as it is; a "
          "config or model writes one",
          arm->name);
  }
  return LAP_OK;
}
