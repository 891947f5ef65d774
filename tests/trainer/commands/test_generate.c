/* generate: the command, seen from outside: a small checkpoint is written, the program run on it,
 * and its exit code, stdout and stderr read. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "autograd/gemma2/decode.h"
#include "autograd/gemma2/model.h"
#include "autograd/kernel/blas.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"
#include "dataset/tokenizer.h"
#include "tests/scratch.h"
#include "tests/train_tokenizer.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/config/config.h"
#include "trainer/config/load.h"
#include "trainer/config/value.h"
#include "trainer/generate/text_stream.h"

enum { PIECES = 300, PADDED_VOCABULARY = 340, POSITIONS = 48 };

typedef struct {
  char *directory;
  lap_comm *comm;
  lap_config *config;
  lap_parameters *parameters;
  lap_tokenizer *tokenizer;
  lap_state *state;
} fixture;

static void must(lap_code code, const lap_status *status) {
  if (code != LAP_OK) fail_msg("%s", status->message);
}

/* Writes DIRECTORY/NAME as a checkpoint of weights with this tokenizer (NULL: none). */
static void write_checkpoint(const fixture *f, const char *name, const char *tokenizer) {
  lap_status status = {0};
  char *path = lap_format("%s/%s", f->directory, name), *config = lap_config_print(f->config);
  const lap_checkpoint_extras extras = {.config_text = config, .tokenizer_path = tokenizer};
  must(lap_checkpoint_write_weights(path, f->state, &extras, &status), &status);
  free(config);
  free(path);
}

static void make_tokenizer(const fixture *f, const char *name, uint32_t pieces) {
  lap_status status = {0};
  char *text = lap_format("%s/text.txt", f->directory),
       *path = lap_format("%s/%s", f->directory, name);
  FILE *file = fopen(text, "w");
  assert_non_null(file);
  for (int i = 0; i < 400; ++i)
    fprintf(file, "In the %d. beginning was the word, and \xC3\xA9t\xC3\xA9 number %d of it.\n", i,
            i * 7919 % 1000);
  assert_int_equal(fclose(file), 0);
  const char *const texts[] = {text};
  must(train_tokenizer_on(texts, 1, pieces, path, &status), &status);
  free(text);
  free(path);
}

static int set_up(void **state) {
  static fixture f;
  lap_status status = {0};
  f.directory = scratch_create();
  make_tokenizer(&f, "small.model", PIECES);
  make_tokenizer(&f, "large.model", PADDED_VOCABULARY + 10);
  static const char config[] =
      "model: {vocab_size: 340, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2,\n"
      "  num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 5,\n"
      "  query_pre_attn_scalar: 8, max_position_embeddings: 48}\n";
  must(lap_config_parse("config", config, strlen(config), NULL, 0, &f.config, &status), &status);
  must(lap_comm_start(&f.comm, LAP_WATCHDOG_SECONDS, &status), &status);
  f.parameters = lap_parameters_create(&f.config->model);
  f.state = lap_state_create_alone(&f.config->model, f.comm);
  lap_parameters_initialise(f.parameters, 5, 0, f.parameters->elements,
                            f.state->values[LAP_WEIGHT]);
  char *small = lap_format("%s/small.model", f.directory);
  char *large = lap_format("%s/large.model", f.directory);
  must(lap_tokenizer_open(small, &f.tokenizer, &status), &status);
  write_checkpoint(&f, "model", small);
  write_checkpoint(&f, "no_tokenizer", NULL);
  write_checkpoint(&f, "large_tokenizer", large);
  free(small);
  free(large);
  *state = &f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  lap_state_destroy(f->state);
  lap_parameters_destroy(f->parameters);
  lap_tokenizer_close(f->tokenizer);
  lap_config_destroy(f->config);
  lap_comm_finish(f->comm);
  scratch_remove(f->directory);
  return 0;
}

/* --- running --- */

typedef struct {
  int code;
  char *out, *err; /* NUL-terminated */
  size_t out_bytes;
} outcome;

static char *read_whole(const fixture *f, const char *name, size_t *bytes) {
  char *path = lap_format("%s/%s", f->directory, name);
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  char *text = lap_allocate(1 << 20, 1);
  *bytes = fread(text, 1, (1 << 20) - 1, file);
  fclose(file);
  free(path);
  return text;
}

