/* manifest: what is printed is read back; nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/manifest.h"

#define HEX32 "0123456789abcdef0123456789abcdef"

static lap_checkpoint_file files[] = {{.name = "config.resolved.yaml", .bytes = 8, .xxh128 = HEX32},
                                      {.name = "rank-00000.bin", .bytes = 1000}};
static lap_checkpoint_tensor tensors[] = {
    {.name = "a.weight", .rows = 3, .columns = 10},
    {.name = "b.norm.weight", .rows = 1, .columns = 20, .is_vector = true}};

/* A manifest of weights: a in two pieces, b in one. */
static char *weights_manifest(void) {
  lap_checkpoint_piece piece[] = {
      {.tensor = 0, .file = 1, .begin = 0, .end = 12, .offset = 0, .xxh128 = HEX32},
      {.tensor = 0, .file = 1, .begin = 12, .end = 30, .offset = 48, .xxh128 = HEX32},
      {.tensor = 1, .file = 1, .begin = 0, .end = 20, .offset = 120, .xxh128 = HEX32}};
  lap_checkpoint_pieces pieces = {files, tensors, piece, 2, 2, 3};
  const lap_checkpoint checkpoint = {
      .step = 7, .writing_ranks = 1, .model_shards = 1, .pieces = &pieces};
  return lap_manifest_print(&checkpoint, NULL);
}

static char *full_manifest(void) {
  lap_numbers *numbers = fixture_numbers();
  lap_checkpoint_piece piece[LAP_STATE_KINDS * 2];
  for (int i = 0; i < LAP_STATE_KINDS * 2; ++i)
    piece[i] = (lap_checkpoint_piece){.tensor = i % 2,
                                      .file = 1,
                                      .kind = (lap_state_kind)(i / 2),
                                      .end = i % 2 ? 20 : 30,
                                      .offset = i * 120,
                                      .xxh128 = HEX32};
  lap_checkpoint_pieces pieces = {files, tensors, piece, 2, 2, LAP_STATE_KINDS * 2};
  lap_checkpoint checkpoint = {.full = true,
                               .step = 9,
                               .applied_updates = 8,
                               .bad_steps = 1,
                               .writing_ranks = 3,
                               .model_shards = 1,
                               .state_sha256 = HEX32 HEX32,
                               .pieces = &pieces};
  lap_numbers_sha256(numbers, checkpoint.numbers_sha256);
  char *text = lap_manifest_print(&checkpoint, numbers);
  lap_numbers_destroy(numbers);
  return text;
}

static lap_code parse(const char *text, size_t bytes, lap_checkpoint **checkpoint,
                      lap_status *status) {
  status->message[0] = '\0';
  return lap_manifest_parse("run/step-00000007", text, bytes, checkpoint, status);
}

static void what_is_printed_is_read_back(void **state) {
  (void)state;
  lap_checkpoint *read;
  lap_status status;
  char *text = full_manifest();
  assert_int_equal(parse(text, strlen(text), &read, &status), LAP_OK);
  assert_true(read->full);
  assert_int_equal(read->step, 9);
  assert_int_equal(read->applied_updates, 8);
  assert_int_equal(read->bad_steps, 1);
  assert_int_equal(read->writing_ranks, 3);
  assert_int_equal(read->model_shards, 1);
  assert_string_equal(read->state_sha256, HEX32 HEX32);
  const char *seal = strstr(text, "\"manifest_sha256\": \"");
  assert_non_null(seal);
  seal += strlen("\"manifest_sha256\": \"");
  assert_int_equal(strlen(read->manifest_sha256), LAP_SHA256_HEX - 1);
  assert_memory_equal(read->manifest_sha256, seal, LAP_SHA256_HEX - 1);
  assert_string_equal(lap_numbers_value(read->numbers, "model.hidden_size"), "16");
  assert_int_equal(read->pieces->pieces, 6);
  assert_int_equal(read->pieces->piece[1].kind, LAP_EXP_AVG); /* of a: sorted by tensor first */
  assert_int_equal(read->pieces->piece[1].offset, 240);
  assert_true(read->pieces->tensor[1].is_vector);
  assert_int_equal(read->pieces->file[0].bytes, 8);
  assert_string_equal(read->pieces->file[0].xxh128, HEX32);
  lap_checkpoint_close(read);
  free(text);
}

