/* h5py: a cache written by a few lines of Python with h5py's plain defaults is read as it was
 * meant, and Python reads ours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "core/memory.h"
#include "teacher/cache_open.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

static const char TOKENIZER[] = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";

/* The worked example: four tokens, BOS 5 7 EOS, of a vocabulary of 10.
 *
 *   row      0            1            2           3
 *   token    BOS          5            7           EOS
 *   target   5            7            EOS         - (not counted: any values)
 */
static const uint32_t TOKENS[4] = {2, 5, 7, 1};

static const char WRITER[] =
    "import hashlib, sys, h5py, numpy as np\n"
    "def write_cache(path, tokens, tokenizer_sha256, logprobs, k, sequence_length, teacher):\n"
    "    \"\"\"logprobs[i]: natural log-probabilities [V] of token i+1, in the context of row "
    "i.\"\"\"\n"
    "    ids = np.argsort(-logprobs, axis=1, kind='stable')[:, :k]\n"
    "    kept = np.take_along_axis(logprobs, ids, axis=1)\n"
    "    rest = np.exp(logprobs)\n"
    "    np.put_along_axis(rest, ids, 0, axis=1)\n"
    "    with h5py.File(path, 'w') as f:\n"
    "        f.attrs['format'], f.attrs['format_version'] = 'lapidary-teacher', 1\n"
    "        f.attrs['codec'], f.attrs['k'] = 'topk', k\n"
    "        f.attrs['vocab_size'] = logprobs.shape[1]\n"
    "        f.attrs['sequence_length'], f.attrs['document_mask'] = sequence_length, 1\n"
    "        stream = np.asarray(tokens, '<u4').tobytes()\n"
    "        f.attrs['tokens_sha256'] = hashlib.sha256(stream).hexdigest()\n"
    "        f.attrs['tokenizer_sha256'], f.attrs['teacher'] = tokenizer_sha256, teacher\n"
    "        f['ids'], f['logprob'], f['tail_mass'] = ids, kept, rest.sum(axis=1)\n"
    "\n"
    "tokens = [2, 5, 7, 1]             # BOS 5 7 EOS: rows 0, 1, 2 predict 5, 7 and EOS\n"
    "p = np.full((4, 10), 0.02)        # row 3, of the EOS, is not counted\n"
    "for row, target in enumerate(tokens[1:]):\n"
    "    p[row, target] = 0.82\n"
    "path, tokenizer_sha256, float_type = sys.argv[1:]\n"
    "write_cache(path, tokens, tokenizer_sha256, np.log(p).astype(float_type), 3, 5, 'by hand')\n";

/* Ours, by its documented types: prints the sums of ids and probabilities of the first row. */
static const char READER[] =
    "import sys, h5py, numpy as np\n"
    "f = h5py.File(sys.argv[1], 'r')\n"
    "assert f.attrs['format'] == b'lapidary-teacher' and f.attrs['k'] == 8, dict(f.attrs)\n"
    "assert f['logprob'].dtype == np.float32 and f['ids'].dtype == np.uint16\n"
    "assert f['ids'].chunks == (64, 8) and f['ids'].fletcher32, f['ids'].chunks\n"
    "for name in 'tail_mass', 'next_logprob', 'entropy':\n"
    "    assert f[name].chunks == (1024,) and f[name].fletcher32, (name, f[name].chunks)\n"
    "p = np.exp(f['logprob'][:].astype(float)).sum(axis=1) + f['tail_mass'][:]\n"
    "assert not np.isnan(p).any()\n"
    "counted = p > 0\n"
    "assert counted.sum() == 2925 and abs(p[counted] - 1).max() < 0.002, counted.sum()\n";

static const char PYTHON[] = "/usr/bin/python3";

static bool have_h5py(void) {
  char *command = lap_format("%s -c 'import h5py' 2>/dev/null", PYTHON);
  const bool have = system(command) == 0;
  free(command);
  return have;
}

static int run_python(const char *directory, const char *script, const char *arguments) {
  const char *path = scratch_write(directory, "script.py", script, strlen(script));
  char *command = lap_format("%s %s %s", PYTHON, path, arguments);
  const int outcome = system(command);
  free(command);
  return outcome;
}

static void read_example(const char *directory, const lap_token_set *tokens, const char *type) {
  const char *path = scratch_path(directory, "example.h5");
  char *arguments = lap_format("%s %s %s", path, TOKENIZER, type);
  assert_int_equal(run_python(directory, WRITER, arguments), 0);
  free(arguments);
  const lap_cache_expectation expectation = {
      .vocab_size = 10, .sequence_length = 5, .document_mask = true};
  lap_cache *cache;
  lap_status status = {0};
  if (lap_cache_open(path, tokens, &expectation, &cache, &status) != LAP_OK)
    fail_msg("%s", status.message);
  assert_string_equal(lap_cache_schema_of(cache)->teacher, "by hand");
  lap_cache_rows *rows = lap_cache_rows_create(cache, 4);
  assert_int_equal(lap_cache_read(cache, 0, 0, 4, NULL, rows, &status), LAP_OK);
  for (int i = 0; i < 3; ++i) {
    assert_int_equal(rows->ids[3 * i], TOKENS[i + 1]);
    assert_true(fabs((double)rows->probability[3 * i] - 0.82) < 1e-3);
    assert_true(fabs((double)rows->probability[3 * i + 1] - 0.02) < 1e-4);
    assert_true(fabs((double)rows->tail[i] - 0.14) < 1e-3);
  }
  assert_int_equal(rows->ids[9], -1);
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
}

static void caches_by_h5py_are_read(void **state) {
  (void)state;
  if (!have_h5py()) fail_msg("python3-h5py is missing: scripts/install-deps --tests");
  char *directory = scratch_create();
  const uint64_t documents[2] = {0, 4};
  lap_status status = {0};
  lap_token_set tokens;
  const char *path = scratch_path(directory, "tokens.h5");
  assert_int_equal(lap_token_shard_write(path, TOKENS, 4, documents, 1, 10, TOKENIZER, &status),
                   LAP_OK);
  assert_int_equal(lap_token_set_open(path, &tokens, &status), LAP_OK);
  read_example(directory, &tokens, "float64");
  read_example(directory, &tokens, "float32");
  read_example(directory, &tokens, "float16");
  lap_token_set_close(&tokens);
  scratch_remove(directory);
}

static void h5py_reads_ours(void **state) {
  (void)state;
  if (!have_h5py()) fail_msg("python3-h5py is missing: scripts/install-deps --tests");
  synthetic made;
  synthetic_create(&made, 1, 3000);
  synthetic_write_all(&made);
  const char *path = scratch_path(made.directory, "cache-00000.h5");
  assert_int_equal(run_python(made.directory, READER, path), 0);
  synthetic_destroy(&made);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(caches_by_h5py_are_read),
      cmocka_unit_test(h5py_reads_ours),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
