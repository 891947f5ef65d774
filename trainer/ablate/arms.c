#include "trainer/ablate/arms.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/parse_number.h"

enum { MOST_ARMS = 500 };

static lap_code add_arm(const lap_suite_reader *reader, lap_arm arm) {
  lap_suite *suite = reader->suite;
  const bool twice = lap_suite_arm(suite, arm.name) != NULL;
  suite->arms = lap_reallocate(suite->arms, (int64_t)suite->arm_count + 1, sizeof *suite->arms);
  suite->arms[suite->arm_count++] = arm; /* which releases it in any case */
  if (twice) return lap_read_fail(reader, arm.line, "arms: there are two arms '%s'", arm.name);
  if (suite->arm_count > MOST_ARMS)
    return lap_read_fail(reader, arm.line, "arms: the grids make more than %d arms", MOST_ARMS);
  return lap_read_check_name(reader, "arm", arm.name, arm.line);
}

/* --- grids --- */

/* Keys of an arm that no config has. */
static lap_code set_own(const lap_suite_reader *reader, lap_arm *arm, const char *key,
                        const lap_yaml_node *value, bool *is_own) {
  *is_own = true;
  const struct {
    const char *key;
    char **text;
  } names[] = {{"teacher", &arm->teacher}, {"texts", &arm->texts}};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    if (strcmp(key, names[i].key) != 0) continue;
    free(*names[i].text);
    *names[i].text = lap_copy_string(value->text);
    return LAP_OK;
  }
  if (!strcmp(key, "teacher.codec")) return lap_read_codec(reader, key, value, &arm->codec);
  if (!strcmp(key, "teacher.swap_percent")) {
    if (lap_number_read_integer(value->text, &arm->swap_percent) && arm->swap_percent >= 0 &&
        arm->swap_percent <= 100)
      return LAP_OK;
    return lap_read_expected(reader, key, value, "an integer from 0 to 100");
  }
  if (!strcmp(key, "teacher.draw_seed")) {
    int64_t seed;
    const bool number = lap_number_read_integer(value->text, &seed) && seed >= 0;
    if (!number && strcmp(value->text, "by-seed") != 0)
      return lap_read_expected(reader, key, value, "an integer from 0 on, or by-seed");
    free(arm->draw_seed);
    arm->draw_seed = lap_copy_string(value->text);
    return LAP_OK;
  }
  int64_t *const count = !strcmp(key, "teacher.k")        ? &arm->k
                         : !strcmp(key, "teacher.m")      ? &arm->m
                         : !strcmp(key, "teacher.caches") ? &arm->caches
                                                          : NULL;
  if (count) {
    if (lap_number_read_integer(value->text, count) && *count >= 1) return LAP_OK;
    return lap_read_expected(reader, key, value, "an integer from 1 on");
  }
  if (!strcmp(key, "token_multiple")) {
    if (lap_number_read_real(value->text, &arm->token_multiple) && arm->token_multiple > 0 &&
        arm->token_multiple <= 1000)
      return LAP_OK;
    return lap_read_expected(reader, key, value, "a number above 0, at most 1000");
  }
  if (!strcmp(key, "evaluate.arm")) {
    free(arm->evaluates);
    arm->evaluates = lap_copy_string(value->text);
    return LAP_OK;
  }
  if (!strcmp(key, "evaluate.sliding_window")) {
    if (lap_number_read_integer(value->text, &arm->sliding_window) && arm->sliding_window >= 1 &&
        arm->sliding_window <= 1 << 24)
      return LAP_OK;
    return lap_read_expected(reader, key, value, "an integer from 1 to 16777216");
  }
  *is_own = false;
  return LAP_OK;
}

static const lap_yaml_node *value_at(const lap_yaml_node *node, size_t index) {
  return node->kind == LAP_YAML_LIST ? node->child[index] : node;
}

/* One point of the grid: `at` [node->count] says which value each key has. */
static lap_code add_point(const lap_suite_reader *reader, const char *given, int line,
                          const lap_yaml_node *node, const size_t *at) {
  char *name = NULL;
  size_t size = 0;
  FILE *out = lap_open_text(&name, &size);
  fputs(given, out);
  lap_arm arm = {.given = lap_copy_string(given), .line = line, .token_multiple = 1};
  lap_code code = LAP_OK;
  for (size_t i = 0; i < node->count && code == LAP_OK; ++i) {
    const lap_yaml_node *value = value_at(node->child[i], at[i]);
    bool is_own;
    code = set_own(reader, &arm, node->key[i], value, &is_own);
    const bool is_null = lap_yaml_is_null(value);
    if (!is_own) lap_changes_add(&arm.changes, node->key[i], is_null ? "null" : value->text);
    if (node->child[i]->kind == LAP_YAML_LIST)
      fprintf(out, ",%s=%s", node->key[i], is_null ? "null" : value->text);
  }
  lap_close_text(out, &name);
  arm.name = name;
  const lap_code added = add_arm(reader, arm);
  return code != LAP_OK ? code : added;
}

