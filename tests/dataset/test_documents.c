/* documents: line ends, packings, and what is skipped, repaired and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "dataset/split.h"
#include "tests/scratch.h"

static char *directory;

static int make_directory(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int remove_directory(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

/* The documents seen, each followed by "|". */
typedef struct {
  char text[4096];
  size_t bytes, count;
} seen;

static lap_code see(void *context, bool held_out, const char *text, size_t bytes,
                    lap_status *status) {
  (void)held_out, (void)status;
  seen *all = context;
  ++all->count;
  if (all->bytes + bytes + 2 > sizeof all->text) return LAP_OK;
  memcpy(all->text + all->bytes, text, bytes);
  all->bytes += bytes;
  all->text[all->bytes++] = '|';
  all->text[all->bytes] = '\0';
  return LAP_OK;
}

static lap_code visit(const char *how, const char *const *inputs, size_t count, bool strict,
                      seen *all, lap_findings *findings, lap_status *status) {
  const lap_split_options options = {
      .inputs = inputs, .input_count = count, .documents = how, .strict = strict};
  lap_split split;
  *all = (seen){.count = 0};
  LAP_TRY(lap_split_open(&options, &split, status));
  const lap_code code = lap_split_visit(&split, NULL, see, all, findings, status);
  lap_split_close(&split);
  return code;
}

static lap_findings assert_documents(const char *how, const char *input, const char *expected) {
  seen all;
  lap_findings findings;
  lap_status status = {0};
  if (visit(how, &input, 1, false, &all, &findings, &status) != LAP_OK)
    fail_msg("%s: %s", how, status.message);
  if (strcmp(all.text, expected) != 0)
    fail_msg("%s of %s: \"%s\", not \"%s\"", how, input, all.text, expected);
  return findings;
}

static const char *file_of(const char *text) {
  return scratch_write(directory, "text", text, strlen(text));
}

static void all_line_ends_are_alike(void **state) {
  (void)state;
  static const struct {
    const char *how, *text, *expected;
  } cases[] = {
      {"line", "one\ntwo\n\nthree", "one|two|three|"},
      {"blank", "one\n two\n\n\n\tthree\n", "one\n two|\tthree|"},
      {"file", "one\n\ntwo\n", "one\n\ntwo\n|"},
      {"jsonl:t", "{\"t\": \"a\\r\\nb\"}\n\n{\"t\": \"c\"}", "a\r\nb|c|"},
  };
  static const char *const ends[] = {"\n", "\r\n", "\r"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    for (size_t e = 0; e < 3; ++e) {
      char text[256], *to = text;
      for (const char *from = cases[i].text; *from; ++from)
        to = *from == '\n' ? stpcpy(to, ends[e]) : (*to = *from, to + 1);
      *to = '\0';
      assert_documents(cases[i].how, file_of(text), cases[i].expected);
      char marked[300];
      snprintf(marked, sizeof marked, "\xEF\xBB\xBF%s", text);
      assert_documents(cases[i].how, file_of(marked), cases[i].expected);
    }
  }
  assert_documents("line", file_of("a\n\rb\r\n\nc\r\rd"), "a|b|c|d|");
}

/* Line ends at and around the places where the reader reads on. */
static void a_line_end_may_fall_between_two_reads(void **state) {
  (void)state;
  enum { READ = 64 << 10 };
  for (size_t line = READ - 2; line <= READ + 2; ++line) {
    char *text = malloc(line + 16);
    memset(text, 'x', line);
    strcpy(text + line, "\r\nend\r\n");
    const char *input = scratch_write(directory, "text", text, line + 7);
    seen all;
    lap_status status = {0};
    assert_int_equal(visit("line", &input, 1, false, &all, NULL, &status), LAP_OK);
    assert_int_equal(all.count, 2);
    assert_string_equal(all.text, "end|"); /* the long one has no room */
    free(text);
  }
}

static size_t pack(const char *text, bool gzip, char *packed, size_t room) {
  const size_t bytes = strlen(text);
  if (!gzip) return ZSTD_compress(packed, room, text, bytes, 3);
  z_stream stream = {0};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = (Bytef *)text;
  stream.avail_in = (uInt)bytes;
  stream.next_out = (Bytef *)packed;
  stream.avail_out = (uInt)room;
  assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
  deflateEnd(&stream);
  return room - stream.avail_out;
}

