/* weights: a file, or a directory of one or several, gives the canonical vector; whatever else
 * an index or a file says is refused. */
#include <math.h>
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

#include "core/file.h"
#include "core/memory.h"
#include "tests/refusal.h"
#include "tests/scratch.h"
#include "trainer/hf/safetensors.h"
#include "trainer/hf/weights.h"

static const lap_gemma2_config model = {.vocab_size = 11,
                                        .hidden_size = 8,
                                        .intermediate_size = 12,
                                        .num_hidden_layers = 1,
                                        .num_attention_heads = 2,
                                        .num_key_value_heads = 1,
                                        .head_dim = 6};
enum { MOST = 16, SPLIT = 5 };

static char *directory;
static lap_parameters *parameters;
static float *weights; /* canonical: halves, which all dtypes hold */
static lap_safetensors_source tensor[MOST];
static size_t tensors;

static int make_world(void **state) {
  (void)state;
  parameters = lap_parameters_create(&model);
  weights = lap_allocate(parameters->elements, sizeof *weights);
  for (int t = 0; t < parameters->count; ++t)
    for (int64_t i = 0; i < parameters->parameter[t].elements; ++i)
      weights[parameters->parameter[t].offset + i] = (float)((i * 7 + t) % 31) / 2 - 7;
  return 0;
}

static int remove_world(void **state) {
  (void)state;
  lap_parameters_destroy(parameters);
  free(weights);
  return 0;
}

static int set_up(void **state) {
  (void)state;
  directory = scratch_create();
  tensors = (size_t)parameters->count;
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    tensor[i] = (lap_safetensors_source){p->name,
                                         LAP_DTYPE_F32,
                                         p->is_norm ? 1 : 2,
                                         {p->is_norm ? p->columns : p->rows, p->columns},
                                         weights + p->offset};
  }
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

/* --- helpers --- */

static const char *write_file(const char *name, const lap_safetensors_source *first, size_t count) {
  lap_status status = {0};
  const char *path = scratch_path(directory, name);
  if (lap_safetensors_write(path, first, count, &status) != LAP_OK) fail_msg("%s", status.message);
  return path;
}

static void write_index(const char *text) {
  scratch_write(directory, "model.safetensors.index.json", text, strlen(text));
}

/* "one" holds the first SPLIT tensors, "two" the rest; `extra` is more of the map. */
static void write_shards(const char *extra) {
  write_file("one", tensor, SPLIT);
  write_file("two", tensor + SPLIT, tensors - SPLIT);
  char text[4096], *end = text;
  end += sprintf(end, "{\"metadata\": {}, \"weight_map\": {");
  for (size_t i = 0; i < tensors; ++i)
    end +=
        sprintf(end, "%s\"%s\": \"%s\"", i ? ", " : "", tensor[i].name, i < SPLIT ? "one" : "two");
  sprintf(end, "%s}}", extra);
  write_index(text);
}

static void assert_read(const char *path) {
  lap_status status = {0};
  float *single = lap_allocate(parameters->elements, sizeof *single);
  double *wide = lap_allocate(parameters->elements, sizeof *wide);
  if (lap_hf_weights_read_float(path, parameters, single, &status) != LAP_OK ||
      lap_hf_weights_read_double(path, parameters, wide, &status) != LAP_OK ||
      lap_hf_weights_check(path, parameters, NULL, &status) != LAP_OK)
    fail_msg("%s", status.message);
  assert_memory_equal(single, weights, (size_t)parameters->elements * sizeof *single);
  for (int64_t i = 0; i < parameters->elements; ++i) assert_true(wide[i] == (double)weights[i]);
  free(single);
  free(wide);
}

static void assert_values_refused(const char *path, const char *fragment) {
  lap_status status = {0};
  float *single = lap_allocate(parameters->elements, sizeof *single);
  const lap_code code = lap_hf_weights_read_float(path, parameters, single, &status);
  free(single);
  assert_refusal(code, LAP_DATA, &status, directory, fragment);
}

/* Without reading a value. */
static void assert_refused(const char *path, const char *fragment) {
  assert_values_refused(path, fragment);
  lap_status status = {0};
  assert_int_equal(lap_hf_weights_check(path, parameters, NULL, &status), LAP_DATA);
}

/* --- tests --- */

static void one_file_and_shards_are_read(void **state) {
  (void)state;
  assert_read(write_file("any name", tensor, tensors));
  write_shards("");
  assert_read(directory);
  write_file("model.safetensors", tensor, tensors); /* goes before an index */
  write_index("{}");
  assert_read(directory);
}