static void any_changed_bit_is_refused(void **state) {
  (void)state;
  lap_checkpoint *read;
  lap_status status;
  char *text = weights_manifest();
  const size_t bytes = strlen(text);
  for (size_t i = 0; i < bytes; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      text[i] = (char)(text[i] ^ 1 << bit);
      assert_int_equal(parse(text, bytes, &read, &status), LAP_DATA);
      assert_null(read);
      assert_non_null(strstr(status.message, "run/step-00000007/manifest.json: "));
      text[i] = (char)(text[i] ^ 1 << bit);
    }
  assert_int_equal(parse(text, bytes, &read, &status), LAP_OK);
  lap_checkpoint_close(read);
  free(text);
}

static void any_other_length_is_refused(void **state) {
  (void)state;
  lap_checkpoint *read;
  lap_status status;
  char *text = weights_manifest();
  for (size_t bytes = 0; bytes < strlen(text); ++bytes) {
    char *cut = malloc(bytes + 1); /* its own block, so that reading past its end is seen */
    memcpy(cut, text, bytes);
    cut = realloc(cut, bytes ? bytes : 1);
    assert_int_equal(parse(cut, bytes, &read, &status), LAP_DATA);
    free(cut);
  }
  char *longer = lap_format("%s\n", text);
  assert_int_equal(parse(longer, strlen(longer), &read, &status), LAP_DATA);
  free(longer);
  free(text);
}

/* Somebody who edits a manifest can make its checksum right as well. */
static char *edit(const char *text, const char *from, const char *to) {
  const char *found = strstr(text, from), *seal = strstr(text, "  \"manifest_sha256\"");
  assert_non_null(found);
  char *body = lap_format("%.*s%s%.*s", (int)(found - text), text, to,
                          (int)(seal - found - (ptrdiff_t)strlen(from)), found + strlen(from));
  uint8_t digest[LAP_SHA256_SIZE];
  char hex[LAP_SHA256_HEX];
  lap_sha256(body, strlen(body), digest);
  lap_sha256_hex(digest, hex);
  char *sealed = lap_format("%s  \"manifest_sha256\": \"%s\"\n}\n", body, hex);
  free(body);
  return sealed;
}

typedef struct {
  const char *from, *to, *message;
} edit_case;

static void check_edits(const char *text, const edit_case *edits, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    char *edited = edit(text, edits[i].from, edits[i].to);
    lap_checkpoint *read;
    lap_status status;
    const lap_code code = parse(edited, strlen(edited), &read, &status);
    if (code != LAP_DATA || !strstr(status.message, edits[i].message))
      fail_msg("%s -> %s: code %d, message '%s', expected '%s'", edits[i].from, edits[i].to, code,
               status.message, edits[i].message);
    assert_null(read);
    free(edited);
  }
}

