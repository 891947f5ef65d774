/* export: the command, from a Hugging Face directory to another one. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "tests/scratch.h"
#include "tests/train_tokenizer.h"
#include "trainer/commands/entries.h"
#include "trainer/hf/config.h"
#include "trainer/hf/safetensors.h"
#include "trainer/hf/weights.h"

static const lap_gemma2_config model = {.vocab_size = 300,
                                        .hidden_size = 8,
                                        .intermediate_size = 12,
                                        .num_hidden_layers = 2,
                                        .num_attention_heads = 2,
                                        .num_key_value_heads = 1,
                                        .head_dim = 6,
                                        .sliding_window = 3,
                                        .query_pre_attn_scalar = 6,
                                        .attn_logit_softcapping = 50,
                                        .rope_theta = 10000,
                                        .rms_norm_eps = 1e-6,
                                        .max_position_embeddings = 16,
                                        .sliding = {true, false}};
enum { MOST = 32, EMBEDDING_BYTES = 300 * 8 * 4 };

static char *directory;
static lap_parameters *parameters;
static float *weights;

static void write_source(const char *config) {
  lap_safetensors_source tensor[MOST];
  lap_status status = {0};
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    tensor[i] = (lap_safetensors_source){p->name,
                                         LAP_DTYPE_F32,
                                         p->is_norm ? 1 : 2,
                                         {p->is_norm ? p->columns : p->rows, p->columns},
                                         weights + p->offset};
  }
  assert_int_equal(mkdir(scratch_path(directory, "source"), 0777), 0);
  scratch_write(directory, "source/config.json", config, strlen(config));
  if (lap_safetensors_write(scratch_path(directory, "source/model.safetensors"), tensor,
                            (size_t)parameters->count, &status) != LAP_OK)
    fail_msg("%s", status.message);
}

static int set_up(void **state) {
  (void)state;
  directory = scratch_create();
  parameters = lap_parameters_create(&model);
  weights = lap_allocate(parameters->elements, sizeof *weights);
  lap_parameters_initialise(parameters, 3, 0, parameters->elements, weights);
  lap_status status = {0};
  json_t *config;
  assert_int_equal(lap_hf_config_make(&model, &config, &status), LAP_OK);
  char *text = lap_hf_print_json(config);
  write_source(text);
  free(text);
  json_decref(config);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  lap_parameters_destroy(parameters);
  free(weights);
  scratch_remove(directory);
  return 0;
}

/* Runs `lapidary export SOURCE` with more words, separated by blanks; %s is the test's directory.
 */
static lap_code run_export(const char *words, lap_status *status) {
  enum { MOST_WORDS = 16 };
  char source[512], copy[1024], *argv[MOST_WORDS] = {"lapidary export", source};
  int argc = 2;
  *status = (lap_status){0};
  snprintf(source, sizeof source, "%s/source", directory);
  char *at = copy;
  for (const char *next; (next = strstr(words, "%s")); words = next + 2)
    at += sprintf(at, "%.*s%s", (int)(next - words), words, directory);
  strcpy(at, words);
  for (char *word = strtok(copy, " "); word && argc < MOST_WORDS - 1; word = strtok(NULL, " "))
    argv[argc++] = word;
  return lap_command_export.run(&lap_command_export, argc, argv, status);
}

static void assert_exported(const char *words) {
  lap_status status;
  if (run_export(words, &status) != LAP_OK) fail_msg("%s", status.message);
}

/* Refused with nothing left beside the `things` that were there. */
static void assert_refused(const char *words, lap_code code, const char *fragment, int things) {
  lap_status status;
  const lap_code found = run_export(words, &status);
  if (found != code || !strstr(status.message, fragment))
    fail_msg("code %d, '%s' instead of %d, '%s'", found, status.message, code, fragment);
  assert_int_equal(scratch_count(directory), things);
}

static void assert_same_file(const char *name, const char *other) {
  size_t count, other_count;
  char *bytes = scratch_read(scratch_path(directory, name), &count);
  char *other_bytes = scratch_read(scratch_path(directory, other), &other_count);
  assert_int_equal(count, other_count);
  assert_memory_equal(bytes, other_bytes, count);
  free(bytes);
  free(other_bytes);
}

