/* tokenizer: exact round trips of hostile text, and model files that are not what they
 * say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataset/tokenizer.h"
#include "tests/scratch.h"
#include "tests/train_tokenizer.h"

enum { VOCABULARY = 400 };

typedef struct {
  char *directory;
  char text[1024], model[1024];
} fixture;

static const char TEXT[] =
    "In the beginning God created the heaven and the earth.\n"
    "And the earth was without form, and void; and darkness was upon the face of the deep.\n"
    "\tfor (int i = 0; i < 12; ++i) {\n        indented = code[i];\n        ++indented;\n        "
    "code = indented;\n\t}\n\n"
    "</s> <s> <unk> are words here, and so is caf\xC3\xA9.\n";

static int train_once(void **state) {
  static fixture made;
  made.directory = scratch_create();
  strcpy(made.text, scratch_write(made.directory, "text.txt", TEXT, strlen(TEXT)));
  strcpy(made.model, scratch_path(made.directory, "m.model"));
  const char *texts[] = {made.text};
  lap_status status = {0};
  if (train_tokenizer_on(texts, 1, VOCABULARY, made.model, &status) != LAP_OK) {
    fprintf(stderr, "%s\n", status.message);
    return 1;
  }
  *state = &made;
  return 0;
}

static int remove_all(void **state) {
  scratch_remove(((fixture *)*state)->directory);
  return 0;
}

static lap_tokenizer *open_model(const fixture *made) {
  lap_tokenizer *tokenizer;
  lap_status status = {0};
  if (lap_tokenizer_open(made->model, &tokenizer, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return tokenizer;
}

static void assert_round_trip(lap_tokenizer *tokenizer, const char *text, size_t bytes) {
  const uint32_t *ids;
  size_t count, decoded_bytes, sum = 0;
  lap_status status = {0};
  assert_int_equal(lap_tokenizer_encode(tokenizer, text, bytes, &ids, &count, &status), LAP_OK);
  for (size_t i = 0; i < count; ++i) {
    assert_true(ids[i] > LAP_UNK && ids[i] < lap_tokenizer_vocab_size(tokenizer));
    sum += lap_tokenizer_piece_bytes(tokenizer, ids[i]);
  }
  assert_int_equal(sum, bytes);
  char *decoded = lap_tokenizer_decode(tokenizer, ids, count, &decoded_bytes);
  assert_int_equal(decoded_bytes, bytes);
  assert_memory_equal(decoded, text, bytes);
  free(decoded);
}

static void hostile_text_comes_back_exactly(void **state) {
  lap_tokenizer *tokenizer = open_model(*state);
  const char *const texts[] = {"",
                               " ",
                               "  ",
                               " a",
                               "a ",
                               "   In  the    beginning   ",
                               "\n",
                               "\n\n\n\n\n\n\n\n\n",
                               "\t\t\t\t\t\t",
                               " \n \t \n\n ",
                               "a\r\nb\r\n",
                               "1234567890",
                               "<s>",
                               "</s>",
                               "<unk>",
                               "<pad>",
                               "<0x0A>",
                               "x<s>y</s>z",
                               "\xF0\x9F\x99\x82\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9",
                               "\x01\x02\x1F\x7F",
                               "\xE2\x96\x81",
                               "a\xE2\x96\x81 b \xE2\x96\x81",
                               "\xE2\x96\x85",
                               "\xEF\xBF\xBD",
                               ("\xEF\xBB\xBF"
                                "bom"),
                               "\xE6\xBC\xA2\xE5\xAD\x97",
                               "\xC2\xA0nbsp\xE3\x80\x80wide",
                               "\xEF\xBC\xA1 \xEF\xAC\x81 e\xCC\x81",
                               "\xFF\xFE",
                               "\xC3",
                               "ok\x80ok",
                               "\xED\xA0\x80",
                               "\xE2\x96",
                               TEXT};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i)
    assert_round_trip(tokenizer, texts[i], strlen(texts[i]));
  assert_round_trip(tokenizer, "a\0b\0", 4);
  lap_tokenizer_close(tokenizer);
}

static void random_bytes_come_back_exactly(void **state) {
  lap_tokenizer *tokenizer = open_model(*state);
  srand(1);
  for (int trial = 0; trial < 500; ++trial) {
    char text[300];
    const size_t bytes = (size_t)(rand() % 300);
    static const char alphabet[] = "\n\t  aetheh<s>/\xE2\x96\x81\x85\xC3\xA9";
    for (size_t i = 0; i < bytes; ++i)
      text[i] = trial % 2 ? (char)rand() : alphabet[rand() % (int)(sizeof alphabet - 1)];
    assert_round_trip(tokenizer, text, bytes);
  }
  lap_tokenizer_close(tokenizer);
}

/* Text is given to the library in segments; their borders must not show in the ids. */
static void long_text_has_the_ids_of_its_parts(void **state) {
  lap_tokenizer *tokenizer = open_model(*state);
  const size_t part = strlen(TEXT), copies = 1500;
  char *text = malloc(part * copies);
  for (size_t i = 0; i < copies; ++i) memcpy(text + i * part, TEXT, part);
  const uint32_t *ids;
  size_t count, part_count;
  lap_status status = {0};
  assert_int_equal(lap_tokenizer_encode(tokenizer, TEXT, part, &ids, &part_count, &status), LAP_OK);
  uint32_t *expected = malloc(part_count * sizeof *expected);
  memcpy(expected, ids, part_count * sizeof *expected);
  assert_int_equal(lap_tokenizer_encode(tokenizer, text, part * copies, &ids, &count, &status),
                   LAP_OK);
  assert_int_equal(count, copies * part_count);
  for (size_t i = 0; i < copies; ++i)
    assert_memory_equal(ids + i * part_count, expected, part_count * sizeof *expected);
  memset(text, 'e', part * copies);
  assert_round_trip(tokenizer, text, part * copies);
  memset(text, ' ', part * copies);
  assert_round_trip(tokenizer, text, part * copies);
  free(expected);
  free(text);
  lap_tokenizer_close(tokenizer);
}