static void packed_files_are_told_by_their_first_bytes(void **state) {
  (void)state;
  for (int gzip = 0; gzip < 2; ++gzip) {
    char packed[4096];
    size_t bytes = pack("one\r\ntw", gzip, packed, sizeof packed);
    /* Two members, or frames, are one text. */
    bytes += pack("o\n\nthree\n", gzip, packed + bytes, sizeof packed - bytes);
    const char *input = scratch_write(directory, "text.txt", packed, bytes);
    assert_documents("line", input, "one|two|three|");
    assert_documents("blank", input, "one\ntwo|three|");
    assert_documents("file", input, "one\ntwo\n\nthree\n|");
    bytes = pack("\xEF\xBB\xBF{\"t\": \"\xC3\xA9\"}", gzip, packed, sizeof packed);
    assert_documents("jsonl:t", scratch_write(directory, "a.json", packed, bytes), "\xC3\xA9|");
    bytes = pack("", gzip, packed, sizeof packed);
    const lap_findings findings =
        assert_documents("line", scratch_write(directory, "empty", packed, bytes), "");
    assert_int_equal(findings.of[LAP_FINDING_EMPTY_FILES].count, 1);
  }
}

/* pzstd begins with a frame that holds only the length of the next; zstd --long=31 has a window of
 * 2 GiB, here around eight bytes that are stored as they are. */
static void zstd_of_pzstd_and_of_long_windows_is_read(void **state) {
  (void)state;
  static const char skipped[] = "\x50\x2A\x4D\x18\x04\0\0\0\x11\0\0";
  static const char frame[] = "\x28\xB5\x2F\xFD\0\xA8\x41\0\0one\ntwo\n";
  char packed[sizeof skipped + sizeof frame];
  memcpy(packed, skipped, sizeof skipped); /* with its last NUL */
  memcpy(packed + sizeof skipped, frame, sizeof frame - 1);
  const size_t bytes = sizeof skipped + sizeof frame - 1;
  for (size_t begin = 0; begin <= sizeof skipped; begin += sizeof skipped) {
    const char *input = scratch_write(directory, "a.zst", packed + begin, bytes - begin);
    const lap_findings findings = assert_documents("line", input, "one|two|");
    assert_int_equal(findings.of[LAP_FINDING_CUT_FILES].count, 0);
  }
}

static void a_packed_file_that_is_cut_off_gives_what_it_has(void **state) {
  (void)state;
  for (int gzip = 0; gzip < 2; ++gzip) {
    char packed[4096];
    size_t bytes = pack("one\ntwo\n", gzip, packed, sizeof packed);
    bytes += pack("three\n", gzip, packed + bytes, sizeof packed - bytes);
    const char *input = scratch_write(directory, "cut", packed, bytes - 3);
    seen all;
    lap_findings findings;
    lap_status status = {0};
    assert_int_equal(visit("line", &input, 1, false, &all, &findings, &status), LAP_OK);
    assert_int_equal(strncmp(all.text, "one|two|", 8), 0);
    assert_int_equal(findings.of[LAP_FINDING_CUT_FILES].count, 1);
    assert_non_null(strstr(findings.of[LAP_FINDING_CUT_FILES].first, "cut off"));
    assert_int_equal(visit("line", &input, 1, true, &all, &findings, &status), LAP_DATA);
    assert_non_null(strstr(status.message, "/cut: "));
    packed[gzip ? 12 : 4] ^= 0x55;
    input = scratch_write(directory, "bent", packed, bytes);
    assert_int_equal(visit("line", &input, 1, false, &all, &findings, &status), LAP_OK);
    assert_int_equal(findings.of[LAP_FINDING_CUT_FILES].count, 1);
  }
}

static void assert_strict(const char *how, const char *text, const char *says) {
  seen all;
  lap_findings findings;
  lap_status status = {0};
  const char *input = file_of(text);
  assert_int_equal(visit(how, &input, 1, true, &all, &findings, &status), LAP_DATA);
  if (!strstr(status.message, says)) fail_msg("\"%s\" does not say \"%s\"", status.message, says);
}