static lap_code check_values(const lap_suite_reader *reader, const char *name,
                             const lap_yaml_node *node) {
  for (size_t i = 0; i < node->count; ++i) {
    const lap_yaml_node *child = node->child[i];
    static const char *const own[] = {"teacher",
                                      "teacher.codec",
                                      "teacher.k",
                                      "teacher.m",
                                      "teacher.caches",
                                      "teacher.draw_seed",
                                      "teacher.swap_percent",
                                      "texts",
                                      "token_multiple",
                                      "evaluate.arm",
                                      "evaluate.sliding_window"};
    bool is_own = false;
    for (size_t j = 0; j < sizeof own / sizeof *own; ++j)
      is_own = is_own || !strcmp(node->key[i], own[j]);
    if (!is_own) LAP_TRY(lap_read_check_key(reader, name, node->key[i], node->key_line[i]));
    const bool empty = child->kind == LAP_YAML_LIST && child->count == 0;
    if (child->kind == LAP_YAML_MAPPING || empty)
      return lap_read_expected(reader, node->key[i], child, "a value, or a list of values");
    for (size_t j = 0; child->kind == LAP_YAML_LIST && j < child->count; ++j)
      if (child->child[j]->kind != LAP_YAML_SCALAR)
        return lap_read_expected(reader, node->key[i], child->child[j], "one value");
  }
  return LAP_OK;
}

static lap_code read_arm(const lap_suite_reader *reader, const char *given, int line,
                         const lap_yaml_node *node) {
  static const lap_yaml_node nothing = {.kind = LAP_YAML_MAPPING};
  if (lap_yaml_is_null(node)) node = &nothing;
  char *name = lap_format("arms.%s", given);
  lap_code code = LAP_OK;
  if (node->kind != LAP_YAML_MAPPING)
    code = lap_read_expected(reader, name, node, "a mapping of changes");
  if (code == LAP_OK) code = check_values(reader, name, node);
  free(name);
  LAP_TRY(code);
  size_t *at = lap_allocate((int64_t)node->count, sizeof *at);
  for (bool more = true; more && code == LAP_OK;) {
    code = add_point(reader, given, line, node, at);
    size_t i = node->count; /* the next point, the last key first */
    for (more = false; !more && i > 0; --i) {
      const lap_yaml_node *child = node->child[i - 1];
      const size_t values = child->kind == LAP_YAML_LIST ? child->count : 1;
      more = ++at[i - 1] < values;
      if (!more) at[i - 1] = 0;
    }
  }
  free(at);
  return code;
}

/* --- arms that evaluate runs of others --- */

static lap_code no_arm(const lap_suite_reader *reader, int line, const char *name) {
  return lap_read_fail(reader, line, "there is no arm '%s'", name);
}

/* What decides a training: of the same arm, the same runs. */
static void copy_training(const lap_arm *from, lap_arm *to) {
  to->token_multiple = from->token_multiple;
  to->k = from->k;
  to->m = from->m;
  to->caches = from->caches;
  to->codec = from->codec ? lap_copy_string(from->codec) : NULL;
  to->draw_seed = from->draw_seed ? lap_copy_string(from->draw_seed) : NULL;
  to->texts = from->texts ? lap_copy_string(from->texts) : NULL;
  to->teacher = from->teacher ? lap_copy_string(from->teacher) : NULL;
  to->swap_percent = from->swap_percent;
  lap_changes_append(&to->changes, &from->changes);
}

static lap_code settle_evaluating(const lap_suite_reader *reader, lap_arm *arm) {
  if (!arm->evaluates && arm->sliding_window == 0) return LAP_OK;
  if (!arm->evaluates || arm->sliding_window == 0)
    return lap_read_fail(reader, arm->line,
                         "arms.%s: evaluate.arm, whose runs are evaluated, and "
                         "evaluate.sliding_window go together",
                         arm->name);
  const bool trains = arm->changes.count > 0 || arm->token_multiple != 1 || arm->k || arm->m ||
                      arm->caches || arm->codec || arm->draw_seed || arm->texts || arm->teacher ||
                      arm->swap_percent;
  if (trains)
    return lap_read_fail(reader, arm->line,
                         "arms.%s: it trains nothing, since it evaluates the runs of '%s': leave "
                         "out the other keys",
                         arm->name, arm->evaluates);
  const lap_arm *trained = lap_suite_arm(reader->suite, arm->evaluates);
  if (!trained) return no_arm(reader, arm->line, arm->evaluates);
  if (trained->evaluates)
    return lap_read_fail(reader, arm->line, "arms.%s: '%s' trains nothing either", arm->name,
                         arm->evaluates);
  copy_training(trained, arm);
  return LAP_OK;
}