/* Runs `lapidary generate ARGUMENTS` by the shell in the fixture's directory. */
static outcome run(const fixture *f, const char *arguments) {
  char *line = lap_format("cd %s && exec >out 2>err && %s generate --threads 2 %s", f->directory,
                          LAPIDARY_PROGRAM, arguments);
  const int ended = system(line);
  free(line);
  assert_true(WIFEXITED(ended));
  outcome result = {.code = WEXITSTATUS(ended)};
  size_t err_bytes;
  result.out = read_whole(f, "out", &result.out_bytes);
  result.err = read_whole(f, "err", &err_bytes);
  return result;
}

static void release(outcome *result) {
  free(result->out);
  free(result->err);
}

/* Runs with --json; the text before the last line of stdout stays in *streamed. */
static json_t *run_json(const fixture *f, const char *arguments, char **streamed,
                        size_t *streamed_bytes) {
  char *with_json = lap_format("%s --json", arguments);
  outcome result = run(f, with_json);
  free(with_json);
  if (result.code != LAP_OK) fail_msg("code %d: %s", result.code, result.err);
  assert_true(result.out_bytes > 0 && result.out[result.out_bytes - 1] == '\n');
  size_t last = result.out_bytes - 1;
  while (last > 0 && result.out[last - 1] != '\n') --last;
  json_t *object = json_loadb(result.out + last, result.out_bytes - last, JSON_ALLOW_NUL, NULL);
  assert_non_null(object);
  if (streamed) {
    *streamed = lap_allocate(last + 1, 1);
    memcpy(*streamed, result.out, last);
    *streamed_bytes = last;
  }
  release(&result);
  return object;
}

static int64_t token_at(const json_t *object, size_t i) {
  return json_integer_value(json_array_get(json_object_get(object, "tokens"), i));
}

static size_t token_count(const json_t *object) {
  return json_array_size(json_object_get(object, "tokens"));
}

/* --- tests --- */

/* At temperature 0 each token is the likeliest one of a forward pass over all that came before. */
static void check_greedy(const fixture *f, const char *prompt) {
  char *arguments = lap_format("model --prompt '%s' -t 0 -n 20", prompt);
  json_t *object = run_json(f, arguments, NULL, NULL);
  free(arguments);
  int32_t tokens[POSITIONS] = {LAP_BOS}, document_start[POSITIONS] = {0};
  const uint32_t *ids;
  size_t prompt_count;
  lap_status status = {0};
  must(lap_tokenizer_encode(f->tokenizer, prompt, strlen(prompt), &ids, &prompt_count, &status),
       &status);
  for (size_t i = 0; i < prompt_count; ++i) tokens[1 + i] = (int32_t)ids[i];
  assert_int_equal(json_integer_value(json_object_get(object, "prompt_tokens")), 1 + prompt_count);
  const size_t count = token_count(object);
  assert_true(count > 3);
  for (size_t i = 0; i < count; ++i) tokens[1 + prompt_count + i] = (int32_t)token_at(object, i);
  const int64_t length = (int64_t)(1 + prompt_count + count);
  lap_gemma2 *model =
      lap_gemma2_record(&f->config->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_HIDDEN,
                                                                   .sequences = 1,
                                                                   .length = length,
                                                                   .threads = 64,
                                                                   .allocate = true});
  const lap_batch batch = {
      .sequences = 1, .length = length, .tokens = tokens, .document_start = document_start};
  lap_gemma2_run(model, f->state->values[LAP_WEIGHT], NULL, &batch, NULL);
  float logits[PADDED_VOCABULARY];
  for (size_t i = 0; i < count; ++i) {
    lap_gemma2_logits(model, f->state->values[LAP_WEIGHT], (int64_t)(prompt_count + i), 1, logits);
    const float chosen = logits[token_at(object, i)];
    for (int64_t id = 0; id < PIECES; ++id) assert_true(logits[id] <= chosen + 1e-5f);
  }
  lap_gemma2_destroy(model);
  json_decref(object);
}

static void greedy_text_is_that_of_the_forward_pass(void **state) {
  check_greedy(*state, "In the beginning");
  check_greedy(*state, "number 12 of it. In the 13.");
  check_greedy(*state, "");
}

