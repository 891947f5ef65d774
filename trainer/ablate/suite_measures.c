#include "trainer/ablate/suite_measures.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/suggest.h"

typedef struct {
  const char *name;
  bool by_document; /* `eval --document-losses` has it, so it may be an endpoint */
  bool of_teacher;
  bool is_usual; /* where the suite names none */
} measure;

static const measure measures[] = {
    {"loss", true, false, true},          {"perplexity", false, false, true},
    {"bits_per_byte", true, false, true}, {"accuracy", true, false, true},
    {"ece", false, false, true},          {"loss_by_position", false, false, false},
    {"late_loss", true, false, false},    {"kl", true, true, true},
    {"agreement", true, true, true},      {"acceptance", true, true, true},
};
enum { MEASURES = sizeof measures / sizeof *measures };
static const char *const of_judge[] = {"judge_loss", "judge_preference"};
static const char *const of_choices[] = {"accuracy", "accuracy_per_byte", "exposure"};

static const measure *find(const char *name) {
  for (size_t i = 0; i < MEASURES; ++i)
    if (!strcmp(name, measures[i].name)) return &measures[i];
  return NULL;
}

/* --- fields --- */

lap_code lap_read_measures(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  return lap_read_texts(reader, name, node, &suite->measures, &suite->measure_count);
}

lap_code lap_read_choices(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, void *destination) {
  lap_suite *suite = destination;
  if (node->kind != LAP_YAML_MAPPING || node->count == 0)
    return lap_read_expected(reader, name, node, "a mapping of names to FILE.jsonl");
  suite->choices = lap_allocate((int64_t)node->count, sizeof *suite->choices);
  for (size_t i = 0; i < node->count; ++i) {
    const lap_yaml_node *file = node->child[i];
    LAP_TRY(lap_read_check_set_name(reader, name, node->key[i], node->key_line[i]));
    if (file->kind != LAP_YAML_SCALAR || !*file->text)
      return lap_read_expected(reader, name, file, "a file of {context, choices, answer} lines");
    suite->choices[suite->choice_count++] =
        (lap_suite_choices){lap_copy_string(node->key[i]), lap_copy_string(file->text)};
  }
  return LAP_OK;
}

lap_code lap_read_memorise(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination) {
  static const lap_field fields[] = {
      {"prompts", LAP_FIELD_INTEGER, .offset = offsetof(lap_suite, prompts), .minimum = 1,
       .maximum = 1e6},
      {0}};
  ((lap_suite *)destination)->prompts = 200;
  return lap_read_mapping(reader, name, node, fields, destination);
}

lap_code lap_read_judge(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        void *destination) {
  static const lap_field fields[] = {
      {"teacher", LAP_FIELD_TEXT, .offset = offsetof(lap_suite, judge.teacher)},
      {"prompts", LAP_FIELD_INTEGER, .offset = offsetof(lap_suite, judge.prompts), .minimum = 1,
       .maximum = 1e6},
      {0}};
  lap_suite *suite = destination;
  suite->judge.prompts = 200;
  LAP_TRY(lap_read_mapping(reader, name, node, fields, suite));
  if (suite->judge.teacher) return LAP_OK;
  return lap_read_fail(reader, node->line, "%s.teacher is missing: one of teachers", name);
}

/* --- checks --- */

