/* token_shard: what was written comes back; what was not written by us, or was damaged, is checked.
 */
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
#include <hdf5.h>

#include "dataset/hdf5_file.h"
#include "dataset/token_shard.h"
#include "tests/scratch.h"

static const char TOKENIZER[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

enum { N = 5000, D = 50, VOCABULARY = 300 };

typedef struct {
  char *directory;
  uint32_t tokens[N];
  uint64_t documents[D + 1];
} fixture;

static int make_stream(void **state) {
  static fixture made;
  made.directory = scratch_create();
  for (uint32_t i = 0; i < N; ++i) made.tokens[i] = i * 7919 % VOCABULARY;
  for (uint32_t d = 0; d <= D; ++d) made.documents[d] = (uint64_t)d * N / D;
  *state = &made;
  return 0;
}

static int remove_all(void **state) {
  scratch_remove(((fixture *)*state)->directory);
  return 0;
}

static const char *write_shard(const fixture *made, const char *name, uint32_t vocabulary) {
  const char *path = scratch_path(made->directory, name);
  lap_status status = {0};
  if (lap_token_shard_write(path, made->tokens, N, made->documents, D, vocabulary, TOKENIZER,
                            &status) != LAP_OK)
    fail_msg("%s", status.message);
  return path;
}

static void assert_content(const fixture *made, const lap_token_shard *shard) {
  assert_int_equal(shard->token_count, N);
  assert_int_equal(shard->document_count, D);
  assert_memory_equal(shard->tokens, made->tokens, sizeof made->tokens);
  assert_memory_equal(shard->documents, made->documents, sizeof made->documents);
  assert_string_equal(shard->tokenizer_sha256, TOKENIZER);
}

static void assert_refused(const char *path, const char *says) {
  lap_token_shard *shard;
  lap_status status = {0};
  assert_int_equal(lap_token_shard_open(path, &shard, &status), LAP_DATA);
  assert_null(shard);
  if (!strstr(status.message, path) || !strstr(status.message, says))
    fail_msg("\"%s\" does not say \"%s\"", status.message, says);
}

static void what_was_written_comes_back(void **state) {
  const fixture *made = *state;
  const uint32_t vocabularies[] = {VOCABULARY, 1 << 16, (1 << 16) + 1, 256128};
  for (int i = 0; i < 4; ++i) {
    const char *path = write_shard(made, "round.h5", vocabularies[i]);
    lap_token_shard *shard;
    lap_status status = {0};
    assert_int_equal(lap_token_shard_open(path, &shard, &status), LAP_OK);
    assert_content(made, shard);
    assert_int_equal(shard->vocab_size, vocabularies[i]);
    char expected[LAP_SHA256_HEX];
    lap_tokens_sha256(made->tokens, N, expected);
    assert_string_equal(shard->tokens_sha256, expected);
    lap_token_shard_close(shard);
  }
}

static void what_a_killed_writer_left_is_removed_by_the_next(void **state) {
  const fixture *made = *state;
  const char *left = scratch_write(made->directory, "killed.h5.tmp.17.3", "half", 4);
  const char *other = scratch_write(made->directory, "killed.h5.old.tmp.17.3", "half", 4);
  write_shard(made, "killed.h5", VOCABULARY);
  assert_int_equal(access(left, F_OK), -1);
  assert_int_equal(access(other, F_OK), 0);
}

static void the_same_content_is_the_same_bytes_later(void **state) {
  const fixture *made = *state;
  size_t count, count_later;
  char *bytes = scratch_read(write_shard(made, "now.h5", VOCABULARY), &count);
  sleep(1); /* HDF5's times are whole seconds */
  char *later = scratch_read(write_shard(made, "later.h5", VOCABULARY), &count_later);
  assert_int_equal(count, count_later);
  assert_memory_equal(bytes, later, count);
  free(bytes);
  free(later);
}

static void a_truncated_file_is_refused(void **state) {
  const fixture *made = *state;
  size_t count;
  char *bytes = scratch_read(write_shard(made, "whole.h5", VOCABULARY), &count);
  for (size_t cut = 0; cut < count; cut += cut < 512 ? 16 : 97)
    assert_refused(scratch_write(made->directory, "cut.h5", bytes, cut), "");
  free(bytes);
}

/* Space that HDF5 does not use may be flipped without harm; content never changes unseen. */
static void a_flipped_bit_is_refused_or_harmless(void **state) {
  const fixture *made = *state;
  size_t count;
  char *bytes = scratch_read(write_shard(made, "whole.h5", VOCABULARY), &count);
  int refused = 0, trials = 0;
  for (size_t at = 0; at < count; at += 11, ++trials) {
    bytes[at] ^= (char)(1 << at % 8);
    const char *path = scratch_write(made->directory, "flipped.h5", bytes, count);
    bytes[at] ^= (char)(1 << at % 8);
    lap_token_shard *shard;
    lap_status status = {0};
    if (lap_token_shard_open(path, &shard, &status) != LAP_OK) {
      ++refused;
      continue;
    }
    assert_content(made, shard);
    assert_int_equal(shard->vocab_size, VOCABULARY);
    lap_token_shard_close(shard);
  }
  assert_true(refused > trials / 2);
  free(bytes);
}

static void what_is_not_a_file_is_refused(void **state) {
  const fixture *made = *state;
  assert_refused(scratch_path(made->directory, "missing.h5"), "No such file");
  assert_refused(made->directory, "not a whole HDF5 file");
  assert_refused(scratch_write(made->directory, "text.h5", "hello", 5), "not a whole HDF5 file");
}

/* Shards as h5py writes them. The prelude makes a plain valid one; each case edits it. */
static const char PRELUDE[] =
    "import h5py, numpy as np, hashlib, sys\n"
    "n = 5000\n"
    "tokens = (np.arange(n, dtype=np.uint64) * 7919 % 300).astype('<u4')\n"
    "documents = np.arange(51, dtype=np.uint64) * n // 50\n"
    "f = h5py.File(sys.argv[1], 'w')\n"
    "f.attrs['format'] = 'lapidary-tokens'\n"
    "f.attrs['format_version'] = 1\n"
    "f.attrs['vocab_size'] = 300\n"
    "f.attrs['tokenizer_sha256'] = 'a' * 64\n"
    "f.attrs['tokens_sha256'] = hashlib.sha256(tokens.tobytes()).hexdigest()\n"
    "f['tokens'] = tokens\n"
    "f['documents'] = documents\n";

static const char *write_with_h5py(const fixture *made, const char *edit) {
  char script[4096];
  const int length = snprintf(script, sizeof script, "%s%s\nf.close()\n", PRELUDE, edit);
  const char *source = scratch_write(made->directory, "make.py", script, (size_t)length);
  const char *path = scratch_path(made->directory, "made.h5");
  char command[2400];
  snprintf(command, sizeof command, "LD_PRELOAD= /usr/bin/python3 %s %s", source, path);
  if (system(command) != 0) fail_msg("the script failed:\n%s", edit);
  return path;
}

static void shards_by_h5py_are_read(void **state) {
  const fixture *made = *state;
  const char *const edits[] = {
      "",
      "del f['tokens']; f['tokens'] = tokens.astype('>i8')",
      "del f['tokens']; f['tokens'] = tokens.astype('i2')",
      "del f['documents']; f['documents'] = documents.astype('i4')",
      "del f['tokens']; f.create_dataset('tokens', data=tokens, chunks=(700,), compression=9)",
      "f.attrs['format'] = np.bytes_('lapidary-tokens')",
      "f.attrs.create('format', 'lapidary-tokens', dtype=h5py.string_dtype('ascii'))",
      "f.attrs.create('format', b'lapidary-tokens', dtype=h5py.string_dtype('utf-8', 40))",
      "f.attrs['format_version'] = np.uint8(1)",
      "f.attrs['vocab_size'] = np.array([300], dtype='>i2')",
      "f.attrs['note'] = 'x' * 10000; f['more'] = [1, 2]",
  };
  for (size_t i = 0; i < sizeof edits / sizeof *edits; ++i) {
    lap_token_shard *shard;
    lap_status status = {0};
    if (lap_token_shard_open(write_with_h5py(made, edits[i]), &shard, &status) != LAP_OK)
      fail_msg("%s: %s", edits[i], status.message);
    assert_content(made, shard);
    lap_token_shard_close(shard);
  }
}

static void shards_that_are_wrong_are_refused_by_name(void **state) {
  const fixture *made = *state;
  const struct {
    const char *edit, *says;
  } cases[] = {
      {"del f.attrs['format']", "attribute format is missing"},
      {"f.attrs['format'] = 'lapidary-teacher'",
       "expected \"lapidary-tokens\", found \"lapidary-teacher\""},
      {"f.attrs['format'] = 7", "format is not a string"},
      {"f.attrs['format'] = 'x' * 5000", "at most 4096 bytes"},
      {"f.attrs['format'] = 'a\\x1b[31m'", "control characters"},
      {"f.attrs['format_version'] = 2", "reads 1, found 2"},
      {"f.attrs['format_version'] = 'one'", "format_version is not an integer"},
      {"f.attrs['format_version'] = [1, 1]", "expected one value, found 2"},
      {"del f.attrs['vocab_size']", "attribute vocab_size is missing"},
      {"f.attrs['vocab_size'] = -5", "found -5"},
      {"f.attrs['vocab_size'] = 299", "expected 0 to 298"},
      {"f.attrs['tokenizer_sha256'] = 'A' * 64", "64 lower-case hex digits"},
      {"f.attrs['tokens_sha256'] = 'b' * 64", "do not match tokens_sha256"},
      {"del f.attrs['tokens_sha256']", "attribute tokens_sha256 is missing"},
      {"del f['tokens']", "dataset tokens is missing"},
      {"t = tokens.astype('i4'); t[4321] = -1; f['tokens'][...]; del f['tokens']; f['tokens'] = t",
       "tokens[4321] is -1"},
      {"t = tokens.astype('u8'); t[7] = 2**63 + 5; del f['tokens']; f['tokens'] = t",
       "tokens[7] is"},
      {"f['tokens'][9] = 1", "do not match tokens_sha256"},
      {"del f['tokens']; f['tokens'] = tokens.astype('f4')", "expected a plain integer type"},
      {"del f['tokens']; f['tokens'] = tokens.reshape(50, 100)", "expected 1 dimension, found 2"},
      {"del f['tokens']; f['tokens'] = np.zeros(0, 'u4')", "found 0"},
      {"del f['tokens']; f.create_dataset('tokens', (2**40,), 'u4', chunks=(1024,))",
       "found 1099511627776"},
      {"del f['tokens']; f.create_dataset('tokens', (2**30,), 'u4', chunks=(2**29,))",
       "chunks of more"},
      {"del f['tokens']; f.create_group('tokens')", "not a dataset"},
      {"f['real'] = tokens; del f['tokens']; f['tokens'] = h5py.SoftLink('/real')", "link"},
      {"del f['tokens']; f['tokens'] = h5py.ExternalLink('other.h5', '/tokens')", "link"},
      {"del f['tokens']; d = f.create_dataset('tokens', (5000,), h5py.vlen_dtype('u4'))",
       "plain integer"},
      {"del f['tokens']; f.create_dataset('tokens', (5000,), 'u4', external=[('/etc/passwd', 0, "
       "20000)])",
       "outside of the file"},
      {"del f['tokens']; v = h5py.VirtualLayout((5000,), 'u4'); "
       "v[:] = h5py.VirtualSource('other.h5', 'x', (5000,)); f.create_virtual_dataset('tokens', v)",
       "outside of the file"},
      {"del f['documents']", "dataset documents is missing"},
      {"f['documents'][0] = 3", "expected 0 first"},
      {"f['documents'][50] = 4999", "found 0 and 4999"},
      {"f['documents'][50] = 2**63", "documents[50]"},
      {"f['documents'][7] = 5; f['documents'][8] = 4", "documents[7] is 5"},
      {"d = documents.astype('i8'); d[3] = -1; del f['documents']; f['documents'] = d",
       "documents[3] is -1"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    assert_refused(write_with_h5py(made, cases[i].edit), cases[i].says);
}

static void a_set_opens_in_byte_order_and_refuses_strangers(void **state) {
  fixture *made = *state;
  const char *names[] = {"set-b.h5", "set-B.h5", "set-a.h5"};
  for (int i = 0; i < 3; ++i) {
    made->tokens[0] = (uint32_t)i;
    write_shard(made, names[i], VOCABULARY);
  }
  made->tokens[0] = 0;
  char pattern[1024];
  snprintf(pattern, sizeof pattern, "%s", scratch_path(made->directory, "set-*.h5"));
  lap_token_set set;
  lap_status status = {0};
  assert_int_equal(lap_token_set_open(pattern, &set, &status), LAP_OK);
  assert_int_equal(set.count, 3);
  assert_int_equal(set.token_count, 3 * N);
  assert_int_equal(set.shard[0]->tokens[0], 1);
  assert_int_equal(set.shard[1]->tokens[0], 2);
  assert_int_equal(set.shard[2]->tokens[0], 0);
  lap_token_set_close(&set);
  write_shard(made, "set-c.h5", VOCABULARY);
  assert_int_equal(lap_token_set_open(pattern, &set, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "1 shard holds the same tokens as another: "));
  write_shard(made, "set-d.h5", VOCABULARY); /* all pairs in one message */
  made->tokens[0] = 1;
  write_shard(made, "set-e.h5", VOCABULARY);
  made->tokens[0] = 0;
  assert_int_equal(lap_token_set_open(pattern, &set, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "3 shards hold the same tokens as another: "));
  assert_non_null(strstr(status.message, "set-c.h5 repeats "));
  assert_non_null(strstr(status.message, "set-d.h5 repeats "));
  assert_non_null(strstr(status.message, "set-e.h5 repeats "));
  char name[32];
  for (int i = 0; i < 30; ++i) { /* more than a message holds */
    snprintf(name, sizeof name, "set-f%d.h5", i);
    write_shard(made, name, VOCABULARY);
  }
  assert_int_equal(lap_token_set_open(pattern, &set, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "33 shards hold the same tokens"));
  assert_non_null(strstr(status.message, " more; remove what is there twice"));
  for (int i = 0; i < 30; ++i) {
    snprintf(name, sizeof name, "set-f%d.h5", i);
    remove(scratch_path(made->directory, name));
  }
  remove(scratch_path(made->directory, "set-d.h5"));
  remove(scratch_path(made->directory, "set-e.h5"));
  write_shard(made, "set-c.h5", VOCABULARY + 1);
  assert_int_equal(lap_token_set_open(pattern, &set, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "vocab_size 301"));
  assert_int_equal(lap_token_set_open(scratch_path(made->directory, "none-*"), &set, &status),
                   LAP_DATA);
  assert_non_null(strstr(status.message, "matches no file"));
}

static void a_full_disk_leaves_nothing(void **state) {
  fixture *made = *state;
  const char *path = scratch_path(made->directory, "full.h5");
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {2048, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  lap_status status = {0};
  const int entries = scratch_count(made->directory);
  const lap_code code = lap_token_shard_write(path, made->tokens, N, made->documents, D, VOCABULARY,
                                              TOKENIZER, &status);
  setrlimit(RLIMIT_FSIZE, &before);
  assert_int_equal(code, LAP_DATA);
  assert_non_null(strstr(status.message, "full.h5: cannot be written"));
  assert_non_null(strstr(status.message, "File too large"));
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(scratch_count(made->directory), entries);
  write_shard(made, "full.h5", VOCABULARY);
  assert_int_equal(
      lap_token_shard_write(scratch_path(made->directory, "full.h5/no.h5"), made->tokens, N,
                            made->documents, D, VOCABULARY, TOKENIZER, &status),
      LAP_DATA);
}

static void assert_checksummed(const lap_hdf5_dataset *dataset) {
  const hid_t creation = H5Dget_create_plist(dataset->id);
  unsigned flags;
  size_t values = 0;
  assert_true(H5Pget_filter_by_id2(creation, H5Z_FILTER_FLETCHER32, &flags, &values, NULL, 0, NULL,
                                   NULL) >= 0);
  H5Pclose(creation);
}

/* What teacher/ builds on: packed integers, half floats, two dimensions, rows read in parts. */
static void packed_rows_come_back(void **state) {
  const fixture *made = *state;
  enum { ROWS = 300, K = 64 };
  static uint32_t ids[ROWS][K], ids_back[ROWS][K];
  static float values[ROWS][K], values_back[ROWS][K];
  for (uint32_t i = 0; i < ROWS * K; ++i) {
    ids[i / K][i % K] = i * 2654435761u >> 14;
    values[i / K][i % K] = (float)(i % 512) / 64;
  }
  const hid_t packed = H5Tcopy(H5T_STD_U32LE), half = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_precision(packed, 18);
  H5Tset_fields(half, 15, 10, 5, 0, 10);
  H5Tset_size(half, 2);
  H5Tset_ebias(half, 15);
  const uint64_t dims[2] = {ROWS, K};
  lap_hdf5_file file;
  lap_hdf5_dataset dataset;
  lap_status status = {0};
  const char *path = scratch_path(made->directory, "packed.h5");
  assert_int_equal(lap_hdf5_create(path, &file, &status), LAP_OK);
  assert_int_equal(
      lap_hdf5_write_dataset(&file, "ids", 2, dims, packed, H5T_NATIVE_UINT32, ids, &status),
      LAP_OK);
  assert_int_equal(
      lap_hdf5_write_dataset(&file, "values", 2, dims, half, H5T_NATIVE_FLOAT, values, &status),
      LAP_OK);
  assert_int_equal(lap_hdf5_end(&file, LAP_OK, &status), LAP_OK);
  H5Tclose(packed);
  H5Tclose(half);
  assert_int_equal(lap_hdf5_open(path, &file, &status), LAP_OK);
  assert_int_equal(
      lap_hdf5_open_dataset(&file, "ids", LAP_HDF5_INTEGER, 2, dims, &dataset, &status), LAP_OK);
  assert_checksummed(&dataset);
  for (uint64_t row = 0; row < ROWS; row += 7)
    assert_int_equal(lap_hdf5_read_rows(&dataset, row, ROWS - row < 7 ? ROWS - row : 7,
                                        H5T_NATIVE_UINT32, ids_back[row], &status),
                     LAP_OK);
  lap_hdf5_close_dataset(&dataset);
  assert_int_equal(
      lap_hdf5_open_dataset(&file, "values", LAP_HDF5_INTEGER, 2, dims, &dataset, &status),
      LAP_DATA);
  assert_int_equal(
      lap_hdf5_open_dataset(&file, "values", LAP_HDF5_FLOAT, 2, dims, &dataset, &status), LAP_OK);
  assert_int_equal(lap_hdf5_read_rows(&dataset, 0, ROWS, H5T_NATIVE_FLOAT, values_back, &status),
                   LAP_OK);
  lap_hdf5_close_dataset(&dataset);
  lap_hdf5_close(&file);
  assert_memory_equal(ids, ids_back, sizeof ids);
  assert_memory_equal(values, values_back, sizeof values);
  assert_int_equal(lap_hdf5_create(path, &file, &status), LAP_OK);
  assert_int_equal(lap_hdf5_end(&file, LAP_DATA, &status), LAP_DATA);
  assert_int_equal(lap_hdf5_open(path, &file, &status), LAP_OK); /* as it was before */
  assert_true(lap_hdf5_has_dataset(&file, "values"));
  lap_hdf5_close(&file);
  assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

/* HDF5 1.10 leaks what it had parsed of a damaged file; its open objects are counted above instead.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

/* Sizes without tokens, as plan asks for them: N tokens in windows of 99 rows and one of 50. */
static void a_set_is_measured_by_its_headers(void **state) {
  const fixture *made = *state;
  mkdir(scratch_path(made->directory, "measured"), 0777);
  lap_status status = {0};
  const char *pattern = scratch_path(made->directory, "measured/*.h5");
  lap_token_set_size size;
  assert_int_equal(lap_token_set_measure(pattern, 100, &size, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "matches no file"));
  write_shard(made, "measured/a.h5", VOCABULARY);
  write_shard(made, "measured/b.h5", VOCABULARY);
  assert_int_equal(lap_token_set_measure(pattern, 100, &size, &status), LAP_OK);
  assert_int_equal(size.windows, 2 * 51);
  assert_int_equal(size.largest, N);
  assert_int_equal(size.bytes, 2 * (sizeof made->tokens + sizeof made->documents));
  const char *bad = scratch_write(made->directory, "measured/c.h5", "no HDF5", 7);
  assert_int_equal(lap_token_set_measure(pattern, 100, &size, &status), LAP_DATA);
  assert_non_null(strstr(status.message, bad));
}

/* Reading the first page of one's own memory is an I/O error. */
static void a_disk_that_does_not_give_a_file_is_not_called_a_damaged_file(void **state) {
  (void)state;
  lap_hdf5_file file;
  lap_status status = {0};
  assert_int_equal(lap_hdf5_open("/proc/self/mem", &file, &status), LAP_DATA);
  assert_string_equal(status.message, "/proc/self/mem: cannot be read: Input/output error");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_written_comes_back),
      cmocka_unit_test(what_a_killed_writer_left_is_removed_by_the_next),
      cmocka_unit_test(the_same_content_is_the_same_bytes_later),
      cmocka_unit_test(a_truncated_file_is_refused),
      cmocka_unit_test(a_flipped_bit_is_refused_or_harmless),
      cmocka_unit_test(what_is_not_a_file_is_refused),
      cmocka_unit_test(shards_by_h5py_are_read),
      cmocka_unit_test(shards_that_are_wrong_are_refused_by_name),
      cmocka_unit_test(a_set_opens_in_byte_order_and_refuses_strangers),
      cmocka_unit_test(a_set_is_measured_by_its_headers),
      cmocka_unit_test(a_full_disk_leaves_nothing),
      cmocka_unit_test(packed_rows_come_back),
      cmocka_unit_test(a_disk_that_does_not_give_a_file_is_not_called_a_damaged_file),
  };
  return cmocka_run_group_tests(tests, make_stream, remove_all);
}
