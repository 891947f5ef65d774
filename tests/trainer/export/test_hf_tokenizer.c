/* hf_tokenizer: the structure of tokenizer.json, and models that it cannot represent. That its ids
 * are ours, transformers itself says in tests/interop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "tests/scratch.h"
#include "tests/train_tokenizer.h"
#include "trainer/export/hf_tokenizer.h"

enum { VOCABULARY = 300 };

static char *directory;
static lap_tokenizer_model model;

static int train_once(void **state) {
  (void)state;
  static const char text[] =
      "In the beginning God created the heaven and the earth. And the earth was without form.\n";
  directory = scratch_create();
  const char *texts[] = {scratch_write(directory, "text", text, sizeof text - 1)};
  lap_status status = {0};
  if (train_tokenizer_on(texts, 1, VOCABULARY, scratch_path(directory, "m.model"), &status) ==
      LAP_OK)
    return 0;
  fprintf(stderr, "%s\n", status.message);
  return -1;
}

static int remove_all(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static int parse(void **state) {
  (void)state;
  size_t count;
  lap_status status = {0};
  char *bytes = scratch_read(scratch_path(directory, "m.model"), &count);
  const lap_code code = lap_tokenizer_model_parse(bytes, count, &model, &status);
  free(bytes);
  return code == LAP_OK ? 0 : -1;
}

static int release(void **state) {
  (void)state;
  lap_tokenizer_model_release(&model);
  return 0;
}

static uint32_t first_of(lap_piece_kind kind, size_t least_bytes) {
  for (uint32_t id = 0; id < model.piece_count; ++id)
    if (model.pieces[id].kind == kind && model.pieces[id].text_bytes >= least_bytes) return id;
  fail_msg("no piece of kind %d", kind);
  return 0;
}

static json_t *make(void) {
  json_t *tokenizer;
  lap_status status = {0};
  if (lap_hf_tokenizer_make(&model, &tokenizer, &status) != LAP_OK) fail_msg("%s", status.message);
  return tokenizer;
}

static void assert_refused(const char *fragment) {
  json_t *tokenizer;
  lap_status status = {0};
  assert_int_equal(lap_hf_tokenizer_make(&model, &tokenizer, &status), LAP_USAGE);
  assert_null(tokenizer);
  if (!strstr(status.message, fragment)) fail_msg("'%s' lacks '%s'", status.message, fragment);
}

static void every_piece_is_in_the_vocabulary_by_its_text(void **state) {
  (void)state;
  json_t *tokenizer = make();
  const json_t *bpe = json_object_get(tokenizer, "model");
  const json_t *vocabulary = json_object_get(bpe, "vocab");
  assert_int_equal(json_object_size(vocabulary), VOCABULARY);
  assert_int_equal(json_integer_value(json_object_get(vocabulary, "<s>")), LAP_BOS);
  assert_non_null(json_object_get(vocabulary, "<0x0A>"));
  assert_non_null(json_object_get(vocabulary, " the"));
  assert_null(json_object_get(vocabulary, "\xE2\x96\x81the"));
  assert_true(json_is_true(json_object_get(bpe, "byte_fallback")));
  assert_true(json_is_null(json_object_get(tokenizer, "normalizer")));
  json_decref(tokenizer);
}

static double score_of(const char *left, const char *right) {
  char *text = lap_format("%s%s", left, right);
  double score = 1;
  for (uint32_t id = 0; id < model.piece_count; ++id)
    if (model.pieces[id].kind == LAP_PIECE_NORMAL && strcmp(model.pieces[id].text, text) == 0)
      score = (double)model.pieces[id].score;
  free(text);
  assert_true(score < 1); /* a merge makes a piece */
  return score;
}

static void merges_are_pairs_of_pieces_best_score_first(void **state) {
  (void)state;
  json_t *tokenizer = make();
  const json_t *merges = json_object_get(json_object_get(tokenizer, "model"), "merges");
  double last = 0;
  size_t longest = 0;
  assert_true(json_array_size(merges) > 5);
  for (size_t i = 0; i < json_array_size(merges); ++i) {
    const json_t *pair = json_array_get(merges, i);
    const char *left = json_string_value(json_array_get(pair, 0));
    const char *right = json_string_value(json_array_get(pair, 1));
    const double score = score_of(left, right);
    assert_true(score <= last);
    assert_false(strpbrk(left, "\n\t") || strpbrk(right, "\n\t")); /* pieces of their own */
    last = score;
    if (strlen(left) > longest) longest = strlen(left);
  }
  assert_true(longest > 1);
  json_decref(tokenizer);
}