static void halves_are_widened_exactly_and_a_file_may_be_double(void **state) {
  (void)state;
  uint16_t brain[128];
  double wide[128];
  const lap_parameter *p = &parameters->parameter[1];
  assert_true(p->elements <= 128);
  for (int64_t i = 0; i < p->elements; ++i) {
    uint32_t bits;
    memcpy(&bits, &weights[p->offset + i], sizeof bits);
    brain[i] = (uint16_t)(bits >> 16);
    wide[i] = (double)weights[p->offset + i];
  }
  tensor[1].dtype = LAP_DTYPE_BF16;
  tensor[1].values = brain;
  write_file("model.safetensors", tensor, tensors);
  assert_read(directory);
  tensor[1].dtype = LAP_DTYPE_F64;
  tensor[1].values = wide;
  assert_read(write_file("model.safetensors", tensor, tensors));
  assert_refused(directory, "expected F32, BF16 or F16, found F64");
  int32_t integers[128] = {0};
  tensor[1].dtype = LAP_DTYPE_I32;
  tensor[1].values = integers;
  write_file("model.safetensors", tensor, tensors);
  assert_refused(directory, "found I32");
}

static void a_second_copy_of_the_embedding_is_ignored_and_another_head_refused(void **state) {
  (void)state;
  const lap_parameter *p = lap_parameters_find(parameters, "model.embed_tokens.weight");
  float *head = lap_allocate(p->elements, sizeof *head);
  memcpy(head, weights + p->offset, (size_t)p->elements * sizeof *head);
  tensor[tensors++] =
      (lap_safetensors_source){"lm_head.weight", LAP_DTYPE_F32, 2, {p->rows, p->columns}, head};
  write_file("model.safetensors", tensor, tensors);
  assert_read(directory);
  head[p->elements - 1] += 1;
  write_file("model.safetensors", tensor, tensors);
  assert_values_refused(directory, "'lm_head.weight' differs");
  tensor[tensors - 1].shape[0] = p->rows - 1;
  write_file("model.safetensors", tensor, tensors);
  assert_refused(directory, "lm_head.weight': expected shape [11, 8], found [10, 8]");
  free(head);
}

static void assert_notice(const char *expected) {
  char *notice = NULL;
  lap_status status = {0};
  if (lap_hf_weights_check(directory, parameters, &notice, &status) != LAP_OK)
    fail_msg("%s", status.message);
  if (expected && (!notice || !strstr(notice, expected))) fail_msg("%s", notice);
  if (!expected) assert_null(notice);
  free(notice);
}

/* As torch.compile, DDP, FSDP and older versions of transformers leave them. */
static void names_around_names_and_buffers_are_no_obstacle(void **state) {
  (void)state;
  static const char *const forms[] = {"_orig_mod.%s", "module.%s", "module._orig_mod.%s",
                                      "_fsdp_wrapped_module.%s"};
  char names[MOST][128];
  static const float frequency[] = {1, .5F, .25F};
  write_file("model.safetensors", tensor, tensors);
  assert_notice(NULL);
  for (size_t f = 0; f < sizeof forms / sizeof *forms; ++f) {
    for (int i = 0; i < parameters->count; ++i) {
      const char *name = parameters->parameter[i].name, *rest = strstr(name, "layers.0.");
      if (rest && f == 3) /* within the name, too */
        sprintf(names[i], "_fsdp_wrapped_module.model.layers.0._checkpoint_wrapped_module.%s",
                rest + 9);
      else
        snprintf(names[i], sizeof names[i], forms[f], name);
      tensor[i].name = names[i];
    }
    write_file("model.safetensors", tensor, tensors);
    assert_read(directory);
    assert_notice("13 names are read without what training wrapped around them");
  }
  const size_t count = tensors;
  tensor[tensors++] = (lap_safetensors_source){
      "model.layers.0.self_attn.rotary_emb.inv_freq", LAP_DTYPE_F32, 1, {3}, frequency};
  write_file("model.safetensors", tensor, tensors);
  assert_read(directory);
  assert_notice("1 rotary buffers are passed over");
  tensor[count] = tensor[0]; /* by both names */
  tensor[count].name = parameters->parameter[0].name;
  write_file("model.safetensors", tensor, tensors);
  assert_refused(directory, "which are the same tensor: leave one out");
}

static void a_lone_head_is_the_embedding(void **state) {
  (void)state;
  assert_string_equal(tensor[0].name, "model.embed_tokens.weight");
  tensor[0].name = "lm_head.weight";
  write_file("model.safetensors", tensor, tensors);
  assert_read(directory);
  assert_notice("the embedding is read from lm_head.weight, which is tied to it");
}

static void other_tensors_are_refused(void **state) {
  (void)state;
  write_file("model.safetensors", tensor, tensors - 1);
  assert_refused(directory, "missing 1: model.norm.weight; unexpected 0");
  tensor[0].name = "embed_tokens.weight";
  write_file("model.safetensors", tensor, tensors);
  assert_refused(directory, "unexpected 1: embed_tokens.weight");
  tensor[0].name = "model.embed_tokens.weight";
  tensor[2].shape[0] = tensor[2].shape[1];
  tensor[2].shape[1] = parameters->parameter[2].rows;
  write_file("model.safetensors", tensor, tensors);
  assert_refused(directory, "expected shape");
}

