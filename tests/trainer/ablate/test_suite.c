/* suite: what is read is there, grids are expanded, and what is wrong is refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "trainer/ablate/suite_read.h"

static const char WHOLE[] =
    "config: base.yaml\n"
    "corpus: {text: [a.txt, b.txt], documents: line, dev: 0.1, near_duplicates: 0.7}\n"
    "teacher: {config: teacher.yaml, k: 8, changes: {schedule.steps: 7}}\n"
    "changes: {schedule.steps: 50}\n"
    "seeds: [3, 5, 9]\n"
    "arms:\n"
    "  plain:\n"
    "  grid: {optimizer.learning_rate: [1e-3, 2e-3], objective.distill_weight: [0, 1], teacher.k: "
    "4}\n"
    "compare: [[grid, plain]]\n"
    "margin: 0.05\n"
    "sets: {news: {text: n.txt, cluster: file, limit: 7000}}\n";

static lap_suite read(const char *text, bool smoke) {
  lap_suite suite;
  lap_status status = {0};
  if (lap_suite_parse("s/suite.yaml", text, strlen(text), smoke, &suite, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return suite;
}

static void everything_is_read(void **state) {
  (void)state;
  lap_suite suite = read(WHOLE, false);
  assert_string_equal(suite.name, "suite");
  assert_string_equal(suite.config, "base.yaml");
  assert_int_equal(suite.corpus.source.text_count, 2);
  assert_string_equal(suite.corpus.source.text[1], "b.txt");
  assert_string_equal(suite.corpus.source.documents, "line");
  assert_float_equal(suite.corpus.dev_share, .1, 0);
  assert_float_equal(suite.corpus.test_share, .05, 0); /* the default */
  assert_float_equal(suite.corpus.near_duplicates, .7, 0);
  assert_int_equal(suite.teacher.kind, LAP_TEACHER_CONFIG);
  assert_int_equal(suite.teacher.k, 8);
  assert_string_equal(lap_changes_find(&suite.teacher.changes, "schedule.steps"), "7");
  assert_string_equal(lap_changes_find(&suite.changes, "schedule.steps"), "50");
  assert_int_equal(suite.seed_count, 3);
  assert_int_equal(suite.seeds[2], 9);
  assert_float_equal(suite.margin, .05, 0);
  assert_string_equal(suite.sets[0].source.text[0], "n.txt");
  assert_string_equal(suite.sets[0].cluster, "file");
  assert_int_equal(lap_suite_set_limit(&suite, &suite.sets[0]), 7000);
  assert_string_equal(suite.endpoint.set, "test");
  assert_int_equal(suite.measure_count, 8);
  lap_suite_release(&suite);
}

static void lists_make_grids(void **state) {
  (void)state;
  static const char *const names[] = {
      "plain", "grid,optimizer.learning_rate=1e-3,objective.distill_weight=0",
      "grid,optimizer.learning_rate=1e-3,objective.distill_weight=1",
      "grid,optimizer.learning_rate=2e-3,objective.distill_weight=0",
      "grid,optimizer.learning_rate=2e-3,objective.distill_weight=1"};
  lap_suite suite = read(WHOLE, false);
  assert_int_equal(suite.arm_count, 5);
  for (size_t i = 0; i < suite.arm_count; ++i) assert_string_equal(suite.arms[i].name, names[i]);
  const lap_arm *last = &suite.arms[4];
  assert_string_equal(lap_changes_find(&last->changes, "optimizer.learning_rate"), "2e-3");
  assert_string_equal(lap_changes_find(&last->changes, "objective.distill_weight"), "1");
  assert_null(lap_changes_find(&last->changes, "teacher.k")); /* no key of a config */
  assert_int_equal(last->k, 4);
  assert_int_equal(suite.compare_count, 4); /* the whole grid against plain */
  assert_string_equal(suite.compare[3].arm, names[4]);
  assert_string_equal(suite.compare[3].baseline, "plain");
  lap_suite_release(&suite);
}

static void break_even_adds_longer_arms(void **state) {
  (void)state;
  char *text = lap_format(
      "%sbreak_even: {arm: 'grid,optimizer.learning_rate=1e-3,objective.distill_weight=1', "
      "baseline: plain, multiples: [1, 1.41, 4]}\n",
      WHOLE);
  lap_suite suite = read(text, false);
  assert_int_equal(suite.arm_count, 7);
  assert_string_equal(suite.arms[5].name, "plain-1.41");
  assert_float_equal(suite.arms[5].token_multiple, 1.41, 0);
  assert_float_equal(lap_suite_arm(&suite, "plain-4")->token_multiple, 4, 0);
  assert_string_equal(lap_suite_arm(&suite, "plain-4")->longer_of, "plain");
  assert_null(lap_suite_arm(&suite, "plain")->longer_of);
  lap_suite_release(&suite);
  free(text);
}

