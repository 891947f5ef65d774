#include "trainer/ablate/suite.h"

#include <stdlib.h>
#include <string.h>

const lap_arm *lap_suite_arm(const lap_suite *suite, const char *name) {
  for (size_t i = 0; i < suite->arm_count; ++i)
    if (strcmp(suite->arms[i].name, name) == 0) return &suite->arms[i];
  return NULL;
}

int64_t lap_suite_set_limit(const lap_suite *suite, const lap_suite_set *set) {
  const int64_t smoke = suite->is_smoke ? suite->smoke.text_bytes : 0;
  if (set->limit == 0 || smoke == 0) return set->limit + smoke;
  return set->limit < smoke ? set->limit : smoke;
}

const lap_suite_texts *lap_suite_find_texts(const lap_suite *suite, const char *name) {
  for (size_t i = 0; i < suite->texts_count; ++i)
    if (strcmp(suite->texts[i].name, name) == 0) return &suite->texts[i];
  return NULL;
}

const lap_suite_teacher *lap_suite_find_teacher(const lap_suite *suite, const char *name) {
  if (strcmp(name, LAP_OWN_TEACHER) == 0) return &suite->teacher;
  for (size_t i = 0; i < suite->teacher_count; ++i)
    if (strcmp(suite->teachers[i].given, name) == 0) return &suite->teachers[i];
  return NULL;
}

const lap_suite_teacher *lap_suite_teacher_of(const lap_suite *suite, const lap_arm *arm) {
  return lap_suite_find_teacher(suite, arm->teacher ? arm->teacher : LAP_OWN_TEACHER);
}

const char *lap_suite_teacher_name(const lap_suite_teacher *teacher) {
  if (teacher->name) return teacher->name;
  return teacher->given ? teacher->given : "teacher";
}

bool lap_suite_measures(const lap_suite *suite, const char *measure) {
  for (size_t i = 0; i < suite->measure_count; ++i)
    if (strcmp(suite->measures[i], measure) == 0) return true;
  return false;
}

static void release_texts(char **texts, size_t count) {
  for (size_t i = 0; i < count; ++i) free(texts[i]);
  free(texts);
}

static void release_source(const lap_suite_text *source) {
  release_texts(source->text, source->text_count);
  free(source->documents);
}

static void release_arm(lap_arm *arm) {
  free(arm->name);
  free(arm->given);
  free(arm->codec);
  free(arm->draw_seed);
  free(arm->longer_of);
  free(arm->teacher);
  free(arm->texts);
  free(arm->evaluates);
  lap_changes_release(&arm->changes);
}

static void release_teacher(lap_suite_teacher *teacher) {
  free(teacher->given);
  free(teacher->path);
  free(teacher->codec);
  free(teacher->name);
  free(teacher->texts);
  release_texts(teacher->members, teacher->member_count);
  release_source(&teacher->source);
  lap_changes_release(&teacher->changes);
}

static void release_lists(lap_suite *suite) {
  for (size_t i = 0; i < suite->arm_count; ++i) release_arm(&suite->arms[i]);
  for (size_t i = 0; i < suite->tune.key_count; ++i) {
    free(suite->tune.keys[i].key);
    free(suite->tune.keys[i].factor);
  }
  for (size_t i = 0; i < suite->compare_count; ++i) {
    free(suite->compare[i].arm);
    free(suite->compare[i].baseline);
  }
  for (size_t i = 0; i < suite->set_count; ++i) {
    release_source(&suite->sets[i].source);
    free(suite->sets[i].name);
    free(suite->sets[i].shards);
    free(suite->sets[i].cluster);
  }
  free(suite->arms);
  free(suite->tune.keys);
  free(suite->compare);
  for (size_t i = 0; i < suite->choice_count; ++i) {
    free(suite->choices[i].name);
    free(suite->choices[i].path);
  }
  free(suite->choices);
  for (size_t i = 0; i < suite->teacher_count; ++i) release_teacher(&suite->teachers[i]);
  free(suite->teachers);
  for (size_t i = 0; i < suite->texts_count; ++i) {
    free(suite->texts[i].name);
    release_source(&suite->texts[i].source);
  }
  free(suite->texts);
  free(suite->attend);
  free(suite->judge.teacher);
  free(suite->sets);
  release_texts(suite->measures, suite->measure_count);
}

void lap_suite_release(lap_suite *suite) {
  release_lists(suite);
  release_source(&suite->corpus.source);
  lap_changes_release(&suite->changes);
  release_teacher(&suite->teacher);
  char *const texts[] = {suite->file,
                         suite->text,
                         suite->name,
                         suite->config,
                         suite->corpus.train,
                         suite->corpus.dev,
                         suite->corpus.test,
                         suite->corpus.tokenizer,
                         suite->corpus.cluster,
                         suite->endpoint.set,
                         suite->endpoint.measure,
                         suite->break_even.arm,
                         suite->break_even.baseline,
                         suite->pilot,
                         suite->launcher};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) free(texts[i]);
  free(suite->seeds);
  free(suite->tune.seeds);
  free(suite->break_even.multiples);
  *suite = (lap_suite){0};
}