static void numbers_that_are_not_finite_are_refused(void **state) {
  (void)state;
  float norm[8] = {0, 0, INFINITY};
  tensor[1].values = norm;
  assert_int_equal(parameters->parameter[1].elements, 8);
  write_file("model.safetensors", tensor, tensors);
  assert_values_refused(directory, "element 2 is inf");
}

static void an_index_is_no_way_out_of_its_directory(void **state) {
  (void)state;
  static const char *const names[] = {"../one", "/etc/passwd", "..", ".", "",
                                      "a/b",    "./one",       "0/", "//"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    char text[128];
    snprintf(text, sizeof text, "{\"weight_map\": {\"x\": \"%s\"}}", names[i]);
    write_index(text);
    assert_refused(directory, "expected the name of a file of the same directory");
  }
  write_index("{\"weight_map\": {\"x\": 1}}");
  assert_refused(directory, "found 'something that is not a text'");
}

static void an_index_and_its_files_must_agree(void **state) {
  (void)state;
  write_shards(", \"more\": \"one\"");
  assert_refused(directory, "tensor 'more' is not in one");
  write_shards(", \"more\": \"three\"");
  assert_refused(directory, "three: cannot be opened");
  write_shards("");
  write_file("two", tensor, tensors); /* the first ones a second time */
  assert_refused(directory, "two: has tensor");
  write_shards("");
  lap_safetensors_source renamed = tensor[0];
  renamed.name = "surplus";
  lap_safetensors_source all[MOST];
  memcpy(all, tensor, SPLIT * sizeof *all);
  all[SPLIT] = renamed;
  write_file("one", all, SPLIT + 1);
  assert_refused(directory, "places nowhere");
}

static void hostile_indexes_are_refused(void **state) {
  (void)state;
  enum { LARGE = 5 << 20, FILES = 600 };
  static const char *const texts[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"weight_map\": []}",
                                      "{\"weight_map\": {\"a\": \"one\"",
                                      "{\"weight_map\": {\"a\": \"one\", \"a\": \"one\"}}"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    write_index(texts[i]);
    assert_refused(directory, "index.json");
  }
  char *large = lap_allocate(LARGE, 1);
  memset(large, ' ', LARGE - 1);
  write_index(large);
  assert_refused(directory, "index.json");
  char *end = large + sprintf(large, "{\"weight_map\": {");
  const float value = 1;
  const lap_safetensors_source small = {"t", LAP_DTYPE_F32, 1, {1}, &value};
  char name[16], names[FILES][16];
  lap_safetensors_source all[FILES];
  for (int i = 0; i < FILES; ++i) {
    snprintf(names[i], sizeof names[i], "t%d", i);
    all[i] = small;
    all[i].name = names[i];
    end += sprintf(end, "%s\"t%d\": \"f%d\"", i ? ", " : "", i, i);
  }
  strcpy(end, "}}");
  write_file("all", all, FILES);
  for (int i = 0; i < FILES; ++i) {
    snprintf(name, sizeof name, "f%d", i);
    assert_int_equal(link(scratch_path(directory, "all"), scratch_path(directory, name)), 0);
  }
  write_index(large);
  assert_refused(directory, "names more than 512 files");
  free(large);
}

static void a_directory_without_weights_says_what_is_read(void **state) {
  (void)state;
  assert_refused(directory, "has neither model.safetensors nor model.safetensors.index.json");
  assert_int_equal(mkfifo(scratch_path(directory, "model.safetensors"), 0600), 0);
  assert_refused(directory, "expected a regular file");
  write_file("whole", tensor, tensors);
  size_t count;
  char *bytes = scratch_read(scratch_path(directory, "whole"), &count);
  unlink(scratch_path(directory, "model.safetensors"));
  scratch_write(directory, "model.safetensors", bytes, count - 4);
  free(bytes);
  assert_refused(directory, "model.safetensors");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(one_file_and_shards_are_read),
      TEST(halves_are_widened_exactly_and_a_file_may_be_double),
      TEST(a_second_copy_of_the_embedding_is_ignored_and_another_head_refused),
      TEST(names_around_names_and_buffers_are_no_obstacle),
      TEST(a_lone_head_is_the_embedding),
      TEST(other_tensors_are_refused),
      TEST(numbers_that_are_not_finite_are_refused),
      TEST(an_index_is_no_way_out_of_its_directory),
      TEST(an_index_and_its_files_must_agree),
      TEST(hostile_indexes_are_refused),
      TEST(a_directory_without_weights_says_what_is_read),
  };
  return cmocka_run_group_tests(tests, make_world, remove_world);
}
