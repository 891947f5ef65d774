/* tokenize: what documents are, what is held out, where shards end, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "dataset/token_shard.h"
#include "dataset/tokenize.h"
#include "dataset/tokenizer.h"
#include "tests/scratch.h"
#include "tests/train_tokenizer.h"

typedef struct {
  char *directory;
  char model[1024], out[1024];
  lap_tokenizer *tokenizer;
  int turn;
} fixture;

/* `lines` different lines of words. */
static char *make_text(int lines) {
  char *text = malloc((size_t)lines * 64 + 1), *end = text;
  for (int i = 0; i < lines; ++i)
    end += sprintf(end, "line %d: and God called the light day, %x\n", i, i * 2654435761u);
  return text;
}

static int train_once(void **state) {
  static fixture made;
  made.directory = scratch_create();
  char *text = make_text(300);
  const char *texts[] = {scratch_write(made.directory, "train.txt", text, strlen(text))};
  free(text);
  strcpy(made.model, scratch_path(made.directory, "m.model"));
  lap_status status = {0};
  if (train_tokenizer_on(texts, 1, 300, made.model, &status) != LAP_OK ||
      lap_tokenizer_open(made.model, &made.tokenizer, &status) != LAP_OK) {
    fprintf(stderr, "%s\n", status.message);
    return 1;
  }
  *state = &made;
  return 0;
}

static int remove_all(void **state) {
  fixture *made = *state;
  lap_tokenizer_close(made->tokenizer);
  scratch_remove(made->directory);
  return 0;
}

/* Each test gets an output directory of its own that is not there yet. */
static int next_out(void **state) {
  fixture *made = *state;
  char name[32];
  snprintf(name, sizeof name, "out-%d", made->turn++);
  strcpy(made->out, scratch_path(made->directory, name));
  return 0;
}

static lap_tokenize_options options_of(const fixture *made, const char *documents,
                                       const char *const *texts, size_t count) {
  return (lap_tokenize_options){
      .tokenizer = made->model,
      .out = made->out,
      .text = {.inputs = texts, .input_count = count, .documents = documents, .seed = 1},
      .shard_tokens = LAP_SHARD_TOKENS,
      .allow_unknown = .01};
}

static lap_tokenize_counts tokenize(const lap_tokenize_options *options) {
  lap_tokenize_counts counts;
  lap_status status = {0};
  if (lap_tokenize(options, &counts, &status) != LAP_OK) fail_msg("%s", status.message);
  return counts;
}

static void assert_refused(const fixture *made, const lap_tokenize_options *options,
                           lap_code expected, const char *says) {
  lap_tokenize_counts counts;
  lap_status status = {0};
  const int before = scratch_count(made->out);
  assert_int_equal(lap_tokenize(options, &counts, &status), expected);
  if (!strstr(status.message, says)) fail_msg("\"%s\" does not say \"%s\"", status.message, says);
  assert_int_equal(scratch_count(made->out), before);
}

static void open_side(const fixture *made, const char *side, lap_token_set *set) {
  char pattern[1100];
  lap_status status = {0};
  snprintf(pattern, sizeof pattern, "%s/%s/*.h5", made->out, side);
  if (lap_token_set_open(pattern, set, &status) != LAP_OK) fail_msg("%s", status.message);
}

/* The text of document d, between its BOS and its EOS. */
static char *document_text(const fixture *made, const lap_token_shard *shard, uint64_t d) {
  const uint64_t start = shard->documents[d], end = shard->documents[d + 1];
  assert_int_equal(shard->tokens[start], LAP_BOS);
  assert_int_equal(shard->tokens[end - 1], LAP_EOS);
  for (uint64_t i = start + 1; i + 1 < end; ++i) assert_true(shard->tokens[i] > LAP_UNK);
  return lap_tokenizer_decode(made->tokenizer, shard->tokens + start, end - start, NULL);
}