static void bad_lines_are_counted_with_the_first_place(void **state) {
  (void)state;
  const char text[] =
      "{\"t\": \"a\"}\n[1]\n{\"s\": \"b\"}\n\n{\"t\": \"\"}\n{\"t\": 7}\n{\"t\": \"c\ntext\n"
      "{\"t\": \"caf\xE9 \\ud800\"}\n{\"t\": \"z\"}";
  const lap_findings f =
      assert_documents("jsonl:t", file_of(text), "a|caf\xEF\xBF\xBD \xEF\xBF\xBD|z|");
  assert_int_equal(f.of[LAP_FINDING_BROKEN_JSON].count, 3);
  assert_non_null(strstr(f.of[LAP_FINDING_BROKEN_JSON].first, "text: line 2: expected a JSON"));
  assert_int_equal(f.of[LAP_FINDING_NO_TEXT].count, 2);
  assert_non_null(
      strstr(f.of[LAP_FINDING_NO_TEXT].first, "line 3: there is nothing under the key"));
  assert_non_null(strstr(f.of[LAP_FINDING_NO_TEXT].first, "the keys are \"s\""));
  assert_int_equal(f.of[LAP_FINDING_EMPTY_DOCUMENTS].count, 1);
  assert_int_equal(f.of[LAP_FINDING_REPLACED].count, 2);
  assert_int_equal(f.of[LAP_FINDING_EMPTY_FILES].count, 0);
  char words[1024];
  lap_finding_describe(LAP_FINDING_BROKEN_JSON, &f.of[LAP_FINDING_BROKEN_JSON], words,
                       sizeof words);
  assert_int_equal(strncmp(words, "3 lines are no JSON objects and were skipped; the first: ", 57),
                   0);
  assert_strict("jsonl:t", text, "text: line 2: expected a JSON object (column 1)");
  assert_strict("jsonl:t", "{\"t\": 1e999}",
                "line 1: the value under the key \"t\" is not a string");
  assert_strict("jsonl:t", "\n{\"t\": \"\\u0000\"}", "line 2: \\u0000 or half of a surrogate pair");
}

static void bytes_that_are_not_text_are_replaced_as_python_does(void **state) {
  (void)state;
#define R "\xEF\xBF\xBD"
  const lap_findings lines =
      assert_documents("line", file_of("one\ncaf\xE9 \xE2\x82\n\xF0\x9F\x99\xC3\xA9\xED\xA0\x80"),
                       "one|caf" R " " R "|" R "\xC3\xA9" R R R "|");
  assert_int_equal(lines.of[LAP_FINDING_REPLACED].count, 6);
  assert_non_null(strstr(lines.of[LAP_FINDING_REPLACED].first, "text: line 2: not UTF-8: E9 "));
  const char zero[] = "a\n\nb\nc\0d\n";
  const char *input = scratch_write(directory, "text", zero, sizeof zero - 1);
  const lap_findings blocks = assert_documents("blank", input, "a|b\nc" R "d|");
  assert_non_null(strstr(blocks.of[LAP_FINDING_REPLACED].first, "line 4: a NUL byte"));
  const lap_findings whole = assert_documents("file", input, "a\n\nb\nc" R "d\n|");
  assert_non_null(strstr(whole.of[LAP_FINDING_REPLACED].first, "line 4: a NUL byte"));
#undef R
  assert_strict("line", "one\r\rca\xE9 th\n", "text: line 3: not UTF-8: E9 (hexadecimal)");
}

static void empty_files_and_documents_are_counted(void **state) {
  (void)state;
  const char *inputs[] = {scratch_write(directory, "a", "", 0),
                          scratch_write(directory, "b", "\xEF\xBB\xBF", 3),
                          scratch_write(directory, "c", "one\n\n\ntwo", 9)};
  static const struct {
    const char *how;
    uint64_t documents, empty;
  } cases[] = {{"file", 1, 0}, {"line", 2, 2}, {"blank", 2, 0}};
  for (size_t i = 0; i < 3; ++i) {
    seen all;
    lap_findings findings;
    lap_status status = {0};
    /* An empty file is not a fault. */
    assert_int_equal(visit(cases[i].how, inputs, 3, true, &all, &findings, &status), LAP_OK);
    assert_int_equal(all.count, cases[i].documents);
    assert_int_equal(findings.of[LAP_FINDING_EMPTY_FILES].count, 2);
    assert_int_equal(findings.of[LAP_FINDING_EMPTY_DOCUMENTS].count, cases[i].empty);
  }
}

/* --- which files, and what is not text --- */