static void what_streams_is_the_text_of_the_tokens(void **state) {
  const fixture *f = *state;
  for (int seed = 1; seed <= 5; ++seed) {
    char *arguments = lap_format("model --prompt 'the word' -t 3 -n 40 --seed %d", seed);
    char *streamed;
    size_t bytes;
    json_t *object = run_json(f, arguments, &streamed, &bytes);
    const json_t *text = json_object_get(object, "text");
    /* The text, the newline after it; all of it UTF-8 although byte pieces are drawn freely. */
    assert_int_equal(json_string_length(text) + 1, bytes);
    assert_memory_equal(json_string_value(text), streamed, bytes - 1);
    assert_int_equal(streamed[bytes - 1], '\n');
    for (size_t at = 0, length; at < bytes; at += length)
      assert_true((length = lap_utf8_character(streamed + at, bytes - at)) > 0);
    for (size_t i = 0; i < token_count(object); ++i) assert_true(token_at(object, i) < PIECES);
    const json_t *samples = json_object_get(object, "samples");
    assert_int_equal(json_array_size(samples), 1);
    assert_true(json_equal(json_object_get(json_array_get(samples, 0), "tokens"),
                           json_object_get(object, "tokens")));
    json_decref(object);
    free(streamed);
    free(arguments);
  }
}

/* A socket of records keeps what was written at once together. */
static pid_t start_on_socket(const fixture *f, int *socket) {
  int ends[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
  char *model = lap_format("%s/model", f->directory);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl(LAPIDARY_PROGRAM, "lapidary", "generate", model, "--prompt", "the word", "-t", "3", "-n",
          "40", "--json", "--quiet", (char *)NULL);
    _exit(127);
  }
  close(ends[1]);
  free(model);
  *socket = ends[0];
  return child;
}

/* Every token is written when it is chosen, as far as it ends in a whole character. */
static void every_token_is_written_by_itself(void **state) {
  const fixture *f = *state;
  enum { MOST = 64 };
  static char records[MOST][1 << 14];
  ssize_t bytes[MOST];
  int socket, ended;
  size_t count = 0;
  const pid_t child = start_on_socket(f, &socket);
  while (count < MOST && (bytes[count] = read(socket, records[count], sizeof *records)) > 0)
    ++count;
  close(socket);
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);

  assert_true(count > 10);
  json_t *object = json_loadb(records[count - 1], (size_t)bytes[count - 1], JSON_ALLOW_NUL, NULL);
  assert_non_null(object);
  lap_text_stream stream = {.bytes = 0};
  size_t record = 0;
  for (size_t i = 0; i <= token_count(object); ++i) {
    const uint32_t token = i < token_count(object) ? (uint32_t)token_at(object, i) : 0;
    size_t text_bytes;
    char *text = lap_tokenizer_decode(f->tokenizer, &token, 1, &text_bytes);
    const size_t given = i < token_count(object) ? lap_text_stream_push(&stream, text, text_bytes)
                                                 : lap_text_stream_finish(&stream);
    free(text);
    if (given == 0) continue;
    assert_true(record + 2 < count);
    assert_int_equal(bytes[record], given);
    assert_memory_equal(records[record], stream.text + stream.bytes - given, given);
    ++record;
  }
  assert_int_equal(record + 2, count); /* the newline and the JSON */
  assert_true(record > 10);
  lap_text_stream_release(&stream);
  json_decref(object);
}

static void figures_are_there(void **state) {
  const fixture *f = *state;
  json_t *object = run_json(f, "model -p '' -n 8 -t 0", NULL, NULL);
  assert_int_equal(json_integer_value(json_object_get(object, "prompt_tokens")), 1);
  assert_true(json_real_value(json_object_get(object, "prefill_tokens_per_second")) > 0);
  assert_true(json_real_value(json_object_get(object, "decode_tokens_per_second")) > 0);
  const double read = json_real_value(json_object_get(object, "read_gbps"));
  const double share = json_real_value(json_object_get(object, "bandwidth_share"));
  assert_true(read > 0 && json_real_value(json_object_get(object, "read_bytes_per_token")) > 0);
  assert_float_equal(share, read / json_real_value(json_object_get(object, "triad_gbps")), 1e-12);
  assert_int_equal(json_integer_value(json_object_get(object, "kv_cache_bytes")),
                   lap_decoder_cache_bytes(&f->config->model, 8));
  assert_int_equal(json_integer_value(json_object_get(object, "kv_cache_bytes_multi_head")),
                   2 * lap_decoder_cache_bytes(&f->config->model, 8));
  json_decref(object);
  outcome loud = run(f, "model -p '' -n 8"), quiet = run(f, "model -p '' -n 8 --quiet");
  assert_non_null(strstr(loud.err, "tokens/s"));
  assert_non_null(strstr(loud.err,
                         "KV cache 1.00 KiB (1 key-value heads for 2 query heads; "
                         "multi-head attention: 2.00 KiB)"));
  assert_string_equal(quiet.err, "");
  assert_string_equal(quiet.out, loud.out);
  release(&loud);
  release(&quiet);
}