static void assert_documents(const fixture *made, const char *how, const char *text,
                             const char *const *expected, uint64_t count) {
  const char *texts[] = {scratch_write(made->directory, "how.txt", text, strlen(text))};
  const lap_tokenize_options options = options_of(made, how, texts, 1);
  const lap_tokenize_counts counts = tokenize(&options);
  assert_int_equal(counts.train.documents, count);
  assert_int_equal(counts.eval.documents, 0);
  lap_token_set set;
  open_side(made, "train", &set);
  assert_int_equal(set.count, 1);
  assert_int_equal(set.shard[0]->document_count, count);
  assert_int_equal(set.token_count, counts.train.tokens);
  assert_string_equal(set.shard[0]->tokenizer_sha256, lap_tokenizer_sha256(made->tokenizer));
  uint64_t bytes = 0;
  for (uint64_t d = 0; d < count; ++d) {
    char *found = document_text(made, set.shard[0], d);
    assert_string_equal(found, expected[d]);
    bytes += strlen(found);
    free(found);
  }
  assert_int_equal(bytes, counts.train.bytes);
  lap_token_set_close(&set);
}

static void a_file_is_a_document(void **state) {
  const char *const expected[] = {" one\n\n\ttwo <s>\n"};
  assert_documents(*state, "file", " one\r\r\ttwo <s>\r\n", expected, 1);
}

static void a_line_is_a_document(void **state) {
  const char *const expected[] = {"one", "  two", " ", "three"};
  assert_documents(*state, "line", "one\r\n\n  two\n \n\r\nthree", expected, 4);
}

static void a_block_between_blank_lines_is_a_document(void **state) {
  const char *const expected[] = {"one\n two", "three", "four"};
  assert_documents(*state, "blank", "\n\none\n two\n\n \t\nthree\r\n\r\nfour", expected, 3);
}

static void a_string_of_a_json_line_is_a_document(void **state) {
  const char *const expected[] = {"one\ntwo \xF0\x9F\x99\x82", "three"};
  assert_documents(*state, "jsonl:body",
                   "{\"body\": \"one\\ntwo \\ud83d\\ude42\", \"n\": 1}\n\n"
                   "{\"body\": \"\"}\n{\"x\": {}, \"body\": \"three\"}",
                   expected, 2);
}

static void what_is_wrong_is_counted_or_with_strict_refused(void **state) {
  fixture *made = *state;
  const char text[] =
      "{\"text\": \"day\", \"loss\": NaN}\n\n{\"txt\": 1}\n{\"text\": \"a\\u0000b\"}\n";
  const char *texts[] = {scratch_write(made->directory, "bad.jsonl", text, strlen(text))};
  lap_tokenize_options options = options_of(made, "jsonl:text", texts, 1);
  const lap_tokenize_counts counts = tokenize(&options);
  assert_int_equal(counts.train.documents, 2);
  assert_int_equal(counts.findings.of[LAP_FINDING_NO_TEXT].count, 1);
  assert_int_equal(counts.findings.of[LAP_FINDING_REPLACED].count, 1);
  lap_token_set set;
  open_side(made, "train", &set);
  char *second = document_text(made, set.shard[0], 1);
  assert_string_equal(second,
                      "a\xEF\xBF\xBD"
                      "b");
  free(second);
  lap_token_set_close(&set);
  next_out(state);
  options.text.strict = true;
  assert_refused(
      made, &options, LAP_DATA,
      "bad.jsonl: line 3: there is nothing under the key \"text\"; the keys are \"txt\"");
}

/* A set of strings by linear search: small tests need no more. */
typedef struct {
  char *text[4000];
  size_t count;
} texts_of_side;

static void collect(const fixture *made, const char *side, texts_of_side *texts) {
  lap_token_set set;
  open_side(made, side, &set);
  texts->count = 0;
  for (size_t s = 0; s < set.count; ++s)
    for (uint64_t d = 0; d < set.shard[s]->document_count; ++d)
      texts->text[texts->count++] = document_text(made, set.shard[s], d);
  lap_token_set_close(&set);
}

static void release(texts_of_side *texts) {
  for (size_t i = 0; i < texts->count; ++i) free(texts->text[i]);
}

static void assert_disjoint(const fixture *made) {
  static texts_of_side train, eval;
  collect(made, "train", &train);
  collect(made, "eval", &eval);
  assert_true(train.count > 0 && eval.count > 0);
  for (size_t i = 0; i < train.count; ++i)
    for (size_t j = 0; j < eval.count; ++j) assert_string_not_equal(train.text[i], eval.text[j]);
  release(&train);
  release(&eval);
}

