/* tokenizer_train: what is learned from, which characters become pieces, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataset/sample.h"
#include "dataset/tokenizer.h"
#include "tests/scratch.h"
#include "tests/train_tokenizer.h"

enum { VOCABULARY = 400 };

typedef struct {
  char *directory;
  char text[1024];
  int turn;
} fixture;

static int make_text(void **state) {
  static fixture made;
  made.directory = scratch_create();
  char *text = calloc(1, 1 << 16);
  for (int i = 0; i < 500; ++i)
    sprintf(text + strlen(text), "day %d: and God called the light day, %x\n", i, i * 2654435761u);
  strcpy(made.text, scratch_write(made.directory, "text.txt", text, strlen(text)));
  free(text);
  *state = &made;
  return 0;
}

static int remove_all(void **state) {
  scratch_remove(((fixture *)*state)->directory);
  return 0;
}

/* A model's name that is not taken yet. */
static const char *next_model(fixture *made) {
  char name[32];
  snprintf(name, sizeof name, "m-%d.model", made->turn++);
  return scratch_path(made->directory, name);
}

static lap_tokenizer_report train(const lap_tokenizer_training *training) {
  lap_tokenizer_report report;
  lap_status status = {0};
  if (lap_tokenizer_train(training, &report, &status) != LAP_OK) fail_msg("%s", status.message);
  return report;
}

/* Whether a piece of the model is this text. */
static bool has_piece(const char *model, const char *text) {
  lap_tokenizer *tokenizer;
  lap_status status = {0};
  if (lap_tokenizer_open(model, &tokenizer, &status) != LAP_OK) fail_msg("%s", status.message);
  const uint32_t *ids;
  size_t count;
  lap_tokenizer_encode(tokenizer, text, strlen(text), &ids, &count, &status);
  const bool whole = count == 1;
  lap_tokenizer_close(tokenizer);
  return whole;
}

static void assert_train_fails(const fixture *made, const char *text, uint32_t vocabulary,
                               lap_code expected, const char *says) {
  const char *model = scratch_path(made->directory, "never.model");
  lap_status status = {0};
  assert_int_equal(train_tokenizer_on(&text, 1, vocabulary, model, &status), expected);
  if (!strstr(status.message, says)) fail_msg("\"%s\" does not say \"%s\"", status.message, says);
  assert_null(fopen(model, "rb"));
}

static void training_explains_what_it_cannot_do(void **state) {
  const fixture *made = *state;
  const char *d = made->directory;
  assert_train_fails(made, made->text, 100000, LAP_USAGE, "at most ");
  assert_train_fails(made, made->text, 20, LAP_USAGE, "expected ");
  assert_train_fails(made, scratch_path(d, "missing.txt"), 400, LAP_DATA, "missing.txt: cannot be");
  assert_train_fails(made, scratch_write(d, "empty.txt", "", 0), 400, LAP_DATA,
                     "empty.txt: no text was found: 1 file is empty");
  assert_train_fails(made, scratch_write(d, "breaks.txt", "\n\n\n", 3), 400, LAP_DATA,
                     "line breaks");
  char bad[1024];
  snprintf(bad, sizeof bad, "%s/m.model", made->text); /* a file is in the way */
  const char *texts[] = {made->text};
  lap_status status = {0};
  assert_int_equal(train_tokenizer_on(texts, 1, VOCABULARY, bad, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "directory"));
}

/* SentencePiece 0.1.97 crashes on such texts. */
static void texts_without_any_pair_hold_their_characters_alone(void **state) {
  const fixture *made = *state;
  const char *const texts[] = {"a", "a\nb\n", "1\n2\n31\n12\n", "0 1 22\n", "b1b\nA.a\n"};
  const char *const most[] = {"at most 269", "at most 270", "at most 271", "at most 272",
                              "at most 273"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    const char *text = scratch_write(made->directory, "pairs.txt", texts[i], strlen(texts[i]));
    char *copy = strdup(text);
    assert_train_fails(made, copy, 300, LAP_USAGE, most[i]);
    free(copy);
  }
}