static void a_seed_fixes_the_text(void **state) {
  const fixture *f = *state;
  outcome one = run(f, "model -p word --seed 4"),
          same = run(f, "model -p word --seed 4 --threads 1");
  outcome other = run(f, "model -p word --seed 5");
  assert_int_equal(one.out_bytes, same.out_bytes);
  assert_memory_equal(one.out, same.out, one.out_bytes);
  assert_true(one.out_bytes != other.out_bytes || memcmp(one.out, other.out, one.out_bytes));
  release(&one), release(&same), release(&other);
}

static void samples_differ_and_the_first_is_the_one_had_alone(void **state) {
  const fixture *f = *state;
  json_t *three = run_json(f, "model -p word -n 12 --samples 3", NULL, NULL);
  json_t *one = run_json(f, "model -p word -n 12", NULL, NULL);
  const json_t *samples = json_object_get(three, "samples");
  assert_int_equal(json_array_size(samples), 3);
  assert_true(json_equal(json_object_get(three, "tokens"), json_object_get(one, "tokens")));
  assert_false(json_equal(json_array_get(samples, 0), json_array_get(samples, 1)));
  assert_false(json_equal(json_array_get(samples, 1), json_array_get(samples, 2)));
  json_decref(three);
  json_decref(one);
}

/* The text of `model` up to token `end`, which has ended it. */
static void assert_cut(const fixture *f, const char *arguments, const json_t *whole, int64_t end) {
  json_t *cut = run_json(f, arguments, NULL, NULL);
  assert_string_equal(json_string_value(json_object_get(cut, "finish")), "eos");
  size_t i = 0;
  for (; token_at(whole, i) != end; ++i) assert_int_equal(token_at(cut, i), token_at(whole, i));
  assert_int_equal(token_count(cut), i);
  json_decref(cut);
}

/* What follows is that of an instruction-tuned model, which ends a turn with a token of its own. */
static void a_text_ends_where_its_model_or_the_user_says(void **state) {
  const fixture *f = *state;
  json_t *whole = run_json(f, "model -p the -t 0 -n 20", NULL, NULL);
  assert_true(token_count(whole) > 5);
  const int64_t end = token_at(whole, 5);
  char *by_user = lap_format("model -p the -t 0 -n 20 --end-id %" PRId64, end);
  assert_cut(f, by_user, whole, end);
  free(by_user);
  lap_status status = {0};
  char *path = lap_format("%s/model/generation_config.json", f->directory);
  char *text = lap_format("{\"eos_token_id\": [1, %" PRId64 "]}", end);
  must(lap_file_write(path, text, strlen(text), &status), &status);
  assert_cut(f, "model -p the -t 0 -n 20", whole, end);
  must(lap_file_remove_tree(path, &status), &status);
  free(path);
  free(text);
  json_decref(whole);
}

static void a_text_may_reach_the_last_position(void **state) {
  const fixture *f = *state;
  /* EOS is never among the tokens; which end a sample meets, its length says. */
  json_t *object = run_json(f, "model -p '' -n 1000 --samples 40", NULL, NULL);
  int full = 0;
  size_t i;
  json_t *sample;
  json_array_foreach(json_object_get(object, "samples"), i, sample) {
    const char *finish = json_string_value(json_object_get(sample, "finish"));
    if (strcmp(finish, "eos") == 0) continue;
    assert_string_equal(finish, "max_position_embeddings");
    assert_int_equal(token_count(sample), POSITIONS);
    ++full;
  }
  assert_true(full > 0);
  json_decref(object);
}

