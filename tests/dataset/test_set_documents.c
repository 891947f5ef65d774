/* set_documents: documents that go on in the next shard are one; others stay apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dataset/set_documents.h"
#include "dataset/special_ids.h"

enum { A = 10, B };

static void a_document_is_one_however_many_shards_it_has(void **state) {
  (void)state;
  /* The first document ends in its shard; the second goes through a whole shard into a third, which
   * has two more, one of them empty. */
  uint32_t tokens[3][6] = {
      {LAP_BOS, A, LAP_EOS, LAP_BOS, A, B}, {A, A, B}, {B, LAP_EOS, LAP_BOS, LAP_EOS}};
  uint64_t documents[3][5] = {{0, 3, 6}, {0, 3}, {0, 2, 2, 4}};
  lap_token_shard shard[3] = {{.token_count = 6, .document_count = 2},
                              {.token_count = 3, .document_count = 1},
                              {.token_count = 4, .document_count = 3}};
  lap_token_shard *shards[3];
  for (int s = 0; s < 3; ++s) {
    shard[s].tokens = tokens[s], shard[s].documents = documents[s];
    shards[s] = &shard[s];
  }
  const lap_token_set set = {.shard = shards, .count = 3};
  lap_set_documents found = lap_set_documents_find(&set);
  const lap_document_place places[4] = {{0, 0}, {0, 3}, {2, 2}, {2, 2}};
  assert_int_equal(found.count, 4);
  for (int d = 0; d < 4; ++d) {
    assert_int_equal(found.place[d].shard, places[d].shard);
    assert_int_equal(found.place[d].first_row, places[d].first_row);
  }
  assert_int_equal(found.first[0], 0);
  assert_int_equal(found.first[1], 1);
  assert_int_equal(found.first[2], 1);
  lap_set_documents_release(&found);
}

static void a_shard_that_begins_with_bos_or_follows_eos_begins_a_document(void **state) {
  (void)state;
  for (int kind = 0; kind < 3; ++kind) {
    uint32_t before[2] = {LAP_BOS, kind == 1 ? LAP_EOS : A};
    uint32_t after[2] = {kind == 0 ? LAP_BOS : A, LAP_EOS};
    uint64_t documents[2] = {0, 2}, with_empty[3] = {0, 0, 2};
    lap_token_shard shard[2] = {
        {.token_count = 2, .document_count = 1, .tokens = before, .documents = documents},
        {.token_count = 2, .document_count = 1, .tokens = after, .documents = documents}};
    if (kind == 2) shard[1].document_count = 2, shard[1].documents = with_empty;
    lap_token_shard *shards[2] = {&shard[0], &shard[1]};
    lap_set_documents found = lap_set_documents_find(&(lap_token_set){.shard = shards, .count = 2});
    assert_int_equal(found.count, kind == 2 ? 3 : 2);
    assert_int_equal(found.first[1], 1);
    lap_set_documents_release(&found);
  }
}

static void a_row_is_of_the_last_document_that_begins_at_or_before_it(void **state) {
  (void)state;
  uint64_t documents[] = {0, 3, 3, 7, 20};
  const lap_token_shard shard = {.token_count = 20, .document_count = 4, .documents = documents};
  const uint64_t expected[] = {0, 0, 0, 2, 2, 2, 2, 3, 3};
  for (uint64_t row = 0; row < 9; ++row)
    assert_int_equal(lap_shard_document(&shard, row), expected[row]);
  assert_int_equal(lap_shard_document(&shard, 19), 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_document_is_one_however_many_shards_it_has),
      cmocka_unit_test(a_shard_that_begins_with_bos_or_follows_eos_begins_a_document),
      cmocka_unit_test(a_row_is_of_the_last_document_that_begins_at_or_before_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