static void an_edited_manifest_is_validated_although_its_checksum_is_right(void **state) {
  (void)state;
  static const edit_case edits[] = {
      {"lapidary-checkpoint", "lapidary-tokens", "format: expected lapidary-checkpoint"},
      {"\"format_version\": 1", "\"format_version\": 2", "format_version: expected"},
      {"\"weights\"", "\"whole\"", "kind: expected full or weights"},
      {"\"step\": 7", "\"step\": -1", "step: expected an integer"},
      {"\"step\": 7", "\"step\": 7.5", "step: expected an integer"},
      {"\"step\": 7", "\"step\": \"7\"", "step: expected an integer"},
      {"\"step\": 7", "\"step\": 99999999999999999999", "manifest.json:"},
      {"\"step\": 7", "\"stop\": 7", "step: expected an integer"},
      {"\"step\": 7", "\"step\": 7, \"step\": 7", "duplicate"},
      {"\"step\": 7", "\"step\": 7, \"new\": 1", "has 13 members, expected 12"},
      {"\"bad_steps\": 0", "\"bad_steps\": 8", "bad_steps: expected an integer from 0 to 7"},
      {"\"writing_ranks\": 1", "\"writing_ranks\": 0", "writing_ranks: expected"},
      {"\"model_shards\": 1", "\"model_shards\": 0", "model_shards: expected"},
      {"\"model_shards\": 1", "\"model_shards\": 7", "cannot cut tensor a.weight"},
      {"\"model_shards\": 1", "\"model_shards\": 2", "pieces[1]: end: expected"},
      {"{\n  \"format\"", "[\n  \"format\"", "manifest.json:"},
      {"\"name\": \"rank-00000.bin\"", "\"name\": \"../etc/passwd\"",
       "name: expected a plain name"},
      {"\"name\": \"rank-00000.bin\"", "\"name\": \"..\"", "name: expected a plain name"},
      {"\"name\": \"rank-00000.bin\"", "\"name\": \"\"", "name: expected a plain name"},
      {"\"name\": \"rank-00000.bin\"", "\"name\": \"config.resolved.yaml\"", "is there twice"},
      {"\"bytes\": 1000", "\"bytes\": 199", "pieces[2]: "},
      {"\"bytes\": 1000", "\"bytes\": 47", "a file that is large enough"},
      {"\"bytes\": 1000", "\"bytes\": 1000, \"mode\": 1", "files[1]: has 3 members, expected 2"},
      {"\"bytes\": 8, \"xxh128\": \"" HEX32 "\"", "\"bytes\": 8, \"xxh128\": \"012\"",
       "files[0]: xxh128: expected 32 hex digits"},
      {"\"name\": \"b.norm", "\"name\": \"a", "tensors[1]: name: expected names in byte order"},
      {"[3, 10]", "[3, -10]", "tensors[0]: shape"},
      {"[3, 10]", "[2147483648, 10]", "tensors[0]: shape"},
      {"[3, 10]", "[3, 2147483648]", "tensors[0]: shape"},
      {"[3, 10]", "[0, 10]", "tensors[0]: shape"},
      {"[3, 10]", "[3, 0]", "tensors[0]: shape"},
      {"[3, 10]", "[3, 1, 10]", "tensors[0]: shape"},
      {"[3, 10]", "[]", "tensors[0]: shape"},
      {"[3, 10]", "{\"3\": 10}", "tensors[0]: shape"},
      {"[3, 10]", "[4, 10]", "tensor a.weight, shard 0, weight: from element 30 on"},
      {"[3, 10]", "[2, 10]", "pieces[1]: end: expected an integer from 13 to 20"},
      {"\"tensor\": \"a.weight\"", "\"tensor\": \"c\"", "pieces[0]: tensor: expected"},
      {"\"tensor\": \"a.weight\"", "\"tensor\": 3", "pieces[0]: tensor: expected a text"},
      {"\"file\": \"rank-00000.bin\"", "\"file\": \"config.resolved.yaml\"", "pieces[0]: file"},
      {"\"file\": \"rank-00000.bin\"", "\"file\": \"rank-00001.bin\"", "pieces[0]: file"},
      {"\"model_shard\": 0", "\"model_shard\": 1", "pieces[0]: model_shard"},
      {"\"kind\": \"weight\"", "\"kind\": \"exp_avg\"", "pieces[0]: kind: expected weight"},
      {"\"begin\": 0, \"end\": 12", "\"begin\": 1, \"end\": 12", "from element 0 on"},
      {"\"begin\": 0, \"end\": 12", "\"begin\": 0, \"end\": 11", "from element 11 on"},
      {"\"begin\": 0, \"end\": 12", "\"begin\": 0, \"end\": 13", "from element 13 on"},
      {"\"begin\": 0, \"end\": 12", "\"begin\": 0, \"end\": 0", "pieces[0]: end"},
      {"\"begin\": 12, \"end\": 30", "\"begin\": 12, \"end\": 31", "pieces[1]: end"},
      {"\"begin\": 12, \"end\": 30", "\"begin\": -1, \"end\": 30", "pieces[1]: begin"},
      {"\"begin\": 12, \"end\": 30", "\"begin\": 30, \"end\": 30", "pieces[1]: begin"},
      {"\"offset\": 48", "\"offset\": 929", "pieces[1]: offset: expected an integer from 0 to 928"},
      {"\"offset\": 48", "\"offset\": -4", "pieces[1]: offset"},
      {"\"offset\": 0, \"xxh128\": \"0", "\"offset\": 0, \"xxh128\": \"G", "pieces[0]: xxh128"},
      {"\"offset\": 0, \"xxh128\"", "\"offset\": 0, \"xxh3\"", "pieces[0]: xxh128"},
  };
  char *text = weights_manifest();
  check_edits(text, edits, sizeof edits / sizeof *edits);
  free(text);
}

#define NAME_62 "a234567890b234567890c234567890d234567890e234567890f234567890gh"

static void a_name_may_fill_its_room(void **state) {
  (void)state;
  static const edit_case too_long[] = {
      {"\"name\": \"config.resolved.yaml\"", "\"name\": \"" NAME_62 "34\"", "at most 63 letters"}};
  char *text = weights_manifest();
  check_edits(text, too_long, 1);
  char *edited = edit(text, too_long[0].from, "\"name\": \"" NAME_62 "3\"");
  lap_checkpoint *read;
  lap_status status;
  assert_int_equal(parse(edited, strlen(edited), &read, &status), LAP_OK);
  assert_string_equal(read->pieces->file[0].name, NAME_62 "3");
  lap_checkpoint_close(read);
  free(edited);
  free(text);
}

