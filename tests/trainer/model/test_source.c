/* source: what is opened for a model and does not fit it is not left open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dataset/special_ids.h"
#include "tests/scratch.h"
#include "trainer/model/source.h"

enum { TOKENS = 4, VOCABULARY = 40 };

static const char *write_shard(const char *directory) {
  static const uint32_t tokens[TOKENS] = {LAP_BOS, 7, 8, LAP_EOS};
  static const uint64_t documents[] = {0, TOKENS};
  static const char tokenizer[] =
      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  const char *path = scratch_path(directory, "tokens.h5");
  lap_status status = {0};
  assert_int_equal(
      lap_token_shard_write(path, tokens, TOKENS, documents, 1, VOCABULARY, tokenizer, &status),
      LAP_OK);
  return path;
}

static void shards_that_do_not_fit_are_closed(void **state) {
  (void)state;
  char *directory = scratch_create();
  const char *path = write_shard(directory);
  for (int64_t vocab = VOCABULARY - 1; vocab <= VOCABULARY; ++vocab) {
    lap_config config = {.model = {.vocab_size = vocab}};
    const lap_model_source source = {.config = &config};
    lap_token_set set = {0};
    lap_status status = {0};
    const bool fits = vocab == VOCABULARY;
    assert_int_equal(lap_model_open_tokens(&source, path, &set, &status), fits ? LAP_OK : LAP_DATA);
    assert_int_equal(set.count, fits ? 1 : 0);
    if (fits)
      lap_token_set_close(&set);
    else
      assert_non_null(strstr(status.message, "vocab_size is 40, but the model's is 39"));
  }
  scratch_remove(directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(shards_that_do_not_fit_are_closed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