static void a_pair_is_compared_once(void **state) {
  (void)state;
  static const char once[] = "[[grid, plain]]";
  const char *place = strstr(WHOLE, once);
  char *twice = lap_format("%.*s[[grid, plain], [grid, plain]]%s", (int)(place - WHOLE), WHOLE,
                           place + strlen(once));
  lap_suite suite = read(twice, false);
  assert_int_equal(suite.compare_count, 4);
  lap_suite_release(&suite);
  free(twice);
}

static const char EVALUATING[] =
    "config: base.yaml\n"
    "corpus: {text: a.txt}\n"
    "seeds: 2\n"
    "arms:\n"
    "  other: {evaluate.arm: long, evaluate.sliding_window: [8, 16]}\n"
    "  long: {schedule.steps: 7, token_multiple: 2}\n"
    "compare: [[other, long]]\n";

static void an_arm_evaluates_the_runs_of_another(void **state) {
  (void)state;
  lap_suite suite = read(EVALUATING, false);
  assert_int_equal(suite.arm_count, 3);
  assert_string_equal(suite.arms[1].name, "other,evaluate.sliding_window=16");
  for (size_t i = 0; i < 2; ++i) { /* it is trained as that one */
    assert_string_equal(suite.arms[i].evaluates, "long");
    assert_string_equal(lap_changes_find(&suite.arms[i].changes, "schedule.steps"), "7");
    assert_float_equal(suite.arms[i].token_multiple, 2, 0);
  }
  assert_int_equal(suite.arms[0].sliding_window, 8);
  assert_null(suite.arms[2].evaluates);
  assert_int_equal(suite.compare_count, 2);
  lap_suite_release(&suite);
}

static void smoke_cuts(void **state) {
  (void)state;
  char *text = lap_format("%ssmoke: {seeds: 2, steps: 3, text_bytes: 5000}\n", WHOLE);
  lap_suite suite = read(text, true);
  assert_true(suite.is_smoke);
  assert_int_equal(suite.seed_count, 2);
  assert_int_equal(suite.corpus.limit, 5000);
  assert_int_equal(lap_suite_set_limit(&suite, &suite.sets[0]), 5000);
  assert_string_equal(lap_changes_find(&suite.changes, "schedule.steps"), "3");
  assert_string_equal(lap_changes_find(&suite.teacher.changes, "schedule.steps"), "3");
  lap_suite_release(&suite);
  suite = read(text, false);
  assert_int_equal(suite.corpus.limit, 0);
  assert_int_equal(suite.seed_count, 3);
  lap_suite_release(&suite);
  free(text);
}

/* Each of a suite, an arm and a teacher has one length. */
static void smoke_cuts_lengths_of_any_kind(void **state) {
  (void)state;
  static const char text[] =
      "config: base.yaml\n"
      "corpus: {text: a.txt}\n"
      "changes: {schedule.tokens: 5000000}\n"
      "teacher: {config: t.yaml, changes: {schedule.epochs: 3}}\n"
      "teachers: {b: {config: t.yaml, changes: {schedule.tokens: 700000}}}\n"
      "seeds: 2\n"
      "arms:\n"
      "  plain:\n"
      "  long: {schedule.epochs: 2, schedule.warmup_steps: 500}\n"
      "  warm: {schedule.warmup_steps: 7}\n";
  lap_suite suite = read(text, true);
  const lap_changes *const cut[] = {&suite.changes, &suite.teacher.changes,
                                    &suite.teachers[0].changes, &suite.arms[1].changes};
  for (size_t i = 0; i < sizeof cut / sizeof *cut; ++i) {
    const char *tokens = lap_changes_find(cut[i], "schedule.tokens");
    const char *epochs = lap_changes_find(cut[i], "schedule.epochs");
    assert_string_equal(lap_changes_find(cut[i], "schedule.steps"), "20");
    assert_string_equal(lap_changes_find(cut[i], "schedule.warmup_steps"), "null");
    if (tokens) assert_string_equal(tokens, "null");
    if (epochs) assert_string_equal(epochs, "null");
    assert_true(tokens || epochs);
  }
  assert_int_equal(suite.arms[0].changes.count, 0);
  assert_string_equal(lap_changes_find(&suite.arms[2].changes, "schedule.warmup_steps"), "7");
  lap_suite_release(&suite);
}