/* --- all of them --- */

lap_code lap_read_arms(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                       void *suite) {
  (void)suite;
  if (node->kind != LAP_YAML_MAPPING || node->count == 0)
    return lap_read_expected(reader, name, node, "a mapping of names to changes");
  for (size_t i = 0; i < node->count; ++i)
    LAP_TRY(read_arm(reader, node->key[i], node->key_line[i], node->child[i]));
  for (size_t i = 0; i < reader->suite->arm_count; ++i)
    LAP_TRY(settle_evaluating(reader, &reader->suite->arms[i]));
  return LAP_OK;
}

/* --- what refers to arms --- */

static bool is_meant(const lap_arm *arm, const char *name) {
  return !strcmp(arm->name, name) || !strcmp(arm->given, name);
}

static bool has_pair(const lap_suite *suite, const char *arm, const char *baseline) {
  for (size_t i = 0; i < suite->compare_count; ++i)
    if (!strcmp(suite->compare[i].arm, arm) && !strcmp(suite->compare[i].baseline, baseline))
      return true;
  return false;
}

/* Holm's test counts comparisons: each is there once. */
static lap_code add_pair(const lap_suite_reader *reader, int line, const char *arm,
                         const char *baseline) {
  lap_suite *suite = reader->suite;
  if (has_pair(suite, arm, baseline)) return LAP_OK;
  if (has_pair(suite, baseline, arm))
    return lap_read_fail(reader, line,
                         "compare: [%s, %s] is there already the other way round: leave one out",
                         arm, baseline);
  suite->compare =
      lap_reallocate(suite->compare, (int64_t)suite->compare_count + 1, sizeof *suite->compare);
  suite->compare[suite->compare_count++] =
      (lap_suite_pair){lap_copy_string(arm), lap_copy_string(baseline)};
  return LAP_OK;
}

lap_code lap_add_pairs(const lap_suite_reader *reader, int line, const char *arm,
                       const char *baseline) {
  lap_suite *suite = reader->suite;
  size_t arms = 0, baselines = 0;
  for (size_t i = 0; i < suite->arm_count; ++i) {
    arms += is_meant(&suite->arms[i], arm);
    baselines += is_meant(&suite->arms[i], baseline);
  }
  if (arms == 0) return no_arm(reader, line, arm);
  if (baselines == 0) return no_arm(reader, line, baseline);
  if (!strcmp(arm, baseline)) return lap_read_fail(reader, line, "compare: '%s' with itself", arm);
  for (size_t i = 0; i < suite->arm_count * suite->arm_count; ++i) {
    const lap_arm *one = &suite->arms[i / suite->arm_count];
    const lap_arm *other = &suite->arms[i % suite->arm_count];
    if (one == other || !is_meant(one, arm) || !is_meant(other, baseline)) continue;
    LAP_TRY(add_pair(reader, line, one->name, other->name));
  }
  return LAP_OK;
}

static lap_arm copy_longer(const lap_arm *arm, double multiple) {
  char text[LAP_NUMBER_TEXT];
  lap_arm copy = {.name = lap_format("%s-%s", arm->name, lap_number_print_real(multiple, text)),
                  .longer_of = lap_copy_string(arm->name),
                  .line = arm->line};
  copy.given = lap_copy_string(copy.name);
  copy_training(arm, &copy);
  copy.token_multiple *= multiple;
  return copy;
}

lap_code lap_add_break_even_arms(const lap_suite_reader *reader, int line) {
  lap_suite *suite = reader->suite;
  if (!suite->break_even.arm) return LAP_OK;
  if (!lap_suite_arm(suite, suite->break_even.arm))
    return no_arm(reader, line, suite->break_even.arm);
  if (!strcmp(suite->break_even.arm, suite->break_even.baseline))
    return lap_read_fail(reader, line, "break_even: arm and baseline are both '%s'",
                         suite->break_even.arm);
  for (size_t i = 0; i < suite->break_even.multiple_count; ++i) {
    const lap_arm *baseline = lap_suite_arm(suite, suite->break_even.baseline);
    if (!baseline) return no_arm(reader, line, suite->break_even.baseline);
    if (baseline->evaluates)
      return lap_read_fail(reader, line, "break_even.baseline: '%s' trains nothing",
                           baseline->name);
    const double multiple = suite->break_even.multiples[i];
    if (multiple != 1) LAP_TRY(add_arm(reader, copy_longer(baseline, multiple)));
  }
  return LAP_OK;
}