static void assert_refused(const char *input, lap_code code, const char *says) {
  seen all;
  lap_status status = {0};
  assert_int_equal(visit("line", &input, 1, false, &all, NULL, &status), code);
  if (!strstr(status.message, says)) fail_msg("\"%s\" does not say \"%s\"", status.message, says);
}

static void inputs_are_files_folders_and_globs(void **state) {
  (void)state;
  char root[512], below[600], odd[640];
  snprintf(root, sizeof root, "%s", scratch_path(directory, "folder"));
  snprintf(below, sizeof below, "%s/below", root);
  assert_int_equal(mkdir(root, 0777), 0);
  assert_int_equal(mkdir(below, 0777), 0);
  scratch_write(root, "b.txt", "b", 1);
  scratch_write(root, "A.txt", "A", 1);
  scratch_write(root, ".hidden", "h", 1);
  scratch_write(below, "c [1].txt", "c", 1);
  scratch_write(below, "d.txt", "d", 1);
  assert_documents("line", root, "A|b|c|d|");
  char pattern[700];
  snprintf(pattern, sizeof pattern, "%s/", root);
  assert_documents("line", pattern, "A|b|c|d|");
  snprintf(pattern, sizeof pattern, "%s/*", root);
  assert_documents("line", pattern, "A|b|");
  snprintf(pattern, sizeof pattern, "%s/{below/[cd],b}*.txt", root);
  assert_documents("line", pattern, "b|c|d|");
  /* More names than one can be long, and each of them is there. */
  char many[2048];
  size_t used = (size_t)snprintf(many, sizeof many, "%s/{", root);
  for (int i = 0; i < 300; ++i) used += (size_t)snprintf(many + used, sizeof many - used, "b,");
  snprintf(many + used, sizeof many - used, "A}.txt");
  assert_documents("line", many, "A|b|");
  snprintf(odd, sizeof odd, "%s/c [1].txt", below); /* a path that exists is not a glob */
  assert_documents("line", odd, "c|");
  snprintf(pattern, sizeof pattern, "%s/none-*", root);
  assert_refused(pattern, LAP_DATA, "none-*: matches no file");
  assert_refused(scratch_path(directory, "absent"), LAP_DATA, "absent: cannot be opened: No such");
  assert_int_equal(mkdir(scratch_path(directory, "bare"), 0777), 0);
  assert_refused(scratch_path(directory, "bare"), LAP_DATA, "there is no file in this folder");
}

/* As everywhere (core/paths.h), and in a folder too. */
static void text_that_is_not_there_is_not_left_out_silently(void **state) {
  (void)state;
  char root[512], pattern[700];
  snprintf(root, sizeof root, "%s", scratch_path(directory, "partly"));
  assert_int_equal(mkdir(root, 0777), 0);
  scratch_write(root, "a.txt", "a", 1);
  snprintf(pattern, sizeof pattern, "%s/{a,b}.txt", root);
  assert_refused(pattern, LAP_DATA, "/b.txt: cannot be opened: No such file");
  snprintf(pattern, sizeof pattern, "%s/{a,b}*.txt", root);
  assert_refused(pattern, LAP_DATA, "/b*.txt: matches no file");
  assert_int_equal(symlink("a.txt", scratch_path(root, "link.txt")), 0);
  assert_documents("line", root, "a|a|");
  assert_int_equal(symlink("nothing", scratch_path(root, ".#hidden")), 0); /* as editors lock */
  assert_documents("line", root, "a|a|");
  assert_int_equal(symlink("nothing", scratch_path(root, "gone.txt")), 0);
  assert_refused(root, LAP_DATA, "/gone.txt: is a link to a file that is not there");
  snprintf(pattern, sizeof pattern, "%s/par*", directory);
  assert_refused(pattern, LAP_DATA, "/par*: matches only folders");
}