static void control_pieces_are_special_and_user_defined_ones_are_not(void **state) {
  (void)state;
  json_t *tokenizer = make();
  const json_t *tokens = json_object_get(tokenizer, "added_tokens");
  size_t special = 0, own = 0;
  for (size_t i = 0; i < json_array_size(tokens); ++i) {
    const json_t *token = json_array_get(tokens, i);
    const lap_piece *piece = &model.pieces[json_integer_value(json_object_get(token, "id"))];
    const bool is_special = json_is_true(json_object_get(token, "special"));
    assert_int_equal(is_special, piece->kind != LAP_PIECE_USER_DEFINED);
    assert_string_equal(json_string_value(json_object_get(token, "content")), piece->name);
    ++*(is_special ? &special : &own);
  }
  assert_int_equal(special, 4);
  assert_int_equal(own, 8); /* runs of newlines and of tabs */
  json_decref(tokenizer);
  json_t *config = lap_hf_tokenizer_config(&model, 512);
  assert_true(json_is_true(json_object_get(config, "add_bos_token")));
  assert_true(json_is_true(json_object_get(config, "split_special_tokens")));
  assert_int_equal(json_integer_value(json_object_get(config, "model_max_length")), 512);
  json_decref(config);
}

static bool is_added(uint32_t id) {
  json_t *tokenizer = make();
  const json_t *tokens = json_object_get(tokenizer, "added_tokens");
  bool found = false;
  for (size_t i = 0; i < json_array_size(tokens); ++i)
    found |= json_integer_value(json_object_get(json_array_get(tokens, i), "id")) == id;
  json_decref(tokenizer);
  return found;
}

/* SentencePiece takes "\n " for a piece, but never finds it: a text's space is U+2581 to it. */
static void a_piece_with_a_plain_space_is_never_looked_for(void **state) {
  (void)state;
  const uint32_t id = first_of(LAP_PIECE_USER_DEFINED, 2);
  assert_true(is_added(id));
  lap_piece *piece = &model.pieces[id];
  free(piece->name);
  free(piece->text);
  piece->name = lap_copy_string("\n ");
  piece->text = lap_copy_string("\n ");
  piece->text_bytes = 2;
  assert_false(is_added(id));
  json_t *tokenizer = make();
  const json_t *vocabulary = json_object_get(json_object_get(tokenizer, "model"), "vocab");
  assert_int_equal(json_integer_value(json_object_get(vocabulary, "\n ")), id);
  json_decref(tokenizer);
}

static void without_byte_pieces_there_is_no_fallback(void **state) {
  (void)state;
  model.has_bytes = false;
  json_t *tokenizer = make();
  assert_true(json_is_false(json_object_get(json_object_get(tokenizer, "model"), "byte_fallback")));
  assert_true(json_is_object(json_object_get(tokenizer, "normalizer")));
  json_decref(tokenizer);
}

static void what_has_no_counterpart_is_refused(void **state) {
  (void)state;
  const int type = model.model_type;
  assert_int_equal(type, 2);
  model.model_type = 1;
  assert_refused("model_type is 1");
  model.model_type = type;

  const uint32_t longer = first_of(LAP_PIECE_NORMAL, 3), single = first_of(LAP_PIECE_NORMAL, 1);
  model.pieces[longer].kind = LAP_PIECE_UNUSED;
  assert_refused("is unused");
  model.pieces[longer].kind = LAP_PIECE_NORMAL;

  lap_piece *piece = &model.pieces[longer];
  char *text = piece->text;
  const size_t bytes = piece->text_bytes;
  piece->text = lap_copy_string("th\xC3\xA9");
  piece->text_bytes = 4;
  assert_refused("has a character that is not a piece");
  free(piece->text);
  piece->text = lap_copy_string(model.pieces[single].text);
  piece->text_bytes = model.pieces[single].text_bytes;
  assert_refused("has the text of another");
  free(piece->text);
  piece->text = text;
  piece->text_bytes = bytes;
  json_decref(make());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, parse, release)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(every_piece_is_in_the_vocabulary_by_its_text),
      TEST(merges_are_pairs_of_pieces_best_score_first),
      TEST(control_pieces_are_special_and_user_defined_ones_are_not),
      TEST(a_piece_with_a_plain_space_is_never_looked_for),
      TEST(without_byte_pieces_there_is_no_fallback),
      TEST(what_has_no_counterpart_is_refused),
  };
  return cmocka_run_group_tests(tests, train_once, remove_all);
}
