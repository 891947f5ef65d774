/* tokenize: what documents are, what is held out, where shards end, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

#include <cmocka.h>

#include "dataset/token_shard.h"
#include "dataset/tokenize.h"
#include "dataset/tokenizer.h"
#include "tests/scratch.h"

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
  if (lap_tokenizer_train(texts, 1, 300, made.model, &status) != LAP_OK ||
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
  return (lap_tokenize_options){.tokenizer = made->model,
                                .out = made->out,
                                .documents = documents,
                                .shard_tokens = LAP_SHARD_TOKENS,
                                .texts = texts,
                                .text_count = count,
                                .seed = 1};
}

static lap_tokenize_counts tokenize(const lap_tokenize_options *options) {
  lap_tokenize_counts counts;
  lap_status status = {0};
  if (lap_tokenize(options, NULL, NULL, &counts, &status) != LAP_OK) fail_msg("%s", status.message);
  return counts;
}

static void assert_refused(const fixture *made, const lap_tokenize_options *options,
                           lap_code expected, const char *says) {
  lap_tokenize_counts counts;
  lap_status status = {0};
  const int before = scratch_count(made->out);
  assert_int_equal(lap_tokenize(options, NULL, NULL, &counts, &status), expected);
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
  const char *const expected[] = {" one\n\n\ttwo <s>\r\n"};
  assert_documents(*state, "file", " one\n\n\ttwo <s>\r\n", expected, 1);
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

static void bad_json_is_refused_by_line(void **state) {
  const fixture *made = *state;
  const struct {
    const char *text, *says;
  } cases[] = {
      {"{\"text\": \"a\"}\n{\"text\": \n", "bad.jsonl: line 2: not JSON"},
      {"[1]\n", "line 1: expected a JSON object"},
      {"{\"text\": \"a\"}\n\n{\"txt\": \"a\"}\n", "line 3: there is nothing under the key"},
      {"{\"text\": 5}\n", "line 1: the value is not a string under the key \"text\""},
      {"{\"text\": \"a\\u0000b\"}\n", "line 1: not JSON"},
      {"{\"text\": \"caf\xE9\"}\n", "line 1 (byte 13): byte 0xE9 is not UTF-8"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const char *texts[] = {
        scratch_write(made->directory, "bad.jsonl", cases[i].text, strlen(cases[i].text))};
    const lap_tokenize_options options = options_of(made, "jsonl:text", texts, 1);
    assert_refused(made, &options, LAP_DATA, cases[i].says);
  }
}

static void json_lines_of_millions_of_values_are_refused_unparsed(void **state) {
  const fixture *made = *state;
  enum { BYTES = 9 << 20 };
  char *line = malloc(BYTES);
  for (int i = 0; i < BYTES; ++i) line[i] = "{},"[i % 3];
  const char *texts[] = {scratch_write(made->directory, "large.jsonl", line, BYTES)};
  const lap_tokenize_options options = options_of(made, "jsonl:text", texts, 1);
  assert_refused(made, &options, LAP_DATA, "line 1: has 6291457 JSON values");
  free(line);
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
  options.holdout = 0.1;
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
  options.holdout = 0.1;
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
    options.holdout = 0.2;
    options.seed = i < 2 ? 5 : 6;
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
    options.holdout = shares[i];
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
  options.documents = "page";
  assert_refused(made, &options, LAP_USAGE, "found \"page\"");
  options.documents = "jsonl:";
  assert_refused(made, &options, LAP_USAGE, "jsonl:KEY");
  options.documents = "line";
  options.holdout = 1;
  assert_refused(made, &options, LAP_USAGE, "holdout");
  options.holdout = -0.1;
  assert_refused(made, &options, LAP_USAGE, "holdout");
  options.holdout = 0.5;
  assert_refused(made, &options, LAP_USAGE, "nothing can be held out");
  options.holdout = 0;
  options.shard_tokens = 1;
  assert_refused(made, &options, LAP_USAGE, "shard-tokens");
  options.shard_tokens = 1000;
  options.tokenizer = texts[0];
  assert_refused(made, &options, LAP_DATA, "f.txt");
  options.tokenizer = made->model;
  options.text_count = 0;
  assert_refused(made, &options, LAP_USAGE, "no text files");
}

static void texts_that_cannot_be_read_are_refused(void **state) {
  const fixture *made = *state;
  const char *d = made->directory;
  const struct {
    const char *path, *says;
  } cases[] = {
      {scratch_path(d, "absent.txt"), "absent.txt: cannot be opened"},
      {d, "is a directory"},
      {scratch_write(d, "none.txt", "", 0), "none.txt: no text was found"},
      {scratch_write(d, "nul.txt", "ab\n\0\n", 5), "nul.txt: line 2 (byte 3): a NUL"},
      {scratch_write(d, "cut.txt", "ab\n\xE6\xBC", 5), "cut.txt: line 2 (byte 3): byte 0xE6"}};
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
  options.holdout = 0.1;
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
  options.holdout = 0.01;
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {8192, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  assert_refused(made, &options, LAP_DATA, "File too large");
  setrlimit(RLIMIT_FSIZE, &before);
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

static void see_progress(void *context, const lap_tokenize_counts *counts, uint64_t total_bytes) {
  uint64_t *seen = context;
  assert_true(counts->train.bytes >= seen[0]);
  seen[0] = counts->train.bytes;
  seen[1] = total_bytes;
  ++seen[2];
}

static void progress_is_told_about_every_megabyte(void **state) {
  const fixture *made = *state;
  char *text = make_text(60000);
  const size_t bytes = strlen(text);
  const char *texts[] = {scratch_write(made->directory, "i.txt", text, bytes)};
  free(text);
  const lap_tokenize_options options = options_of(made, "line", texts, 1);
  lap_tokenize_counts counts;
  lap_status status = {0};
  uint64_t seen[3] = {0};
  assert_int_equal(lap_tokenize(&options, see_progress, seen, &counts, &status), LAP_OK);
  assert_int_equal(seen[0], bytes - 60000);
  assert_int_equal(seen[1], bytes);
  assert_true(seen[2] >= 2 && seen[2] <= 5);
  assert_true(counts.train.shards >= 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(a_file_is_a_document, next_out),
      cmocka_unit_test_setup(a_line_is_a_document, next_out),
      cmocka_unit_test_setup(a_block_between_blank_lines_is_a_document, next_out),
      cmocka_unit_test_setup(a_string_of_a_json_line_is_a_document, next_out),
      cmocka_unit_test_setup(json_lines_of_millions_of_values_are_refused_unparsed, next_out),
      cmocka_unit_test_setup(bad_json_is_refused_by_line, next_out),
      cmocka_unit_test_setup(many_documents_are_held_out_whole, next_out),
      cmocka_unit_test_setup(few_documents_are_held_out_by_blocks, next_out),
      cmocka_unit_test_setup(the_holdout_is_a_function_of_seed_and_text, next_out),
      cmocka_unit_test_setup(a_tiny_or_huge_share_leaves_one_on_each_side, next_out),
      cmocka_unit_test_setup(shards_end_at_documents_or_cut_long_ones, next_out),
      cmocka_unit_test_setup(options_out_of_range_are_refused, next_out),
      cmocka_unit_test_setup(texts_that_cannot_be_read_are_refused, next_out),
      cmocka_unit_test_setup(nothing_is_overwritten, next_out),
      cmocka_unit_test_setup(a_full_disk_leaves_nothing, next_out),
      cmocka_unit_test_setup(progress_is_told_about_every_megabyte, next_out),
  };
  return cmocka_run_group_tests(tests, train_once, remove_all);
}