static void millions_of_values_are_refused_unparsed(void **state) {
  (void)state;
  enum { BYTES = 9 << 20 };
  char *values = lap_allocate(BYTES + 1, 1), *text = weights_manifest();
  for (int i = 0; i < BYTES; ++i) values[i] = "{},"[i % 3];
  const edit_case edits[] = {{"[", lap_format("[%s", values), " values; expected at most 2097152"}};
  check_edits(text, edits, 1);
  free((char *)edits[0].to);
  free(text);
  free(values);
}

/* Else a checkpoint would be published that nobody can open. */
static void what_is_too_long_to_be_read_is_refused_before_it_is_written(void **state) {
  (void)state;
  char *blanks = lap_allocate(LAP_MANIFEST_MAX_BYTES + 1, 1), *text = weights_manifest();
  memset(blanks, ' ', LAP_MANIFEST_MAX_BYTES);
  const edit_case edits[] = {{"{", lap_format("{%s", blanks), "at most 268435456 are accepted"}};
  check_edits(text, edits, 1);
  free((char *)edits[0].to);
  free(text);
  free(blanks);
}

/* As 27B in 8 model shards has them on some 250 ranks. */
static void as_many_pieces_as_hundreds_of_ranks_write_are_read_back(void **state) {
  (void)state;
  enum { PIECES = 300000, ELEMENTS = 1024 };
  const int64_t bytes = (int64_t)PIECES * ELEMENTS * (int64_t)sizeof(float);
  lap_checkpoint_tensor tensor = {
      .name = "model.embed_tokens.weight", .rows = PIECES, .columns = ELEMENTS};
  lap_checkpoint_file file = {.name = "rank-00000.bin", .bytes = bytes};
  lap_checkpoint_piece *piece = lap_allocate(PIECES, sizeof *piece);
  for (int64_t i = 0; i < PIECES; ++i)
    piece[i] = (lap_checkpoint_piece){.begin = i * ELEMENTS,
                                      .end = (i + 1) * ELEMENTS,
                                      .offset = i * ELEMENTS * (int64_t)sizeof(float),
                                      .xxh128 = HEX32};
  lap_checkpoint_pieces pieces = {&file, &tensor, piece, 1, 1, PIECES};
  const lap_checkpoint checkpoint = {.writing_ranks = 1, .model_shards = 1, .pieces = &pieces};
  char *text = lap_manifest_print(&checkpoint, NULL);
  lap_checkpoint *read;
  lap_status status;
  if (parse(text, strlen(text), &read, &status) != LAP_OK) fail_msg("%s", status.message);
  assert_int_equal(read->pieces->pieces, PIECES);
  lap_checkpoint_close(read);
  free(text);
  free(piece);
}

static void the_identity_of_a_full_one_is_validated(void **state) {
  (void)state;
  static const edit_case edits[] = {
      {"\"full\"", "\"weights\"", "pieces[2]: kind: expected weight"},
      {"\"seed\": \"1\"", "\"seed\": \"2\"", "numbers_sha256: expected the hash of numbers"},
      {"\"seed\": \"1\"", "\"seed\": 1", "numbers.seed: expected a text"},
      {"\"state_sha256\": \"01", "\"state_sha256\": \"", "state_sha256: expected 64 hex digits"},
      {"\"kind\": \"exp_avg_sq\"", "\"kind\": \"exp_avg\"", "exp_avg: from element 30 on"},
      {"\"applied_updates\": 8", "\"applied_updates\": 10", "applied_updates: expected"},
  };
  char *text = full_manifest();
  check_edits(text, edits, sizeof edits / sizeof *edits);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_printed_is_read_back),
      cmocka_unit_test(any_changed_bit_is_refused),
      cmocka_unit_test(any_other_length_is_refused),
      cmocka_unit_test(an_edited_manifest_is_validated_although_its_checksum_is_right),
      cmocka_unit_test(a_name_may_fill_its_room),
      cmocka_unit_test(millions_of_values_are_refused_unparsed),
      cmocka_unit_test(what_is_too_long_to_be_read_is_refused_before_it_is_written),
      cmocka_unit_test(as_many_pieces_as_hundreds_of_ranks_write_are_read_back),
      cmocka_unit_test(the_identity_of_a_full_one_is_validated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