static void arms_may_learn_of_other_teachers(void **state) {
  (void)state;
  char *text = lap_format(
      "%steachers:\n"
      "  weak: {config: teacher.yaml, changes: {schedule.steps: 9}, k: 4, codec: sampled}\n"
      "  other: {config: b.yaml, text: [x.txt, y.txt], documents: line, name: foreign}\n",
      WHOLE);
  static const char in_file[] = "arms:\n", here[] =
                                               "arms:\n  taught: {teacher: [weak, other, "
                                               "teacher], teacher.swap_percent: 30}\n";
  char *place = strstr(text, in_file);
  char *whole = lap_format("%.*s%s%s", (int)(place - text), text, here, place + strlen(in_file));
  lap_suite suite = read(whole, false);
  assert_int_equal(suite.teacher_count, 2);
  const lap_suite_teacher *weak = lap_suite_find_teacher(&suite, "weak");
  const lap_suite_teacher *other = lap_suite_find_teacher(&suite, "other");
  assert_null(lap_suite_find_teacher(&suite, "none"));
  assert_int_equal(weak->k, 4);
  assert_string_equal(weak->codec, "sampled");
  assert_string_equal(lap_changes_find(&weak->changes, "schedule.steps"), "9");
  assert_string_equal(lap_suite_teacher_name(weak), "weak");
  assert_int_equal(other->source.text_count, 2);
  assert_string_equal(other->source.documents, "line");
  assert_string_equal(lap_suite_teacher_name(other), "foreign");
  assert_string_equal(suite.arms[0].name, "taught,teacher=weak");
  assert_int_equal(suite.arms[0].swap_percent, 30);
  assert_ptr_equal(lap_suite_teacher_of(&suite, &suite.arms[0]), weak);
  assert_ptr_equal(lap_suite_teacher_of(&suite, &suite.arms[1]), other);
  assert_ptr_equal(lap_suite_teacher_of(&suite, &suite.arms[2]), &suite.teacher);
  assert_ptr_equal(lap_suite_teacher_of(&suite, &suite.arms[3]), &suite.teacher);
  lap_suite_release(&suite);
  suite = read(whole, true);
  assert_string_equal(lap_changes_find(&suite.teachers[0].changes, "schedule.steps"), "20");
  lap_suite_release(&suite);
  free(whole);
  free(text);
}

/* A line instead of one of the whole suite, or behind it (0), and what is said of it. */
static void assert_refused(int line, const char *instead, const char *said) {
  char *text = lap_copy_string(""), *rest = lap_copy_string(WHOLE), *all = rest;
  for (int i = 1; rest && *rest; ++i) {
    const char *own = strsep(&rest, "\n");
    char *longer = lap_format("%s%s\n", text, i == line ? instead : own);
    free(text);
    text = longer;
  }
  char *whole = lap_format("%s%s\n", text, line == 0 ? instead : "");
  lap_suite suite;
  lap_status status = {0};
  const lap_code code = lap_suite_parse("suite.yaml", whole, strlen(whole), false, &suite, &status);
  if (code != LAP_USAGE) fail_msg("'%s' was accepted", instead);
  if (!strstr(status.message, said)) fail_msg("'%s' lacks '%s'", status.message, said);
  assert_null(suite.arms); /* nothing is left to release */
  free(whole);
  free(text);
  free(all);
}

static void a_file_whose_name_is_no_name_of_a_directory_needs_one(void **state) {
  (void)state;
  lap_suite suite;
  lap_status status = {0};
  assert_int_equal(lap_suite_parse("my suite.yaml", WHOLE, strlen(WHOLE), false, &suite, &status),
                   LAP_USAGE);
  if (!strstr(status.message,
              "my suite.yaml:1: name is missing, and that of the file will not do: "
              "'my suite': expected"))
    fail_msg("%s", status.message);
  char *named = lap_format("%sname: mine\n", WHOLE);
  assert_int_equal(lap_suite_parse("my suite.yaml", named, strlen(named), false, &suite, &status),
                   LAP_OK);
  lap_suite_release(&suite);
  free(named);
}