static void mistakes_have_their_codes(void **state) {
  const fixture *f = *state;
  static const struct {
    const char *arguments;
    int code;
    const char *message;
  } cases[] = {
      {"model", LAP_USAGE, "--prompt TEXT is missing"},
      {"--prompt x", LAP_USAGE, "an argument is missing"},
      {"model --promtp x", LAP_USAGE, "did you mean '--prompt'?"},
      {"model -p x -t -1", LAP_USAGE, "--temperature: expected a number from 0"},
      {"model -p x -t nan", LAP_USAGE, "--temperature"},
      {"model -p x --top-p 0", LAP_USAGE, "--top-p"},
      {"model -p x --top-p 1.5", LAP_USAGE, "--top-p"},
      {"model -p x --top-k -1", LAP_USAGE, "--top-k"},
      {"model -p x -n 0", LAP_USAGE, "--max-tokens"},
      {"model -p x --samples 0", LAP_USAGE, "--samples"},
      {"model -p x --seed -1", LAP_USAGE, "--seed"},
      {"model -p x --precision bf16", LAP_USAGE,
       "--precision: expected float32 or bfloat16, found 'bf16'"},
      {"model -p \"$(printf 'qz%.0s' $(seq 60))\"", LAP_USAGE,
       "the model's max_position_embeddings is 48"},
      {"nowhere -p x", LAP_DATA, "nowhere"},
      {"small.model -p x", LAP_DATA, "small.model"},
      {"no_tokenizer -p x", LAP_DATA, "tokenizer.model"},
      {"large_tokenizer -p x", LAP_DATA, "has 350 pieces, but the model's vocab_size is 340"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    outcome result = run(f, cases[i].arguments);
    if (result.code != cases[i].code || !strstr(result.err, cases[i].message))
      fail_msg("'%s': code %d, '%s' lacks '%s'", cases[i].arguments, result.code, result.err,
               cases[i].message);
    assert_int_equal(result.out_bytes, 0);
    release(&result);
  }
}

static void any_bytes_are_a_prompt(void **state) {
  const fixture *f = *state;
  outcome result = run(f, "model -n 3 -p \"$(printf '\\377\\300a\\342\\226')\"");
  if (result.code != LAP_OK) fail_msg("code %d: %s", result.code, result.err);
  release(&result);
}

static void a_full_device_is_reported(void **state) {
  const fixture *f = *state;
  outcome result = run(f, "model -p x -n 30 >/dev/full 2>said; code=$?; cat said >&2; exit $code");
  assert_int_equal(result.code, LAP_DATA);
  assert_non_null(strstr(result.err, "stdout: cannot be written: No space left on device"));
  release(&result);
}

/* Weights that are not finite are found, not printed. */
static void non_finite_weights_end_with_4(void **state) {
  const fixture *f = *state;
  const lap_parameter *norm = lap_parameters_find(f->parameters, "model.norm.weight");
  const float kept = f->state->values[LAP_WEIGHT][norm->offset];
  f->state->values[LAP_WEIGHT][norm->offset] = __builtin_nanf("");
  char *small = lap_format("%s/small.model", f->directory);
  write_checkpoint(f, "broken", small);
  free(small);
  f->state->values[LAP_WEIGHT][norm->offset] = kept;
  outcome result = run(f, "broken -p x");
  assert_int_equal(result.code, LAP_NONFINITE);
  assert_non_null(strstr(result.err, "the logit of token 0 at position"));
  release(&result);
}

int main(void) {
  lap_status status = {0};
  if (lap_blas_open("auto", &status) != LAP_OK) {
    print_error("%s\n", status.message);
    return 1;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(greedy_text_is_that_of_the_forward_pass),
      cmocka_unit_test(what_streams_is_the_text_of_the_tokens),
      cmocka_unit_test(every_token_is_written_by_itself),
      cmocka_unit_test(figures_are_there),
      cmocka_unit_test(a_seed_fixes_the_text),
      cmocka_unit_test(samples_differ_and_the_first_is_the_one_had_alone),
      cmocka_unit_test(a_text_ends_where_its_model_or_the_user_says),
      cmocka_unit_test(a_text_may_reach_the_last_position),
      cmocka_unit_test(mistakes_have_their_codes),
      cmocka_unit_test(any_bytes_are_a_prompt),
      cmocka_unit_test(a_full_device_is_reported),
      cmocka_unit_test(non_finite_weights_end_with_4),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