static lap_code unknown(const lap_suite_reader *reader, int line, const char *name) {
  const char *names[MEASURES];
  for (size_t i = 0; i < MEASURES; ++i) names[i] = measures[i].name;
  const char *near = lap_suggest(name, names, MEASURES);
  return lap_read_fail(reader, line, "unknown measure '%s'%s%s%s", name,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

lap_code lap_check_measures(const lap_suite_reader *reader, int line) {
  for (size_t i = 0; i < reader->suite->measure_count; ++i)
    if (!find(reader->suite->measures[i])) return unknown(reader, line, reader->suite->measures[i]);
  return LAP_OK;
}

lap_code lap_check_judge(const lap_suite_reader *reader, int line) {
  const lap_suite *suite = reader->suite;
  if (!suite->judge.teacher) return LAP_OK;
  const lap_suite_teacher *judge = lap_suite_find_teacher(suite, suite->judge.teacher);
  if (!judge || judge->kind == LAP_TEACHER_NONE)
    return lap_read_fail(reader, line, "judge.teacher: there is no teacher '%s'",
                         suite->judge.teacher);
  if (judge->kind == LAP_TEACHER_CONFIG || judge->kind == LAP_TEACHER_MODEL) return LAP_OK;
  return lap_read_fail(reader, line, "judge.teacher: '%s' is not a model, which could read a text",
                       suite->judge.teacher);
}

static lap_code check_endpoint_of_judge(const lap_suite_reader *reader, int line) {
  const lap_suite *suite = reader->suite;
  if (!suite->judge.teacher)
    return lap_read_fail(reader, line, "endpoint.set: there is no judge in the suite");
  for (size_t i = 0; i < suite->arm_count; ++i)
    if (suite->arms[i].evaluates)
      return lap_read_fail(reader, line,
                           "endpoint.set: a judge hears models as they were trained, so that "
                           "arms.%s, which evaluates runs of '%s', would never have it: take the "
                           "arm out, or another set",
                           suite->arms[i].name, suite->arms[i].evaluates);
  for (size_t i = 0; i < sizeof of_judge / sizeof *of_judge; ++i)
    if (!strcmp(suite->endpoint.measure, of_judge[i])) return LAP_OK;
  return lap_read_fail(reader, line,
                       "endpoint.measure: of a judge expected judge_loss or judge_preference, "
                       "found '%s'",
                       suite->endpoint.measure);
}

static lap_code check_endpoint_of_choices(const lap_suite_reader *reader, int line) {
  const lap_suite *suite = reader->suite;
  for (size_t i = 0; i < sizeof of_choices / sizeof *of_choices; ++i)
    if (!strcmp(suite->endpoint.measure, of_choices[i])) return LAP_OK;
  return lap_read_fail(reader, line,
                       "endpoint.measure: choices have accuracy, accuracy_per_byte and exposure, "
                       "found '%s'",
                       suite->endpoint.measure);
}

static lap_code check_endpoint_measure(const lap_suite_reader *reader, int line) {
  const lap_suite *suite = reader->suite;
  const measure *known = find(suite->endpoint.measure);
  if (!known) return unknown(reader, line, suite->endpoint.measure);
  if (!known->by_document)
    return lap_read_fail(reader, line,
                         "endpoint.measure: %s has no table by document, from which an interval "
                         "over documents comes; expected loss, late_loss, bits_per_byte, accuracy, "
                         "kl, agreement or acceptance",
                         known->name);
  if (known->of_teacher && suite->teacher.kind == LAP_TEACHER_NONE)
    return lap_read_fail(reader, line, "endpoint.measure: %s needs a teacher", known->name);
  return LAP_OK;
}

lap_code lap_check_endpoint(const lap_suite_reader *reader, int line) {
  const lap_suite *suite = reader->suite;
  const char *set = suite->endpoint.set;
  for (size_t i = 0; i < suite->choice_count; ++i)
    for (size_t j = 0; j < suite->set_count; ++j)
      if (!strcmp(suite->choices[i].name, suite->sets[j].name))
        return lap_read_fail(reader, line, "choices.%s: one of sets has this name",
                             suite->sets[j].name);
  for (size_t i = 0; i < suite->choice_count; ++i)
    if (!strcmp(set, suite->choices[i].name)) return check_endpoint_of_choices(reader, line);
  if (!strcmp(set, "judge")) return check_endpoint_of_judge(reader, line);
  LAP_TRY(check_endpoint_measure(reader, line));
  if (!strcmp(set, "test")) return LAP_OK;
  if (!strcmp(set, "dev"))
    return lap_read_fail(reader, line,
                         "endpoint.set: dev is for tuning; expected test, or one of sets or "
                         "choices");
  for (size_t i = 0; i < suite->set_count; ++i)
    if (!strcmp(set, suite->sets[i].name)) return LAP_OK;
  return lap_read_fail(reader, line, "endpoint.set: there is no set '%s'", set);
}

void lap_default_measures(lap_suite *suite) {
  if (suite->measure_count > 0) return;
  suite->measures = lap_allocate(MEASURES, sizeof *suite->measures);
  for (size_t i = 0; i < MEASURES; ++i) {
    if (!measures[i].is_usual) continue;
    if (measures[i].of_teacher && suite->teacher.kind == LAP_TEACHER_NONE) continue;
    suite->measures[suite->measure_count++] = lap_copy_string(measures[i].name);
  }
}