static void many_documents_are_held_out_whole(void **state) {
  const fixture *made = *state;
  char *text = make_text(1500);
  const size_t bytes = strlen(text);
  /* Every line twice: both copies must land on the same side. */
  const char *texts[] = {scratch_write(made->directory, "a.txt", text, bytes),
                         scratch_write(made->directory, "b.txt", text, bytes)};
  free(text);
  lap_tokenize_options options = options_of(made, "line", texts, 2);
  options.text.holdout = 0.1;
  const lap_tokenize_counts counts = tokenize(&options);
  assert_int_equal(counts.block_bytes, 0);
  assert_int_equal(counts.train.documents + counts.eval.documents, 3000);
  assert_int_equal(counts.train.bytes + counts.eval.bytes, 2 * (bytes - 1500));
  const double share = (double)counts.eval.bytes / (2.0 * (double)(bytes - 1500));
  assert_true(share > 0.098 && share < 0.102);
  assert_disjoint(made);
}

static void few_documents_are_held_out_by_blocks(void **state) {
  const fixture *made = *state;
  char *text = make_text(3000);
  const char *texts[] = {scratch_write(made->directory, "book.txt", text, strlen(text))};
  lap_tokenize_options options = options_of(made, "file", texts, 1);
  options.text.holdout = 0.1;
  const lap_tokenize_counts counts = tokenize(&options);
  assert_int_equal(counts.block_bytes, strlen(text) / 20);
  assert_int_equal(counts.train.bytes + counts.eval.bytes, strlen(text));
  assert_true((double)counts.eval.bytes / (double)strlen(text) > 0.05);
  assert_true((double)counts.eval.bytes / (double)strlen(text) < 0.15);
  assert_disjoint(made);
  /* The blocks are whole lines, in order, and nothing else. */
  static texts_of_side train;
  collect(made, "train", &train);
  const char *at = text;
  for (size_t i = 0; i < train.count; ++i) {
    assert_true(strlen(train.text[i]) <= counts.block_bytes);
    assert_int_equal(train.text[i][strlen(train.text[i]) - 1], '\n');
    const char *found = strstr(at, train.text[i]);
    assert_non_null(found);
    at = found + strlen(train.text[i]);
  }
  release(&train);
  free(text);
}

static void the_holdout_is_a_function_of_seed_and_text(void **state) {
  fixture *made = *state;
  char *text = make_text(200);
  const char *texts[] = {scratch_write(made->directory, "c.txt", text, strlen(text))};
  free(text);
  char hash[3][LAP_SHA256_HEX];
  for (int i = 0; i < 3; ++i) {
    next_out(state);
    lap_tokenize_options options = options_of(made, "line", texts, 1);
    options.text.holdout = 0.2;
    options.text.seed = i < 2 ? 5 : 6;
    tokenize(&options);
    lap_token_set set;
    open_side(made, "eval", &set);
    strcpy(hash[i], set.shard[0]->tokens_sha256);
    lap_token_set_close(&set);
  }
  assert_string_equal(hash[0], hash[1]);
  assert_string_not_equal(hash[0], hash[2]);
}

static void a_tiny_or_huge_share_leaves_one_on_each_side(void **state) {
  fixture *made = *state;
  char *text = make_text(25);
  const char *texts[] = {scratch_write(made->directory, "d.txt", text, strlen(text))};
  free(text);
  const double shares[] = {1e-9, 0.999};
  for (int i = 0; i < 2; ++i) {
    next_out(state);
    lap_tokenize_options options = options_of(made, "line", texts, 1);
    options.text.holdout = shares[i];
    const lap_tokenize_counts counts = tokenize(&options);
    assert_true(counts.train.documents >= 1 && counts.eval.documents >= 1);
  }
}