static void what_is_wrong_is_refused(void **state) {
  (void)state;
  assert_refused(0, "sedes: 2", "suite.yaml:12: unknown key 'sedes'; did you mean 'seeds'?");
  assert_refused(2, "corpus: {txt: a}",
                 "suite.yaml:2: unknown key 'corpus.txt'; did you mean "
                 "'corpus.text'?");
  assert_refused(2, "corpus: {documents: line}", "either text or shards.train, found neither");
  assert_refused(2, "corpus: {text: a, test: 0.9}", "suite.yaml:2: corpus.test: expected a number");
  assert_refused(2, "corpus: {text: a, near_duplicates: 0.3}",
                 "suite.yaml:2: corpus.near_duplicates: expected 0, or 0.5 to 1, found 0.3");
  assert_refused(2, "corpus: {shards: {train: a, test: b}}", "tokenizer is missing");
  assert_refused(3, "teacher: {k: 8}", "expected one of config, model, cache");
  assert_refused(3, "teacher: {model: a, cache: b}", "given twice");
  assert_refused(3, "teacher: {model: a, changes: {seed: 1}}", "seed is set by the suite itself");
  assert_refused(3, "teacher: {model: a, codec: topp}",
                 "suite.yaml:3: teacher.codec: expected topk, sampled, stratified, varopt or "
                 "gemma3, found 'topp'");
  assert_refused(0, "teachers: {a: {model: m, codec: top}}", "teachers.a.codec: expected topk");
  assert_refused(8, "  grid: {teacher.codec: [topk, smapled]}", "teacher.codec: expected topk");
  assert_refused(4, "changes: {lr: 1}", "did you mean 'optimizer.learning_rate'?");
  assert_refused(4, "changes: {schedule.steps: [1, 2]}", "expected one value, found a list of 2");
  assert_refused(5, "seeds: []", "a list of 1 to 1000 seeds");
  assert_refused(5, "seeds: [1, 1]", "suite.yaml:5: seeds: 1 is given twice");
  assert_refused(5, "seeds: [-1]", "an integer from 0 to 9e+18");
  assert_refused(5, "", "seeds is missing");
  assert_refused(7, "  ../up: {}", "letters, digits");
  assert_refused(7, "  grid,optimizer.learning_rate=1e-3,objective.distill_weight=0:", "two arms");
  assert_refused(8, "  grid: {objective.tail: []}", "a value, or a list of values");
  assert_refused(8, "  grid: {token_multiple: 0}", "a number above 0");
  assert_refused(7, "  plain: {evaluate.arm: grid}", "go together");
  assert_refused(7, "  plain: {evaluate.sliding_window: 4}", "go together");
  assert_refused(7, "  plain: {evaluate.arm: grid, evaluate.sliding_window: 0}", "from 1 to");
  assert_refused(7, "  plain: {evaluate.arm: gird, evaluate.sliding_window: 4}",
                 "suite.yaml:7: there is no arm 'gird'");
  assert_refused(7, "  plain: {evaluate.arm: plain, evaluate.sliding_window: 4}",
                 "'plain' trains nothing either");
  assert_refused(7, "  plain: {evaluate.arm: x, evaluate.sliding_window: 4, schedule.steps: 3}",
                 "leave out the other keys");
  assert_refused(9, "compare: [[grid, plane]]", "suite.yaml:9: there is no arm 'plane'");
  assert_refused(9, "compare: [grid, plain]", "a list of pairs");
  assert_refused(9, "compare: [[plain, plain]]", "with itself");
  assert_refused(9, "compare: [[grid, plain], [plain, grid]]",
                 "suite.yaml:9: compare: [plain, grid,optimizer.learning_rate=1e-3,"
                 "objective.distill_weight=0] is there already the other way round");
  assert_refused(10, "margin: low", "suite.yaml:10: margin: expected a number from 0 to 100");
  assert_refused(11, "sets: {test: {text: a}}", "the suite itself has this set");
  assert_refused(11, "sets: {news.done: {text: a}}", "must not end in .done");
  assert_refused(0, "choices: {test.done: c.jsonl}", "says that 'test' is done");
  assert_refused(5, "seeds: [9223372036854775807]", "suite.yaml:5: seeds: expected an integer");
  assert_refused(11, "sets: {news: {shards: a, limit: 5000}}", "of text, not of shards");
  assert_refused(11, "sets: {news: {text: a, cluster: book}}", "document or file, found 'book'");
  assert_refused(11, "sets: {news: {text: a, documents: lines}}",
                 "suite.yaml:11: sets.news.documents: expected file, line, blank or jsonl:KEY, "
                 "found 'lines'");
  assert_refused(0, "texts: {more: {text: a, documents: 'jsonl:'}}",
                 "texts.more.documents: expected file, line");
  assert_refused(0, "name: a b", "name 'a b': expected 1 to 160 letters");
  assert_refused(0, "endpoint: {set: dev}", "dev is for tuning");
  assert_refused(0, "judge: {prompts: 3}", "judge.teacher is missing");
  assert_refused(0, "judge: {teacher: x}", "judge.teacher: there is no teacher 'x'");
  assert_refused(0, "endpoint: {set: judge, measure: loss}", "there is no judge");
  assert_refused(0, "judge: {teacher: teacher}\nendpoint: {set: judge}",
                 "judge_loss or judge_preference, found 'loss'");
  assert_refused(9,
                 "  seen: {evaluate.arm: plain, evaluate.sliding_window: 4}\n"
                 "judge: {teacher: teacher}\nendpoint: {set: judge, measure: judge_loss}",
                 "would never have it");
  assert_refused(0, "break_even: {arm: plain, baseline: plain}", "are both 'plain'");
  assert_refused(3, "teacher: {cache: c}\njudge: {teacher: teacher}", "is not a model");
  assert_refused(0, "endpoint: {measure: los}", "did you mean 'loss'?");
  assert_refused(0, "tune: {keys: {optimizer.learning_rate: [1, 2]}, seeds: [3, 4]}",
                 "3 is a seed of the suite");
  assert_refused(0, "tune: {keys: {optimizer.learning_rate: [2, 1]}, seeds: [1, 2]}",
                 "each larger than the one before");
  assert_refused(0, "break_even: {arm: plain, baseline: plain, multiples: [2, 4]}", "is 1");
  assert_refused(0, "break_even: {arm: plain, baseline: plain, multiples: [1]}",
                 "expected two multiples at least");
  assert_refused(7, "  plain: {teacher: teachr}",
                 "suite.yaml:7: arms.plain: there is no teacher "
                 "'teachr'; did you mean 'teacher'?");
  assert_refused(8, "  grid: {teacher.swap_percent: 101}", "an integer from 0 to 100");
  assert_refused(3, "teachers: {a: {model: b}}", "teacher is missing");
  assert_refused(0, "teachers: {teacher: {model: a}}", "choose another name");
  assert_refused(0, "teachers: {a: {changes: {schedule.steps: 3}}}", "teachers.a: expected one of");
  assert_refused(0, "teachers: {a: {model: m, text: t}}", "teachers.a.text: this teacher is not");
  assert_refused(7, "  plain: {texts: none}", "arms.plain: texts: there are no texts 'none'");
  assert_refused(0, "teachers: {a: {average: [teacher]}}", "two or more of `teachers`");
  assert_refused(0, "teachers: {a: {average: [teacher, b]}}", "there is no teacher 'b'");
  assert_refused(0, "teachers: {a: {average: [teacher, b]}, b: {cache: c}}", "'b' has no weights");
  assert_refused(0, "teachers: {a: {model: m, seed: 3}}", "teachers.a.seed: this teacher is not");
  assert_refused(0, "texts: {a: {documents: line}}", "texts.a.text is missing");
  assert_refused(0, "texts: {a: {text: b, shards: c}}", "unknown key 'texts.a.shards'");
  assert_refused(0, "teachers: {a: {model: m, eval_k: 3}}", "evaluated against the suite's own");
}