/* One pair that is a piece, of a script that has no letters of English, is enough. */
static void a_text_with_one_pair_is_trained_on(void **state) {
  fixture *made = *state;
  const char *const texts[] = {"ab\n", "\xC3\xA9g\n", "\xD0\xB6\xD0\xB7 1\n", "--\n"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    char *text = strdup(scratch_write(made->directory, "pair.txt", texts[i], strlen(texts[i])));
    const lap_split_options options = {.inputs = (const char *const *)&text, .input_count = 1};
    const uint64_t characters = i == 2 ? 4 : i == 3 ? 1 : 2;
    const lap_tokenizer_training training = {
        .text = options, .vocab_size = (uint32_t)(268 + characters + 1), .out = next_model(made)};
    assert_int_equal(train(&training).character_pieces, characters);
    free(text);
  }
}

static void a_line_of_megabytes_can_be_trained_on(void **state) {
  const fixture *made = *state;
  const size_t bytes = 3 << 20;
  char *text = malloc(bytes);
  const char word[] = " and the \xE2\x96\x85 caf\xC3\xA9\xE2\x96\x81 darkness";
  for (size_t i = 0; i < bytes; ++i) text[i] = word[i % (sizeof word - 1)];
  const size_t whole = bytes - bytes % (sizeof word - 1);
  const char *texts[] = {scratch_write(made->directory, "long.txt", text, whole)};
  free(text);
  lap_status status = {0};
  if (train_tokenizer_on(texts, 1, 290, scratch_path(made->directory, "long.model"), &status) !=
      LAP_OK)
    fail_msg("%s", status.message);
}

static const char *write_han(const fixture *made) {
  /* 3000 characters, the first ones most often. */
  char *text = malloc(600000), *end = text;
  for (int c = 0; c < 3000; ++c)
    for (int i = 0; i < 1 + 3000 / (c + 30); ++i) {
      const int code = 0x4E00 + c;
      end += sprintf(end, "%c%c%c%s", 0xE0 | code >> 12, 0x80 | (code >> 6 & 0x3F),
                     0x80 | (code & 0x3F), i % 7 == 6 ? "\n" : "");
    }
  const char *path = scratch_write(made->directory, "han.txt", text, (size_t)(end - text));
  free(text);
  return path;
}

static void rare_characters_become_bytes(void **state) {
  fixture *made = *state;
  const char *text = write_han(made);
  lap_tokenizer_training training = {
      .text = {.inputs = &text, .input_count = 1}, .vocab_size = 668, .out = next_model(made)};
  lap_tokenizer_report report = train(&training);
  assert_true(report.coverage_lowered);
  assert_int_equal(report.characters, 3000);
  assert_int_equal(report.character_pieces, 300); /* three quarters of 668 - 268 */
  assert_true(report.coverage > .3 && report.coverage < 1);
  assert_true(has_piece(training.out, "\xE4\xB8\x80"));
  assert_false(has_piece(training.out, "\xE5\xA6\xA0"));
  lap_tokenizer *tokenizer;
  lap_status status = {0};
  assert_int_equal(lap_tokenizer_open(training.out, &tokenizer, &status), LAP_OK);
  assert_true(lap_tokenizer_has_bytes(tokenizer));
  assert_int_equal(lap_tokenizer_vocab_size(tokenizer), 668);
  lap_tokenizer_close(tokenizer);
  /* A size that was asked for is not lowered but refused, with the size that would work. */
  training.character_coverage = .99;
  training.out = next_model(made);
  assert_int_equal(lap_tokenizer_train(&training, NULL, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "ask for --vocab-size "));
  training.character_coverage = .2;
  report = train(&training);
  assert_false(report.coverage_lowered);
  assert_true(report.coverage >= .2 && report.coverage < .22);
  training.character_coverage = 1.5;
  assert_int_equal(lap_tokenizer_train(&training, NULL, &status), LAP_USAGE);
}

static void one_alphabet_among_many_symbols_still_gets_longer_pieces(void **state) {
  fixture *made = *state;
  char text[20000] = "";
  for (int i = 0; i < 200; ++i) strcat(text, "the darkness upon the deep\n");
  for (int c = 0; c < 300; ++c)
    sprintf(text + strlen(text), "%c%c", 0xC4 | c / 64, 0x80 | c % 64); /* 300 letters once each */
  const char *path = scratch_write(made->directory, "mixed.txt", text, strlen(text));
  const lap_tokenizer_training training = {.text = {.inputs = &path, .input_count = 1},
                                           .vocab_size = 300,
                                           .character_coverage = 0,
                                           .out = next_model(made)};
  const lap_tokenizer_report report = train(&training);
  assert_true(report.coverage_lowered);
  assert_true(has_piece(training.out, "the"));
}