static void shards_end_at_documents_or_cut_long_ones(void **state) {
  const fixture *made = *state;
  char *text = make_text(400);
  /* One document longer than several shards among the short ones. */
  text = realloc(text, strlen(text) + 3000);
  char *end = text + strlen(text);
  for (int i = 0; i < 250; ++i) end += sprintf(end, "day %d, ", i);
  const uint32_t *ids;
  size_t long_ids;
  lap_status status = {0};
  const char *long_line = strrchr(text, '\n') + 1;
  lap_tokenizer_encode(made->tokenizer, long_line, strlen(long_line), &ids, &long_ids, &status);
  strcpy(end, "\nthe end\n");
  const char *texts[] = {scratch_write(made->directory, "e.txt", text, strlen(text))};
  free(text);
  lap_tokenize_options options = options_of(made, "line", texts, 1);
  options.shard_tokens = 300;
  const lap_tokenize_counts counts = tokenize(&options);
  lap_token_set set;
  open_side(made, "train", &set);
  assert_int_equal(set.count, counts.train.shards);
  assert_int_equal(set.token_count, counts.train.tokens);
  uint64_t starts = 0, ends = 0, cut = 0;
  for (size_t s = 0; s < set.count; ++s) {
    const lap_token_shard *shard = set.shard[s];
    char name[32];
    snprintf(name, sizeof name, "/tokens-%05zu.h5", s);
    assert_non_null(strstr(shard->path, name));
    assert_true(shard->token_count <= 300);
    for (uint64_t i = 0; i < shard->token_count; ++i) {
      starts += shard->tokens[i] == LAP_BOS;
      ends += shard->tokens[i] == LAP_EOS;
    }
    cut += shard->tokens[0] != LAP_BOS;
    /* Only a shard whose last document is cut ends without EOS, and it is full. */
    if (shard->tokens[shard->token_count - 1] != LAP_EOS) assert_int_equal(shard->token_count, 300);
  }
  assert_int_equal(starts, counts.train.documents);
  assert_int_equal(ends, counts.train.documents);
  /* The long one begins a shard and runs on over those after it; no other is cut. */
  assert_true(cut >= 2);
  assert_int_equal(cut, (long_ids + 1) / 300);
  lap_token_set_close(&set);
}

static void options_out_of_range_are_refused(void **state) {
  const fixture *made = *state;
  const char *texts[] = {scratch_write(made->directory, "f.txt", "a few words\n", 12)};
  lap_tokenize_options options = options_of(made, "line", texts, 1);
  options.text.documents = "page";
  assert_refused(made, &options, LAP_USAGE, "found \"page\"");
  options.text.documents = "jsonl:";
  assert_refused(made, &options, LAP_USAGE, "jsonl:KEY");
  options.text.documents = "line";
  options.text.holdout = 1;
  assert_refused(made, &options, LAP_USAGE, "holdout");
  options.text.holdout = -0.1;
  assert_refused(made, &options, LAP_USAGE, "holdout");
  options.text.holdout = 0.5;
  assert_refused(made, &options, LAP_USAGE, "nothing can be held out");
  options.text.holdout = 0;
  options.shard_tokens = 1;
  assert_refused(made, &options, LAP_USAGE, "shard-tokens");
  options.shard_tokens = 1000;
  options.tokenizer = texts[0];
  assert_refused(made, &options, LAP_DATA, "f.txt");
  options.tokenizer = made->model;
  options.text.input_count = 0;
  assert_refused(made, &options, LAP_USAGE, "no text files");
}