/* --- tests --- */

static void a_directory_comes_back(void **state) {
  (void)state;
  assert_exported("--format hf --out %s/new/out/");
  assert_same_file("new/out/config.json", "source/config.json");
  assert_same_file("new/out/model.safetensors", "source/model.safetensors");
  assert_int_equal(scratch_count(scratch_path(directory, "new/out")), 3);
  assert_int_equal(scratch_count(scratch_path(directory, "new")), 1);
}

/* transformers reads the first file, and other programs the second. */
static void what_ends_a_text_goes_with_the_model(void **state) {
  (void)state;
  static const char source[] = "{\"eos_token_id\": [1, 107, 4, 107, 300]}";
  scratch_write(directory, "source/generation_config.json", source, sizeof source - 1);
  assert_exported("--format hf --out %s/out");
  static const char *const names[] = {"out/generation_config.json", "out/config.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    json_t *object, *expected = json_pack("[i, i, i]", 1, 107, 4);
    lap_status status = {0};
    assert_int_equal(
        lap_json_read_file(scratch_path(directory, names[i]), 1 << 20, &object, &status), LAP_OK);
    assert_true(json_equal(json_object_get(object, "eos_token_id"), expected));
    json_decref(object);
    json_decref(expected);
  }
}

static void large_weights_are_spread_over_files(void **state) {
  (void)state;
  lap_status status = {0};
  assert_exported("--format hf --out %s/out --shard-bytes 3000");
  json_t *index;
  assert_int_equal(lap_json_read_file(scratch_path(directory, "out/model.safetensors.index.json"),
                                      1 << 20, &index, &status),
                   LAP_OK);
  const json_t *map = json_object_get(index, "weight_map");
  assert_int_equal(json_object_size(map), parameters->count);
  int64_t bytes = 0;
  for (int i = 0; i < parameters->count; ++i) bytes += parameters->parameter[i].elements * 4;
  assert_int_equal(
      json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), bytes);
  /* The embedding is larger than the limit and has a file of its own; two more have the rest. */
  assert_string_equal(json_string_value(json_object_get(map, "model.embed_tokens.weight")),
                      "model-00001-of-00003.safetensors");
  json_decref(index);
  for (int i = 1; i <= 3; ++i) {
    struct stat facts;
    char *name = lap_format("out/model-%05d-of-00003.safetensors", i);
    assert_int_equal(stat(scratch_path(directory, name), &facts), 0);
    assert_true(facts.st_size < (i == 1 ? EMBEDDING_BYTES : 3000) + 4096); /* and a header */
    free(name);
  }
  float *read = lap_allocate(parameters->elements, sizeof *read);
  assert_int_equal(
      lap_hf_weights_read_float(scratch_path(directory, "out"), parameters, read, &status), LAP_OK);
  assert_memory_equal(read, weights, (size_t)parameters->elements * sizeof *read);
  free(read);
}

static void the_command_line_is_checked(void **state) {
  (void)state;
  assert_refused("--format hf", LAP_USAGE, "--out PATH are needed", 1);
  assert_refused("--out %s/out", LAP_USAGE, "--format FORMAT", 1);
  assert_refused("--format onnx --out %s/out", LAP_USAGE, "found 'onnx'", 1);
  assert_refused("--format hf --out %s/out --shard-bytes 0", LAP_USAGE, "--shard-bytes", 1);
  assert_refused("--format gguf --out %s/out --shard-bytes 3000", LAP_USAGE,
                 "--shard-bytes: of --format hf", 1);
  assert_refused("--format hf --out %s/source/config.json/out", LAP_DATA, "config.json", 1);
}

static void what_is_there_is_left_alone(void **state) {
  (void)state;
  assert_refused("--format hf --out %s/source", LAP_USAGE, "source: exists", 1);
  assert_int_equal(mkdir(scratch_path(directory, "empty"), 0777), 0);
  assert_refused("--format hf --out %s/empty/", LAP_USAGE, "exists", 2);
  scratch_write(directory, "file", "x", 1);
  assert_refused("--format hf --out %s/file", LAP_USAGE, "exists", 3);
  assert_int_equal(scratch_count(scratch_path(directory, "empty")), 0);
}