static void the_special_ids_are_gemmas(void **state) {
  lap_tokenizer *tokenizer = open_model(*state);
  const char *const names[] = {"<pad>", "</s>", "<s>", "<unk>"};
  for (uint32_t id = 0; id < 4; ++id) {
    assert_string_equal(lap_tokenizer_piece(tokenizer, id), names[id]);
    assert_int_equal(lap_tokenizer_piece_bytes(tokenizer, id), 0);
  }
  const uint32_t ids[] = {LAP_BOS, LAP_PAD, LAP_EOS, VOCABULARY + 7};
  char *text = lap_tokenizer_decode(tokenizer, ids, 4, NULL);
  assert_string_equal(text, "\xEF\xBF\xBD");
  free(text);
  assert_int_equal(lap_tokenizer_vocab_size(tokenizer), VOCABULARY);
  assert_string_equal(lap_tokenizer_piece(tokenizer, VOCABULARY), "<outside the vocabulary>");
  lap_tokenizer_close(tokenizer);
}

static void line_breaks_tabs_digits_and_runs_of_spaces_are_pieces(void **state) {
  lap_tokenizer *tokenizer = open_model(*state);
  const struct {
    const char *text;
    size_t pieces;
  } cases[] = {{"\n", 1}, {"\n\n", 1}, {"\n\n\n\n\n", 2}, {"\t\t", 1}, {"12", 2}, {"        ", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const uint32_t *ids;
    size_t count;
    lap_status status = {0};
    lap_tokenizer_encode(tokenizer, cases[i].text, strlen(cases[i].text), &ids, &count, &status);
    assert_int_equal(count, cases[i].pieces);
  }
  lap_tokenizer_close(tokenizer);
}

static void training_again_gives_the_same_bytes(void **state) {
  const fixture *made = *state;
  const char *again = scratch_path(made->directory, "again.model");
  const char *texts[] = {made->text};
  lap_status status = {0};
  assert_int_equal(train_tokenizer_on(texts, 1, VOCABULARY, again, &status), LAP_OK);
  char first[LAP_SHA256_HEX], second[LAP_SHA256_HEX];
  assert_int_equal(lap_sha256_file(made->model, first, &status), LAP_OK);
  assert_int_equal(lap_sha256_file(again, second, &status), LAP_OK);
  assert_string_equal(first, second);
  lap_tokenizer *tokenizer = open_model(made);
  assert_string_equal(lap_tokenizer_sha256(tokenizer), first);
  lap_tokenizer_close(tokenizer);
}

/* Opens the bytes as a model; the message where it is refused, "" where not. */
static const char *open_bytes(const fixture *made, const char *bytes, size_t count,
                              lap_status *status) {
  lap_tokenizer *tokenizer;
  *status = (lap_status){0};
  const char *path = scratch_write(made->directory, "crafted.model", bytes, count);
  const lap_code code = lap_tokenizer_open(path, &tokenizer, status);
  if (code == LAP_OK) {
    const uint32_t *ids;
    size_t id_count;
    lap_tokenizer_encode(tokenizer, TEXT, strlen(TEXT), &ids, &id_count, status);
    lap_tokenizer_close(tokenizer);
    return "";
  }
  assert_int_equal(code, LAP_DATA);
  assert_non_null(strstr(status->message, "crafted.model"));
  return status->message;
}

static void truncated_models_are_refused(void **state) {
  const fixture *made = *state;
  size_t count;
  char *bytes = scratch_read(made->model, &count);
  lap_status status;
  /* A cut at the border of a field is a whole message without its end: the specs or pieces are
   * missing. */
  for (size_t cut = 0; cut < count; cut += cut < 64 || cut + 300 > count ? 1 : 37)
    assert_string_not_equal(open_bytes(made, bytes, cut, &status), "");
  free(bytes);
}

static void damaged_models_never_crash_the_process(void **state) {
  const fixture *made = *state;
  size_t count;
  char *bytes = scratch_read(made->model, &count);
  lap_status status;
  srand(2);
  for (int trial = 0; trial < 150; ++trial) {
    char *damaged = malloc(count);
    memcpy(damaged, bytes, count);
    for (int flips = 1 + trial % 4; flips > 0; --flips)
      damaged[(size_t)rand() % count] ^= (char)(1 << rand() % 8);
    open_bytes(made, damaged, count, &status);
    free(damaged);
  }
  free(bytes);
}

static void random_files_are_refused(void **state) {
  const fixture *made = *state;
  lap_status status;
  srand(3);
  for (int trial = 0; trial < 300; ++trial) {
    char bytes[512];
    const size_t count = (size_t)(rand() % 512);
    for (size_t i = 0; i < count; ++i) bytes[i] = trial % 2 ? (char)rand() : (char)(rand() % 32);
    assert_string_not_equal(open_bytes(made, bytes, count, &status), "");
  }
  lap_tokenizer *tokenizer;
  assert_int_equal(
      lap_tokenizer_open(scratch_path(made->directory, "no.model"), &tokenizer, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "cannot be opened"));
  static const char unfetched[] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n";
  assert_non_null(
      strstr(open_bytes(made, unfetched, sizeof unfetched - 1, &status), "git lfs pull"));
}

/* The model with a field appended: later values of a field replace earlier ones, as protobuf has
 * it. */
static void assert_appended_refused(const fixture *made, const char *field, size_t field_bytes,
                                    const char *says) {
  size_t count;
  char *bytes = scratch_read(made->model, &count);
  bytes = realloc(bytes, count + field_bytes);
  memcpy(bytes + count, field, field_bytes);
  lap_status status;
  const char *message = open_bytes(made, bytes, count + field_bytes, &status);
  if (!strstr(message, says)) fail_msg("\"%s\" does not say \"%s\"", message, says);
  free(bytes);
}

static void crafted_fields_are_refused_by_name(void **state) {
  const fixture *made = *state;
#define REFUSED(field, says) assert_appended_refused(made, field, sizeof field - 1, says)
  REFUSED("\x12\x03\xC0\x02\x05",
          "pad 0 eos 1 bos 2 unk 5; lapidary needs Gemma's, pad 0 eos 1 bos 2 unk 3");
  REFUSED("\x12\x03\xC8\x02\x06", "pad 0 eos 1 bos 6 unk 3; lapidary needs");
  REFUSED("\x12\x03\xD0\x02\x07", "pad 0 eos 7 bos 2 unk 3; lapidary needs");
  REFUSED("\x12\x03\xD8\x02\x08", "pad 8 eos 1 bos 2 unk 3; lapidary needs");
  REFUSED("\x12\x0B\xD8\x02\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "malformed");
  REFUSED("\x12\x02\x18\x09", "model_type 9");
  REFUSED("\x1A\x06\x12\x04\xFF\xFF\xFF\x7F", "changes text");
  REFUSED("\x1A\x02\x18\x01", "changes text");
  REFUSED("\x1A\x02\x20\x01", "changes text");
  REFUSED("\x1A\x02\x28\x00", "changes text");
  REFUSED("\x0A\x07\x0A\x00\x15\x00\x00\x00\x00", "0 bytes");
  REFUSED("\x0A\x08\x0A\x01z\x15\x00\x00\xC0\x7F", "not finite");
  REFUSED("\x0A\x05\x0A\x01z\x18\x07", "type 7");
  REFUSED("\x0A\x05\x0A\x01z\x18\x02", "2 unknown pieces");
  REFUSED("\x0A\x05\x0A\x01z\x18\x06", "byte piece");
  REFUSED("\x0A\x0A\x0A\x06<0x41>\x18\x06", "twice");
  REFUSED("\x0A\x04\x0A\x02\xC3\x28", "not UTF-8");
  REFUSED(
      "\x0A\x04\x0A\x02"
      "a\x00",
      "not UTF-8");
  REFUSED("\x0A\x05\x0A\x03the", "SentencePiece");
  REFUSED("\x0A\x7F\x0A", "malformed");
  REFUSED("\x0B", "malformed");
#undef REFUSED
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hostile_text_comes_back_exactly),
      cmocka_unit_test(random_bytes_come_back_exactly),
      cmocka_unit_test(long_text_has_the_ids_of_its_parts),
      cmocka_unit_test(the_special_ids_are_gemmas),
      cmocka_unit_test(line_breaks_tabs_digits_and_runs_of_spaces_are_pieces),
      cmocka_unit_test(training_again_gives_the_same_bytes),
      cmocka_unit_test(truncated_models_are_refused),
      cmocka_unit_test(damaged_models_never_crash_the_process),
      cmocka_unit_test(random_files_are_refused),
      cmocka_unit_test(crafted_fields_are_refused_by_name),
  };
  return cmocka_run_group_tests(tests, train_once, remove_all);
}