static void an_arm_that_trains_nothing_is_not_tuned(void **state) {
  (void)state;
  static const char *const more[] = {
      "tune: {keys: {optimizer.learning_rate: [1, 2]}, seeds: [8, 9]}\n",
      "break_even: {arm: long, baseline: 'other,evaluate.sliding_window=8'}\n"};
  for (size_t i = 0; i < sizeof more / sizeof *more; ++i) {
    char *text = lap_format("%s%s", EVALUATING, more[i]);
    lap_suite suite;
    lap_status status = {0};
    assert_int_equal(lap_suite_parse("s.yaml", text, strlen(text), false, &suite, &status),
                     LAP_USAGE);
    if (!strstr(status.message, "trains nothing")) fail_msg("%s", status.message);
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_is_read),
      cmocka_unit_test(lists_make_grids),
      cmocka_unit_test(break_even_adds_longer_arms),
      cmocka_unit_test(a_pair_is_compared_once),
      cmocka_unit_test(smoke_cuts),
      cmocka_unit_test(smoke_cuts_lengths_of_any_kind),
      cmocka_unit_test(arms_may_learn_of_other_teachers),
      cmocka_unit_test(a_file_whose_name_is_no_name_of_a_directory_needs_one),
      cmocka_unit_test(what_is_wrong_is_refused),
      cmocka_unit_test(an_arm_evaluates_the_runs_of_another),
      cmocka_unit_test(an_arm_that_trains_nothing_is_not_tuned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
