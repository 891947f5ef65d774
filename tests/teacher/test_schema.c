/* schema: files of one cache agree in every key, or the first key that differs is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "teacher/schema.h"

static lap_cache_schema some_schema(void) {
  return (lap_cache_schema){.codec = LAP_CODEC_STRATIFIED,
                            .vocab_size = 400,
                            .k = 12,
                            .draws = 4,
                            .exact = 8,
                            .draw_seed = 3,
                            .sequence_length = 24,
                            .document_mask = true,
                            .teacher = "teacher",
                            .teacher_sha256 = "0123",
                            .tokenizer_sha256 = "4567"};
}

static void assert_differs(const lap_cache_schema *other, const char *message) {
  const lap_cache_schema schema = some_schema();
  lap_status status = {0};
  const lap_code code = lap_cache_schema_equal("b.h5", other, "a.h5", &schema, &status);
  if (code != LAP_DATA || strcmp(status.message, message) != 0)
    fail_msg("code %d, '%s', expected '%s'", code, status.message, message);
}

static void equal_ones_are_equal(void **state) {
  (void)state;
  const lap_cache_schema one = some_schema();
  lap_cache_schema other = some_schema();
  lap_status status = {0};
  assert_int_equal(lap_cache_schema_equal("b.h5", &one, "a.h5", &other, &status), LAP_OK);
  snprintf(other.computed_as, sizeof other.computed_as, "x"); /* which is for `teach` alone */
  assert_int_equal(lap_cache_schema_equal("b.h5", &one, "a.h5", &other, &status), LAP_OK);
}

#define ASSERT_KEY(key, value_, message)                                            \
  do {                                                                              \
    lap_cache_schema other = some_schema();                                         \
    other.key = value_;                                                             \
    assert_differs(&other, "b.h5: " message ": the files of one cache must agree"); \
  } while (0)

static void every_key_counts(void **state) {
  (void)state;
  ASSERT_KEY(codec, LAP_CODEC_TOPK, "codec is \"topk\", but a.h5 has \"stratified\"");
  ASSERT_KEY(vocab_size, 401, "vocab_size is 401, but a.h5 has 400");
  ASSERT_KEY(k, 13, "k is 13, but a.h5 has 12");
  ASSERT_KEY(draws, 5, "draws is 5, but a.h5 has 4");
  ASSERT_KEY(exact, 7, "exact is 7, but a.h5 has 8");
  ASSERT_KEY(draw_seed, 4, "draw_seed is 4, but a.h5 has 3");
  ASSERT_KEY(sequence_length, 25, "sequence_length is 25, but a.h5 has 24");
  ASSERT_KEY(document_mask, false, "document_mask is 0, but a.h5 has 1");
  lap_cache_schema text = some_schema();
  snprintf(text.teacher_sha256, sizeof text.teacher_sha256, "01");
  assert_differs(&text,
                 "b.h5: teacher_sha256 is \"01\", but a.h5 has \"0123\": the files of one "
                 "cache must agree");
  snprintf(text.teacher, sizeof text.teacher, "other"); /* says more than the hash does */
  assert_differs(&text,
                 "b.h5: teacher is \"other\", but a.h5 has \"teacher\": the files of one "
                 "cache must agree");
  text = some_schema();
  snprintf(text.tokenizer_sha256, sizeof text.tokenizer_sha256, "45");
  assert_differs(&text,
                 "b.h5: tokenizer_sha256 is \"45\", but a.h5 has \"4567\": the files of one "
                 "cache must agree");
}

/* The name is a word; the hash says who the teacher is, where there is one. */
static void a_name_counts_where_nothing_else_names_the_teacher(void **state) {
  (void)state;
  lap_cache_schema one = some_schema(), other = some_schema();
  lap_status status = {0};
  snprintf(other.teacher, sizeof other.teacher, "./teacher/");
  assert_int_equal(lap_cache_schema_equal("b.h5", &other, "a.h5", &one, &status), LAP_OK);
  one.teacher_sha256[0] = other.teacher_sha256[0] = '\0';
  assert_int_equal(lap_cache_schema_equal("b.h5", &other, "a.h5", &one, &status), LAP_DATA);
  assert_string_equal(status.message,
                      "b.h5: teacher is \"./teacher/\", but a.h5 has \"teacher\": the files of one "
                      "cache must agree");
}

static void codecs_have_names(void **state) {
  (void)state;
  static const lap_codec codecs[] = {LAP_CODEC_TOPK, LAP_CODEC_SAMPLED, LAP_CODEC_STRATIFIED,
                                     LAP_CODEC_VAROPT, LAP_CODEC_GEMMA3};
  static const char *const names[] = {"topk", "sampled", "stratified", "varopt", "gemma3"};
  lap_codec found;
  for (int i = 0; i < 5; ++i) {
    assert_string_equal(lap_codec_name(codecs[i]), names[i]);
    assert_true(lap_codec_find(names[i], &found));
    assert_int_equal(found, codecs[i]);
    assert_int_equal(lap_codec_is_drawn(codecs[i]), i != 0);
  }
  assert_false(lap_codec_find("top", &found));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_ones_are_equal),
      cmocka_unit_test(every_key_counts),
      cmocka_unit_test(a_name_counts_where_nothing_else_names_the_teacher),
      cmocka_unit_test(codecs_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