static void other_formats_are_refused_by_name_before_anything_is_read(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t count;
    const char *says;
  } cases[] = {{"PAR1\x15\x04", 6, "is a Parquet file"},
               {"PK\x03\x04zz", 6, "is a zip archive"},
               {"\xFF\xFE"
                "a\0b\0",
                6, "is UTF-16 text"},
               {"\xFE\xFF\0a\0b", 6, "is UTF-16 text"},
               {"\xFF\xFE\0\0a\0\0\0", 8, "is UTF-32 text"},
               {"\0\0\xFE\xFF\0\0\0a", 8, "is UTF-32 text"},
               {"BZh91AY", 7, "bzip2 -d"},
               {"\xFD"
                "7zXZ\0",
                6, "xz -d"},
               {"\x89HDF\r\n\x1A\n", 8, "is an HDF5 file"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    assert_refused(scratch_write(directory, "other", cases[i].bytes, cases[i].count), LAP_DATA,
                   cases[i].says);
  char latin[2048];
  for (size_t i = 0; i < sizeof latin; ++i)
    latin[i] = i % 40 == 0 ? '\n' : i % 40 == 7 ? '\xE4' : 'a';
  assert_refused(scratch_write(directory, "latin", latin, sizeof latin), LAP_DATA,
                 "latin: line 2 (byte 7): byte 0xE4 is not UTF-8, nor are 52 of the first 2048");
  memset(latin, 0, sizeof latin);
  assert_refused(scratch_write(directory, "zeros", latin, sizeof latin), LAP_DATA, "a NUL byte");
  char packed[4096]; /* and within a packed file */
  memset(latin, '\xE4', sizeof latin - 1);
  const size_t bytes = pack(latin, true, packed, sizeof packed);
  assert_refused(scratch_write(directory, "packed", packed, bytes), LAP_DATA, "0xE4 is not UTF-8");
}

/* Runs with a file as standard input. */
static void standard_input_is_a_text_too(void **state) {
  (void)state;
  const int before = dup(STDIN_FILENO);
  char packed[4096];
  const size_t bytes = pack("one\n\ntwo\n", false, packed, sizeof packed);
  assert_non_null(freopen(scratch_write(directory, "in", packed, bytes), "r", stdin));
  assert_documents("line", "-", "one|two|");
  assert_non_null(freopen(file_of("{\"a\": 1}\n"), "r", stdin));
  const lap_findings findings = assert_documents("jsonl:t", "-", "");
  assert_non_null(strstr(findings.of[LAP_FINDING_NO_TEXT].first, "standard input: line 1"));
  const char *twice[] = {"-", "-"};
  const char *once[] = {"-"};
  lap_split_options options = {.inputs = twice, .input_count = 2};
  lap_split split;
  lap_status status = {0};
  assert_int_equal(lap_split_open(&options, &split, &status), LAP_USAGE);
  options = (lap_split_options){.inputs = once, .input_count = 1, .holdout = .1};
  assert_int_equal(lap_split_open(&options, &split, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "has to be read twice"));
  dup2(before, STDIN_FILENO);
  close(before);
}

static void a_file_in_parts_is_the_same_text(void **state) {
  (void)state;
  enum { LINES = 100000 };
  char *text = malloc(LINES * 40), *end = text;
  for (int i = 0; i < LINES; ++i) end += sprintf(end, "line %d of a long file\n", i);
  const char *input = scratch_write(directory, "long", text, (size_t)(end - text));
  const lap_split_options options = {.inputs = &input, .input_count = 1, .in_parts = true};
  lap_split split;
  lap_status status = {0};
  seen all = {0};
  assert_int_equal(lap_split_open(&options, &split, &status), LAP_OK);
  assert_int_equal(lap_split_visit(&split, NULL, see, &all, NULL, &status), LAP_OK);
  assert_in_range(all.count, 2, 4);
  lap_split_close(&split);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_line_ends_are_alike),
      cmocka_unit_test(a_line_end_may_fall_between_two_reads),
      cmocka_unit_test(packed_files_are_told_by_their_first_bytes),
      cmocka_unit_test(zstd_of_pzstd_and_of_long_windows_is_read),
      cmocka_unit_test(a_packed_file_that_is_cut_off_gives_what_it_has),
      cmocka_unit_test(bad_lines_are_counted_with_the_first_place),
      cmocka_unit_test(bytes_that_are_not_text_are_replaced_as_python_does),
      cmocka_unit_test(empty_files_and_documents_are_counted),
      cmocka_unit_test(inputs_are_files_folders_and_globs),
      cmocka_unit_test(text_that_is_not_there_is_not_left_out_silently),
      cmocka_unit_test(other_formats_are_refused_by_name_before_anything_is_read),
      cmocka_unit_test(standard_input_is_a_text_too),
      cmocka_unit_test(a_file_in_parts_is_the_same_text),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