static void documents_are_what_they_are_to_tokenize(void **state) {
  fixture *made = *state;
  char lines[8192] = "";
  for (int i = 0; i < 40; ++i)
    strcat(lines, "{\"id\": 1e999, \"text\": \"\\u0434\\u0435\\u043d\\u044c \\u0438 \\u043d\"}\n");
  const char *path = scratch_write(made->directory, "ru.jsonl", lines, strlen(lines));
  const lap_tokenizer_training training = {
      .text = {.inputs = &path, .input_count = 1, .documents = "jsonl:text"},
      .vocab_size = 280,
      .out = next_model(made)};
  train(&training);
  assert_true(has_piece(training.out, "\xD0\xB4\xD0\xB5\xD0\xBD\xD1\x8C"));
}

static void what_is_held_out_is_not_learned_from(void **state) {
  fixture *made = *state;
  char text[16384] = "";
  for (int i = 0; i < 100; ++i)
    sprintf(text + strlen(text), "day%c%c day day%c%c\n", 'a' + i % 26, 'a' + i / 26, 'a' + i % 26,
            'a' + i / 26);
  const char *path = scratch_write(made->directory, "held.txt", text, strlen(text));
  lap_tokenizer_training training = {
      .text = {.inputs = &path, .input_count = 1, .documents = "line", .holdout = .3, .seed = 3},
      .vocab_size = 290,
      .out = next_model(made)};
  const lap_tokenizer_report report = train(&training);
  lap_split split;
  lap_status status = {0};
  assert_int_equal(lap_split_open(&training.text, &split, &status), LAP_OK);
  uint64_t held = 0;
  for (size_t i = 0; i < split.holdout.count; ++i) held += split.holdout.texts[i].bytes;
  assert_int_equal(report.bytes + held, strlen(text) - 100);
  lap_split_close(&split);
  training.text.seed = 4;
  training.out = next_model(made);
  assert_int_equal(train(&training).words <= 200, 1);
}

static void a_sample_bounds_the_text_and_is_a_function_of_the_seed(void **state) {
  fixture *made = *state;
  const char *texts[] = {made->text};
  char hash[3][LAP_SHA256_HEX];
  for (int i = 0; i < 3; ++i) {
    const lap_tokenizer_training training = {
        .text = {.inputs = texts, .input_count = 1, .documents = "line", .seed = i < 2 ? 1 : 2},
        .vocab_size = 300,
        .sample_bytes = 6000,
        .out = next_model(made)};
    const lap_tokenizer_report report = train(&training);
    assert_true(report.bytes <= 6000 && report.bytes > 5800);
    assert_true(report.sampled_of > 20000);
    lap_status status = {0};
    assert_int_equal(lap_sha256_file(training.out, hash[i], &status), LAP_OK);
  }
  assert_string_equal(hash[0], hash[1]);
  assert_string_not_equal(hash[0], hash[2]);
  const lap_tokenizer_training whole = {.text = {.inputs = texts, .input_count = 1},
                                        .vocab_size = 300,
                                        .sample_bytes = 1 << 20,
                                        .out = next_model(made)};
  assert_int_equal(train(&whole).sampled_of, 0);
}

static void every_part_of_a_text_is_drawn_alike(void **state) {
  (void)state;
  int drawn[10] = {0};
  for (uint64_t seed = 0; seed < 200; ++seed) {
    lap_sample sample = {.seed = seed, .limit = 100 * 8};
    for (int i = 0; i < 1000; ++i) {
      char text[9];
      snprintf(text, sizeof text, "%08d", i);
      lap_sample_add(&sample, text, 8);
    }
    assert_int_equal(sample.count, 100);
    assert_int_equal(sample.seen_bytes, 8000);
    /* "00000123": the hundreds are the sixth digit; no '\0' follows the eighth. */
    for (size_t i = 0; i < sample.count; ++i) ++drawn[sample.blocks[i].text[5] - '0'];
    lap_sample_release(&sample);
  }
  /* 2000 expected of each tenth; the deviation is some 42. */
  for (int i = 0; i < 10; ++i) assert_in_range(drawn[i], 1800, 2200);
  lap_sample one = {.limit = 10};
  lap_sample_add(&one, "longer than the limit", 21);
  assert_int_equal(one.count, 1);
  lap_sample_release(&one);
}