static void a_model_that_transformers_cannot_take_is_refused(void **state) {
  (void)state;
  static const char config[] =
      "{\"model_type\": \"gemma2\", \"vocab_size\": 300, \"hidden_size\": 8, "
      "\"intermediate_size\": 12, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
      "\"num_key_value_heads\": 1, \"head_dim\": 6, \"query_pre_attn_scalar\": 6.5}";
  scratch_write(directory, "source/config.json", config, sizeof config - 1);
  assert_refused("--format hf --out %s/out", LAP_USAGE, "query_pre_attn_scalar is 6.5", 1);
}

static void a_tokenizer_goes_with_the_model(void **state) {
  (void)state;
  static const char text[] = "In the beginning God created the heaven and the earth.\n";
  char text_path[512], model_path[512];
  lap_status status = {0};
  snprintf(text_path, sizeof text_path, "%s", scratch_write(directory, "text", text, 55));
  snprintf(model_path, sizeof model_path, "%s/source/tokenizer.model", directory);
  const char *texts[] = {text_path};
  assert_int_equal(train_tokenizer_on(texts, 1, 290, model_path, &status), LAP_OK);
  assert_exported("--format hf --out %s/out");
  assert_same_file("out/tokenizer.model", "source/tokenizer.model");
  assert_true(lap_file_exists(scratch_path(directory, "out/tokenizer.json")));
  assert_true(lap_file_exists(scratch_path(directory, "out/tokenizer_config.json")));
  assert_int_equal(scratch_count(scratch_path(directory, "out")), 6);
  static const char *const longer[] = {
      "In the beginning God created the heaven and the earth, "
      "and darkness was upon the face of the deep waters.\n"};
  scratch_write(directory, "text", longer[0], strlen(longer[0]));
  assert_int_equal(train_tokenizer_on(texts, 1, 304, model_path, &status), LAP_OK);
  assert_refused("--format hf --out %s/other", LAP_DATA, "has 304 pieces", 3);
  scratch_write(directory, "source/tokenizer.model", "\x0a\x04oops", 6);
  assert_refused("--format hf --out %s/other", LAP_DATA, "tokenizer.model", 3);
}

/* In a child, whose files may not grow: what a full disk does. */
static void a_full_disk_leaves_nothing(void **state) {
  (void)state;
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit limit = {4096, 4096};
    lap_status status;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    const lap_code code = run_export("--format hf --out %s/out", &status);
    _exit(code == LAP_DATA && strstr(status.message, "model.safetensors") ? 0 : 1);
  }
  int ending;
  assert_int_equal(waitpid(child, &ending, 0), child);
  assert_int_equal(ending, 0);
  assert_int_equal(scratch_count(directory), 1);
}

static void what_a_killed_export_left_is_removed(void **state) {
  (void)state;
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, NULL, 0);
  char host[256];
  assert_int_equal(gethostname(host, sizeof host), 0);
  char *left = lap_format("%s/out.writing-%s-%d-0", directory, host, (int)child);
  char *file = lap_format("%s/config.json", left);
  assert_int_equal(mkdir(left, 0777), 0);
  lap_status status = {0};
  assert_int_equal(lap_file_write(file, "{", 1, &status), LAP_OK);
  assert_exported("--format hf --out %s/out");
  assert_int_equal(scratch_count(directory), 2);
  free(left);
  free(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_directory_comes_back),
      TEST(what_ends_a_text_goes_with_the_model),
      TEST(large_weights_are_spread_over_files),
      TEST(the_command_line_is_checked),
      TEST(what_is_there_is_left_alone),
      TEST(a_model_that_transformers_cannot_take_is_refused),
      TEST(a_tokenizer_goes_with_the_model),
      TEST(a_full_disk_leaves_nothing),
      TEST(what_a_killed_export_left_is_removed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