static void texts_that_cannot_be_read_are_refused(void **state) {
  const fixture *made = *state;
  const char *d = made->directory;
  const struct {
    const char *path, *says;
  } cases[] = {
      {scratch_path(d, "absent.txt"), "absent.txt: cannot be opened"},
      {scratch_write(d, "none.txt", "", 0), "none.txt: no text was found: 1 file is empty"},
      {scratch_write(d, "mark.txt", "\xEF\xBB\xBF", 3), "mark.txt: no text was found"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const char *texts[] = {cases[i].path};
    const lap_tokenize_options lines = options_of(made, "line", texts, 1);
    const lap_tokenize_options files = options_of(made, "file", texts, 1);
    assert_refused(made, &lines, LAP_DATA, cases[i].says);
    assert_refused(made, &files, LAP_DATA, cases[i].says);
  }
  const char *pipe = scratch_path(d, "pipe");
  assert_int_equal(mkfifo(pipe, 0600), 0);
  lap_tokenize_options options = options_of(made, "line", &pipe, 1);
  options.text.holdout = 0.1;
  assert_refused(made, &options, LAP_USAGE, "not a regular file");
}

static void nothing_is_overwritten(void **state) {
  const fixture *made = *state;
  const char *texts[] = {scratch_write(made->directory, "g.txt", "a few words\n", 12)};
  const lap_tokenize_options options = options_of(made, "line", texts, 1);
  tokenize(&options);
  assert_refused(made, &options, LAP_USAGE, "is not empty (tokens-00000.h5 is there)");
  char kept[1100];
  snprintf(kept, sizeof kept, "%s/train/tokens-00000.h5", made->out);
  assert_int_equal(access(kept, F_OK), 0);
}

static void a_full_disk_leaves_nothing(void **state) {
  const fixture *made = *state;
  char *text = make_text(2000);
  const char *texts[] = {scratch_write(made->directory, "h.txt", text, strlen(text))};
  free(text);
  lap_tokenize_options options = options_of(made, "line", texts, 1);
  options.text.holdout = 0.01;
  scratch_limit_files(8192);
  assert_refused(made, &options, LAP_DATA, "File too large");
  scratch_limit_files(0);
  assert_int_equal(scratch_count(made->out), -1);
  /* What a kill leaves is replaced. */
  char stale[1100];
  mkdir(made->out, 0777);
  snprintf(stale, sizeof stale, "%s/train.partial", made->out);
  mkdir(stale, 0777);
  scratch_write(stale, "tokens-00099.h5", "junk", 4);
  tokenize(&options);
  assert_int_equal(scratch_count(made->out), 2);
  assert_disjoint(made);
}

static void see_progress(void *context, const lap_progress_state *hook) {
  uint64_t *seen = context;
  if (strcmp(hook->step, "tokenize") != 0) return;
  assert_true(hook->done >= seen[0]);
  seen[0] = hook->done;
  seen[1] = hook->total;
  ++seen[2];
}

static void progress_is_reported_about_every_megabyte(void **state) {
  const fixture *made = *state;
  char *text = make_text(60000);
  const size_t bytes = strlen(text);
  const char *texts[] = {scratch_write(made->directory, "i.txt", text, bytes)};
  free(text);
  uint64_t seen[3] = {0};
  const lap_progress_hook hook = {see_progress, seen};
  lap_tokenize_options options = options_of(made, "line", texts, 1);
  options.text.hook = &hook;
  tokenize(&options);
  assert_int_equal(seen[0], bytes);
  assert_int_equal(seen[1], bytes);
  assert_true(seen[2] >= 2 && seen[2] <= 5);
}

static void a_shard_that_repeats_another_is_left_out(void **state) {
  const fixture *made = *state;
  /* Twelve lines of the same tokens and one that differs: every shard holds a few lines. */
  char *text = calloc(1, 4096);
  for (int i = 0; i < 12; ++i) strcat(text, "line 1: and God called the light day\n");
  strcat(text, "the end\n");
  const char *texts[] = {scratch_write(made->directory, "again.txt", text, strlen(text))};
  free(text);
  lap_tokenize_options options = options_of(made, "line", texts, 1);
  options.shard_tokens = 45;
  const lap_tokenize_counts counts = tokenize(&options);
  assert_true(counts.train.repeated >= 2);
  assert_int_equal(counts.train.repeated_first, 0);
  lap_token_set set;
  open_side(made, "train", &set); /* which refuses two alike */
  assert_int_equal(set.count, counts.train.shards);
  assert_int_equal(set.token_count, counts.train.tokens);
  uint64_t documents = 0, bytes = 0;
  lap_tokenizer *tokenizer;
  lap_status status;
  assert_int_equal(lap_tokenizer_open(made->model, &tokenizer, &status), LAP_OK);
  for (size_t i = 0; i < set.count; ++i) {
    const lap_token_shard *shard = set.shard[i];
    documents += shard->document_count;
    for (uint64_t row = 0; row < shard->token_count; ++row)
      bytes += lap_tokenizer_piece_bytes(tokenizer, shard->tokens[row]);
  }
  assert_int_equal(documents, counts.train.documents);
  assert_int_equal(bytes, counts.train.bytes);
  lap_tokenizer_close(tokenizer);
  lap_token_set_close(&set);
}

/* The model without byte pieces: they become ordinary ones, and the trainer's spec says so. */
static const char *without_bytes(const fixture *made) {
  size_t count;
  char *bytes = scratch_read(made->model, &count);
  for (size_t i = 0; i + 13 < count; ++i)
    if (memcmp(bytes + i, "<0x", 3) == 0 && bytes[i + 5] == '>' && bytes[i + 11] == 0x18)
      bytes[i + 12] = 1;
  static const char spec[] = "\x12\x03\x98\x02"; /* field 35 of TrainerSpec: byte_fallback 0 */
  bytes = realloc(bytes, count + sizeof spec);
  memcpy(bytes + count, spec, sizeof spec);
  const char *path = scratch_write(made->directory, "nobytes.model", bytes, count + sizeof spec);
  free(bytes);
  return path;
}

static void unknown_tokens_are_counted_and_above_a_share_refused(void **state) {
  fixture *made = *state;
  char text[8192] = "";
  for (int i = 0; i < 100; ++i) strcat(text, "and God called the light day\n");
  strcat(text, "\xE6\xBC\xA2 and \xC3\xA9\n");
  const char *texts[] = {scratch_write(made->directory, "rare.txt", text, strlen(text))};
  lap_tokenize_options options = options_of(made, "line", texts, 1);
  options.tokenizer = without_bytes(made);
  const lap_tokenize_counts counts = tokenize(&options);
  assert_int_equal(counts.train.unknown, 2);
  next_out(state);
  options.allow_unknown = 0;
  assert_refused(made, &options, LAP_DATA, "2 of ");
  assert_refused(made, &options, LAP_DATA, "--allow-unknown 0.00");
  memset(text, 0, sizeof text);
  for (int i = 0; i < 40; ++i) strcat(text, "\xE6\xBC\xA2 \xC3\xA9 and\n");
  texts[0] = scratch_write(made->directory, "rarer.txt", text, strlen(text));
  options.allow_unknown = .01;
  assert_refused(made, &options, LAP_DATA, "are unknown to it (");
  options.allow_unknown = .6;
  assert_int_equal(tokenize(&options).train.unknown, 80);
  next_out(state);
  options.shard_tokens = 16; /* two lines, the same ones in every shard */
  const lap_tokenize_side once = tokenize(&options).train;
  assert_int_equal(once.shards, 1);
  assert_int_equal(once.documents, 2);
  assert_int_equal(once.unknown, 4);
}

static void much_that_is_unknown_is_refused_long_before_the_end(void **state) {
  const fixture *made = *state;
  enum { BYTES = 3 << 20 };
  char *text = malloc(BYTES);
  for (int i = 0; i < BYTES; i += 4) memcpy(text + i, "\xE6\xBC\xA2\n", 4);
  const char *texts[] = {scratch_write(made->directory, "han.txt", text, BYTES)};
  free(text);
  uint64_t seen[3] = {0};
  const lap_progress_hook hook = {see_progress, seen};
  lap_tokenize_options options = options_of(made, "line", texts, 1);
  options.tokenizer = without_bytes(made);
  options.text.hook = &hook;
  assert_refused(made, &options, LAP_DATA, " so far are unknown to it");
  assert_true(seen[0] < BYTES);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(a_file_is_a_document, next_out),
      cmocka_unit_test_setup(a_line_is_a_document, next_out),
      cmocka_unit_test_setup(a_block_between_blank_lines_is_a_document, next_out),
      cmocka_unit_test_setup(a_string_of_a_json_line_is_a_document, next_out),
      cmocka_unit_test_setup(what_is_wrong_is_counted_or_with_strict_refused, next_out),
      cmocka_unit_test_setup(many_documents_are_held_out_whole, next_out),
      cmocka_unit_test_setup(few_documents_are_held_out_by_blocks, next_out),
      cmocka_unit_test_setup(the_holdout_is_a_function_of_seed_and_text, next_out),
      cmocka_unit_test_setup(a_tiny_or_huge_share_leaves_one_on_each_side, next_out),
      cmocka_unit_test_setup(shards_end_at_documents_or_cut_long_ones, next_out),
      cmocka_unit_test_setup(options_out_of_range_are_refused, next_out),
      cmocka_unit_test_setup(texts_that_cannot_be_read_are_refused, next_out),
      cmocka_unit_test_setup(nothing_is_overwritten, next_out),
      cmocka_unit_test_setup(a_full_disk_leaves_nothing, next_out),
      cmocka_unit_test_setup(progress_is_reported_about_every_megabyte, next_out),
      cmocka_unit_test_setup(a_shard_that_repeats_another_is_left_out, next_out),
      cmocka_unit_test_setup(unknown_tokens_are_counted_and_above_a_share_refused, next_out),
      cmocka_unit_test_setup(much_that_is_unknown_is_refused_long_before_the_end, next_out),
  };
  return cmocka_run_group_tests(tests, train_once, remove_all);
}