static void line_ends_do_not_change_the_model(void **state) {
  fixture *made = *state;
  size_t bytes;
  char *text = scratch_read(made->text, &bytes), *crlf = malloc(2 * bytes), *to = crlf;
  for (size_t i = 0; i < bytes; ++i) {
    if (text[i] == '\n') *to++ = '\r';
    *to++ = text[i];
  }
  char hash[2][LAP_SHA256_HEX];
  const char *path[2] = {made->text,
                         scratch_write(made->directory, "crlf", crlf, (size_t)(to - crlf))};
  for (int i = 0; i < 2; ++i) {
    const char *out = next_model(made);
    lap_status status = {0};
    assert_int_equal(train_tokenizer_on(&path[i], 1, VOCABULARY, out, &status), LAP_OK);
    assert_int_equal(lap_sha256_file(out, hash[i], &status), LAP_OK);
  }
  assert_string_equal(hash[0], hash[1]);
  free(text);
  free(crlf);
  /* Within strings of JSON, which stay as they are, too. */
  for (int i = 0; i < 2; ++i) {
    char lines[8192] = "";
    for (int j = 0; j < 40; ++j)
      sprintf(lines + strlen(lines), "{\"t\": \"the day%s%c the night%s\"}\n", i ? "\\r\\n" : "\\n",
              'a' + j % 26, i ? "\\r" : "\\n");
    const char *rows = scratch_write(made->directory, "rows", lines, strlen(lines));
    const lap_tokenizer_training training = {
        .text = {.inputs = &rows, .input_count = 1, .documents = "jsonl:t"},
        .vocab_size = 300,
        .out = next_model(made)};
    train(&training);
    lap_status status = {0};
    assert_int_equal(lap_sha256_file(training.out, hash[i], &status), LAP_OK);
  }
  assert_string_equal(hash[0], hash[1]);
}

static void see_progress(void *context, const lap_progress_state *hook) {
  uint64_t *seen = context;
  const bool learning = strcmp(hook->step, "learn pieces") == 0;
  seen[learning] = hook->done;
  assert_true(hook->done <= hook->total);
  seen[2] += learning;
}

static void progress_is_reported_while_pieces_are_learned(void **state) {
  fixture *made = *state;
  const char *texts[] = {made->text};
  uint64_t seen[3] = {0};
  const lap_progress_hook hook = {see_progress, seen};
  const lap_tokenizer_training training = {
      .text = {.inputs = texts, .input_count = 1, .hook = &hook},
      .vocab_size = VOCABULARY,
      .out = next_model(made)};
  train(&training);
  assert_true(seen[0] > 20000);
  assert_true(seen[1] >= 60 && seen[2] >= 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(training_explains_what_it_cannot_do),
      cmocka_unit_test(texts_without_any_pair_hold_their_characters_alone),
      cmocka_unit_test(a_text_with_one_pair_is_trained_on),
      cmocka_unit_test(a_line_of_megabytes_can_be_trained_on),
      cmocka_unit_test(rare_characters_become_bytes),
      cmocka_unit_test(one_alphabet_among_many_symbols_still_gets_longer_pieces),
      cmocka_unit_test(documents_are_what_they_are_to_tokenize),
      cmocka_unit_test(what_is_held_out_is_not_learned_from),
      cmocka_unit_test(a_sample_bounds_the_text_and_is_a_function_of_the_seed),
      cmocka_unit_test(every_part_of_a_text_is_drawn_alike),
      cmocka_unit_test(line_ends_do_not_change_the_model),
      cmocka_unit_test(progress_is_reported_while_pieces_are_learned),
  };
  return cmocka_run_group_tests(tests, make_text, remove_all);
}
