/* gguf: what llama.cpp would take for another model is refused, and a failure
 * leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/scratch.h"
#include "tests/trainer/export/gguf_fixture.h"

/* Exit code `code`, every one of `words` [ends with NULL] in the message, and no file. */
static void assert_refused(const gguf_fixture *f, int code, const char *const *words) {
  char said[4096];
  const int names = scratch_count(f->directory);
  const int found = gguf_export(f, "", "none.gguf", said, sizeof said);
  if (found != code) fail_msg("exit code %d instead of %d: %s", found, code, said);
  for (int i = 0; words[i]; ++i)
    if (!strstr(said, words[i])) fail_msg("'%s' is not in: %s", words[i], said);
  assert_int_equal(scratch_count(f->directory), names);
}

/* --- what llama.cpp cannot represent --- */

static void a_config_that_llama_cpp_does_not_follow_is_refused(void **state) {
  const gguf_fixture *f = *state;
  static const struct {
    const char *change, *words[4];
  } cases[] = {
      {"model.query_pre_attn_scalar=5", {"query_pre_attn_scalar is 5", "takes 4", "head_dim"}},
      {"model.query_pre_attn_scalar=4.0000001", {"is 4.0000001", "takes 4 "}},
      {"model.attn_logit_softcapping=null", {"attn_logit_softcapping is null", "only a number"}},
      {"model.final_logit_softcapping=null", {"final_logit_softcapping is null", "only a number"}},
      {"model.pre_norms_only=true", {"pre_norms_only is true", "always has norms behind"}},
      {"model.layer_types=[full_attention, sliding_attention, full_attention]",
       {"layer_types has full_attention at layer 0", "sliding_attention for even layers"}},
      {"model.layer_types=[sliding_attention, full_attention, full_attention]",
       {"layer_types has full_attention at layer 2"}},
      {"model.layer_types=[sliding_attention, sliding_attention, sliding_attention]",
       {"layer_types has sliding_attention at layer 1", "full_attention for odd ones"}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    gguf_write_checkpoint(f, MODEL_OF("3"), cases[i].change, gguf_good_model(f));
    assert_refused(f, LAP_USAGE, cases[i].words);
  }
}

static void with_46_layers_the_scalar_is_hidden_size_by_heads(void **state) {
  const gguf_fixture *f = *state;
  static const char *const words[] = {"query_pre_attn_scalar is 4", "takes 5", "46 layers", NULL};
  gguf_write_checkpoint(f, MODEL_OF("46"), NULL, gguf_good_model(f));
  assert_refused(f, LAP_USAGE, words);
  gguf_write_checkpoint(f, MODEL_OF("46"), "model.query_pre_attn_scalar=5", gguf_good_model(f));
  gguf_export_well(f);
}

static void a_tokenizer_that_llama_cpp_does_not_follow_is_refused(void **state) {
  const gguf_fixture *f = *state;
  static const extra_piece unused[] = {{"a", -1, NORMAL}, {"b", -2, UNUSED}};
  static const extra_piece twice[] = {{"<s>", -1, NORMAL}};
  static const extra_piece padding[] = {{"<padding 270>", -1, NORMAL}};
  const struct {
    int type, bytes, count;
    const extra_piece *extra;
    const char *words[4];
  } cases[] = {
      {UNIGRAM, true, EXTRAS, gguf_extras, {"hand", "model_type 1", "only model_type 2"}},
      {BPE, false, EXTRAS, gguf_extras, {"no byte pieces", "byte_fallback"}},
      {BPE, true, 2, unused, {"piece 261, b, has type 5"}},
      {BPE, true, 1, twice, {"two pieces", "<s>"}},
      {BPE, true, 1, padding, {"two pieces", "<padding 270>"}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const char *const *words = cases[i].words;
    gguf_write_checkpoint(
        f, MODEL_OF("3"), NULL,
        gguf_write_model(f, cases[i].type, cases[i].bytes, cases[i].extra, cases[i].count));
    assert_refused(f, LAP_USAGE, i == 0 ? words + 1 : words);
  }
}

static void a_tokenizer_that_is_missing_or_wrong_is_refused(void **state) {
  const gguf_fixture *f = *state;
  static const char *const missing[] = {"has no tokenizer.model", "key tokenizer", NULL};
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL, NULL);
  assert_refused(f, LAP_DATA, missing);

  static const char *const damaged[] = {"tokenizer.model", "malformed or cut off", NULL};
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL,
                        scratch_write(f->directory, "bad.model", "\x0A\x7F", 2));
  assert_refused(f, LAP_DATA, damaged);

  extra_piece many[VOCABULARY];
  char names[VOCABULARY][8];
  for (int i = 0; i < VOCABULARY; ++i) {
    snprintf(names[i], sizeof names[i], "p%d", i);
    many[i] = (extra_piece){names[i], -1, NORMAL};
  }
  static const char *const larger[] = {"tokenizer.model", "has 281 pieces", "vocab_size is 280",
                                       NULL};
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL,
                        gguf_write_model(f, BPE, true, many, VOCABULARY + 1 - FIRST_EXTRA));
  assert_refused(f, LAP_DATA, larger);
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL,
                        gguf_write_model(f, BPE, true, many, VOCABULARY - FIRST_EXTRA));
  gguf_export_well(f);
}

/* --- the file system --- */

static void what_is_there_stays(void **state) {
  const gguf_fixture *f = *state;
  char said[4096];
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL, gguf_good_model(f));
  const char *path = scratch_write(f->directory, "mine.gguf", "mine", 4);
  assert_int_equal(gguf_export(f, "", "mine.gguf", said, sizeof said), LAP_USAGE);
  assert_non_null(strstr(said, "mine.gguf"));
  size_t bytes;
  char *text = scratch_read(path, &bytes);
  assert_string_equal(text, "mine");
  free(text);
}

static void a_file_that_cannot_be_written_leaves_nothing(void **state) {
  const gguf_fixture *f = *state;
  char said[4096];
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL, gguf_good_model(f));
  const int names = scratch_count(f->directory);
  assert_int_equal(gguf_export(f, "trap '' XFSZ; ulimit -f 8;", "big.gguf", said, sizeof said),
                   LAP_DATA);
  assert_non_null(strstr(said, "big.gguf"));
  assert_non_null(strstr(said, "File too large"));
  assert_int_equal(gguf_export(f, "", "/dev/null/x.gguf", said, sizeof said), LAP_DATA);
  assert_non_null(strstr(said, "/dev/null: cannot make the directory"));
  assert_int_equal(scratch_count(f->directory), names);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_config_that_llama_cpp_does_not_follow_is_refused),
      cmocka_unit_test(with_46_layers_the_scalar_is_hidden_size_by_heads),
      cmocka_unit_test(a_tokenizer_that_llama_cpp_does_not_follow_is_refused),
      cmocka_unit_test(a_tokenizer_that_is_missing_or_wrong_is_refused),
      cmocka_unit_test(what_is_there_stays),
      cmocka_unit_test(a_file_that_cannot_be_written_leaves_nothing),
  };
  return cmocka_run_group_tests(tests, gguf_set_up, gguf_tear_down);
}
