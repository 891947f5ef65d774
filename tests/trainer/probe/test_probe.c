/* probe: the command on a small model, from files to files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/gemma2/parameters.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/philox.h"
#include "tests/scratch.h"
#include "trainer/commands/entries.h"
#include "trainer/hf/safetensors.h"

/* Grouped queries, a window shorter than the sequence, a scale that is not head_dim's. */
static const lap_gemma2_config model = {.vocab_size = 12,
                                        .hidden_size = 8,
                                        .intermediate_size = 12,
                                        .num_hidden_layers = 2,
                                        .num_attention_heads = 4,
                                        .num_key_value_heads = 2,
                                        .head_dim = 6};
#define MODEL                                                                        \
  "{vocab_size: 12, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, "   \
  "num_attention_heads: 4, num_key_value_heads: 2, head_dim: 6, sliding_window: 3, " \
  "query_pre_attn_scalar: 5, attn_logit_softcapping: 3.0, max_position_embeddings: 16}"
enum { B = 2, T = 5, K = 3, V = 12 };

static char *directory;
static char config_path[512], weights_path[512], batch_path[512], out_path[512];

/* --- what a test starts from, and changes --- */

enum { MOST_TENSORS = 40 };
static lap_parameters *parameters;
static double *weights; /* the canonical vector */
static lap_safetensors_source weight[MOST_TENSORS], batch[6];
static size_t weight_count, batch_count;
static int32_t tokens[B * T], targets[B * T], teacher_ids[B * T * K];
static float teacher_probs[B * T * K], teacher_tail[B * T];

static double uniform(uint64_t stream, uint64_t index) {
  return 2 * lap_uniform(lap_philox(3, LAP_PURPOSE_BENCH, stream, index)) - 1;
}

static void set_weights(void) {
  weight_count = (size_t)parameters->count;
  for (int64_t i = 0; i < parameters->elements; ++i) weights[i] = uniform(1, (uint64_t)i);
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    weight[i] = (lap_safetensors_source){p->name,
                                         LAP_DTYPE_F64,
                                         p->is_norm ? 1 : 2,
                                         {p->is_norm ? p->columns : p->rows, p->columns},
                                         weights + p->offset};
  }
}

/* Next-token targets, position (0, 2) not counted; the teacher is there once batch_count is 5. */
static void set_batch(void) {
  for (int i = 0; i < B * T; ++i) {
    tokens[i] = (i * 7 + 3) % V;
    targets[i] = i == 2 ? -1 : (i * 5 + 1) % V;
    teacher_tail[i] = 0.25f;
    for (int k = 0; k < K; ++k) {
      teacher_ids[i * K + k] = (i + 4 * k) % V;
      teacher_probs[i * K + k] = k == 0 ? 0.5f : 0.125f;
    }
  }
  batch[0] = (lap_safetensors_source){"tokens", LAP_DTYPE_I32, 2, {B, T}, tokens};
  batch[1] = (lap_safetensors_source){"targets", LAP_DTYPE_I32, 2, {B, T}, targets};
  batch[2] = (lap_safetensors_source){"teacher_ids", LAP_DTYPE_I32, 3, {B, T, K}, teacher_ids};
  batch[3] = (lap_safetensors_source){"teacher_probs", LAP_DTYPE_F32, 3, {B, T, K}, teacher_probs};
  batch[4] = (lap_safetensors_source){"teacher_tail", LAP_DTYPE_F32, 2, {B, T}, teacher_tail};
  batch_count = 2;
}

static int make_test_directory(void **state) {
  (void)state;
  directory = scratch_create();
  snprintf(config_path, sizeof config_path, "%s/c.yaml", directory);
  snprintf(weights_path, sizeof weights_path, "%s/W", directory);
  snprintf(batch_path, sizeof batch_path, "%s/B", directory);
  snprintf(out_path, sizeof out_path, "%s/O", directory);
  parameters = lap_parameters_create(&model);
  weights = lap_allocate(parameters->elements, sizeof *weights);
  lap_status status = {0};
  const char text[] = "model: " MODEL "\n";
  return lap_file_write(config_path, text, sizeof text - 1, &status) == LAP_OK ? 0 : -1;
}

static int remove_test_directory(void **state) {
  (void)state;
  lap_parameters_destroy(parameters);
  free(weights);
  scratch_remove(directory);
  return 0;
}

static int set_up(void **state) {
  (void)state;
  set_weights();
  set_batch();
  lap_status status = {0};
  return lap_file_remove_tree(out_path, &status) == LAP_OK ? 0 : -1;
}

/* Runs `lapidary probe` with W and B as they are set and more words, separated by blanks. */
static lap_code probe(const char *words, lap_status *status) {
  enum { MOST_WORDS = 24 };
  *status = (lap_status){0};
  assert_int_equal(lap_safetensors_write(weights_path, weight, weight_count, status), LAP_OK);
  assert_int_equal(lap_safetensors_write(batch_path, batch, batch_count, status), LAP_OK);
  char copy[512], *argv[MOST_WORDS] = {"lapidary probe", config_path, "--weights", weights_path,
                                       "--batch",        batch_path,  "--out",     out_path};
  int argc = 8;
  snprintf(copy, sizeof copy, "%s", words);
  for (char *word = strtok(copy, " "); word && argc < MOST_WORDS - 1; word = strtok(NULL, " "))
    argv[argc++] = word;
  return lap_command_probe.run(&lap_command_probe, argc, argv, status);
}

/* The result of a probe that must succeed. */
static lap_safetensors *result_of(const char *words) {
  lap_status status;
  lap_safetensors *out;
  if (probe(words, &status) != LAP_OK) fail_msg("%s", status.message);
  assert_int_equal(lap_safetensors_open(out_path, &out, &status), LAP_OK);
  return out;
}

static void assert_refused(const char *words, lap_code code, const char *fragment) {
  lap_status status;
  const lap_code found = probe(words, &status);
  if (found != code || !strstr(status.message, fragment))
    fail_msg("code %d, '%s' instead of %d, '%s'", found, status.message, code, fragment);
  assert_false(lap_file_exists(out_path));
}

static double *values_of(const lap_safetensors *out, const char *name, int64_t *count) {
  lap_status status = {0};
  const lap_safetensors_tensor *tensor = lap_safetensors_find(out, name);
  if (!tensor) fail_msg("no tensor %s", name);
  double *values = lap_allocate(tensor->elements, sizeof *values);
  assert_int_equal(lap_safetensors_read_double(tensor, 0, tensor->elements, values, &status),
                   LAP_OK);
  *count = tensor->elements;
  return values;
}

static double value_at(const lap_safetensors *out, const char *name, int64_t element) {
  int64_t count;
  double *values = values_of(out, name, &count);
  assert_true(element < count);
  const double value = values[element];
  free(values);
  return value;
}

static double loss_of(const char *words) {
  lap_safetensors *out = result_of(words);
  const double loss = value_at(out, "loss", 0);
  lap_safetensors_close(out);
  return loss;
}

static double largest(const double *values, int64_t count) {
  double most = 0;
  for (int64_t i = 0; i < count; ++i) most = fmax(most, fabs(values[i]));
  return most;
}

/* --- the result --- */

static void assert_tensor(const lap_safetensors *out, const char *name, lap_dtype dtype,
                          int dimensions, const int64_t *shape) {
  lap_status status = {0};
  const lap_safetensors_tensor *tensor = lap_safetensors_find(out, name);
  if (!tensor) fail_msg("no tensor %s", name);
  assert_int_equal(tensor->dtype, dtype);
  if (lap_safetensors_check_shape(tensor, dimensions, shape, &status) != LAP_OK)
    fail_msg("%s", status.message);
}

static void the_result_has_the_promised_names_dtypes_and_shapes(void **state) {
  (void)state;
  static const int64_t one[] = {1}, logits[] = {B, T, V};
  for (int wide = 0; wide < 2; ++wide) {
    lap_safetensors *out = result_of(wide ? "--double" : "");
    const lap_dtype dtype = wide ? LAP_DTYPE_F64 : LAP_DTYPE_F32;
    size_t count;
    lap_safetensors_tensors(out, &count);
    assert_int_equal(count, weight_count + 2);
    assert_tensor(out, "loss", dtype, 1, one);
    assert_tensor(out, "logits", dtype, 3, logits);
    for (size_t i = 0; i < weight_count; ++i) {
      char *name = lap_format("grad.%s", weight[i].name);
      assert_tensor(out, name, dtype, weight[i].dimensions, weight[i].shape);
      free(name);
    }
    lap_safetensors_close(out);
  }
}

/* The same tensors within `tolerance` of each one's largest value; some are 0 but for rounding, as
 * those of the queries where there is one key. */
static void assert_agrees(const lap_safetensors *one, const lap_safetensors *two, double tolerance,
                          const char *words) {
  size_t tensors, others;
  const lap_safetensors_tensor *all = lap_safetensors_tensors(one, &tensors);
  lap_safetensors_tensors(two, &others);
  assert_int_equal(tensors, others);
  for (size_t i = 0; i < tensors; ++i) {
    int64_t count, other_count;
    double *x = values_of(one, all[i].name, &count), *y = values_of(two, all[i].name, &other_count);
    const double scale = largest(x, count);
    assert_int_equal(count, other_count);
    for (int64_t j = 0; j < count; ++j)
      if (!(fabs(x[j] - y[j]) <= 1e-2 * tolerance + tolerance * scale))
        fail_msg("%s: %s[%d]: %g and %g", words, all[i].name, (int)j, x[j], y[j]);
    free(x);
    free(y);
  }
}

static void assert_float_agrees_with_double(const char *objective) {
  char *words = lap_format("--double %s", objective);
  lap_safetensors *wide = result_of(words), *narrow = result_of(objective);
  assert_agrees(wide, narrow, 2e-5, objective);
  lap_safetensors_close(wide);
  lap_safetensors_close(narrow);
  free(words);
}

static void float_agrees_with_double(void **state) {
  (void)state;
  assert_float_agrees_with_double("");
  batch_count = 5;
  assert_float_agrees_with_double("objective.distill_weight=0.5");
}

/* The loss of the command against its gradient: central differences in several weights of each
 * kind. A weight that went through float32 would miss by far. */
static void assert_gradients_are_slopes(const char *words) {
  static const char *const names[] = {
      "model.embed_tokens.weight",
      "model.norm.weight",
      "model.layers.0.input_layernorm.weight",
      "model.layers.0.self_attn.q_proj.weight",
      "model.layers.0.self_attn.k_proj.weight",
      "model.layers.1.self_attn.v_proj.weight",
      "model.layers.1.self_attn.o_proj.weight",
      "model.layers.0.mlp.gate_proj.weight",
      "model.layers.1.mlp.down_proj.weight",
  };
  const double step = 1e-5;
  lap_safetensors *out = result_of(words);
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    const lap_parameter *p = lap_parameters_find(parameters, names[i]);
    char *gradient_name = lap_format("grad.%s", names[i]);
    for (int64_t element = 1; element < p->elements; element += p->elements / 2 + 1) {
      double *value = &weights[p->offset + element];
      const double before = *value, gradient = value_at(out, gradient_name, element);
      *value = before + step;
      const double above = loss_of(words);
      *value = before - step;
      const double slope = (above - loss_of(words)) / (2 * step);
      *value = before;
      if (!(fabs(slope - gradient) <= 1e-8 + 1e-6 * fabs(gradient)))
        fail_msg("%s: %s[%d]: gradient %.12g, slope %.12g", words, names[i], (int)element, gradient,
                 slope);
    }
    free(gradient_name);
  }
  lap_safetensors_close(out);
}

static void gradients_are_slopes_of_the_mean_loss(void **state) {
  (void)state;
  assert_gradients_are_slopes("--double");
  batch_count = 5;
  assert_gradients_are_slopes("--double objective.distill_weight=0.5");
  assert_gradients_are_slopes(
      "--double objective.distill_weight=0.5 objective.temperature=2 objective.tail=renormalise");
}

static void the_loss_is_the_cross_entropy_of_the_logits(void **state) {
  (void)state;
  lap_safetensors *out = result_of("--double");
  int64_t count;
  double *z = values_of(out, "logits", &count), sum = 0;
  for (int i = 0; i < B * T; ++i) {
    double all = 0;
    for (int j = 0; j < V; ++j) all += exp(z[i * V + j]);
    if (targets[i] >= 0) sum += log(all) - z[i * V + targets[i]];
  }
  assert_true(fabs(value_at(out, "loss", 0) - sum / (B * T - 1)) < 1e-12);
  free(z);
  lap_safetensors_close(out);
}

static void a_batch_without_counted_positions_has_loss_and_gradients_of_zero(void **state) {
  (void)state;
  for (int i = 0; i < B * T; ++i) {
    targets[i] = -1;
    teacher_probs[i * K] = NAN; /* rows that are not counted are not looked at */
    teacher_ids[i * K] = 1000;
  }
  for (batch_count = 2; batch_count <= 5; batch_count += 3) {
    lap_safetensors *out = result_of("");
    size_t tensors;
    const lap_safetensors_tensor *all = lap_safetensors_tensors(out, &tensors);
    for (size_t i = 0; i < tensors; ++i) {
      int64_t count;
      double *values = values_of(out, all[i].name, &count);
      assert_true((largest(values, count) == 0) == (strcmp(all[i].name, "logits") != 0));
      free(values);
    }
    lap_safetensors_close(out);
  }
}

static void a_sequence_of_one_token_works(void **state) {
  (void)state;
  for (size_t i = 0; i < 5; ++i) batch[i].shape[0] = B * T, batch[i].shape[1] = 1;
  batch_count = 5;
  assert_float_agrees_with_double("objective.distill_weight=0.5");
}

static void assert_same_result(const char *words, const char *other_words) {
  lap_status status = {0};
  char *first, *second;
  size_t first_count, second_count;
  lap_safetensors_close(result_of(words));
  assert_int_equal(lap_file_read(out_path, 1 << 20, &first, &first_count, &status), LAP_OK);
  lap_safetensors_close(result_of(other_words));
  assert_int_equal(lap_file_read(out_path, 1 << 20, &second, &second_count, &status), LAP_OK);
  assert_int_equal(first_count, second_count);
  assert_memory_equal(first, second, first_count);
  free(first);
  free(second);
}

static void threads_do_not_change_a_bit(void **state) {
  (void)state;
  batch_count = 5;
  assert_same_result("threads=1", "threads=3");
}

static void model_shards_change_no_more_than_rounding(void **state) {
  (void)state;
  batch_count = 5;
  lap_safetensors *whole = result_of("--double objective.distill_weight=0.5");
  lap_safetensors *shards = result_of("--double objective.distill_weight=0.5 mesh.model=2");
  assert_agrees(whole, shards, 1e-13, "mesh.model=2");
  lap_safetensors_close(whole);
  lap_safetensors_close(shards);
  assert_float_agrees_with_double("mesh.model=2");
  set_up(NULL);
  assert_refused("mesh.model=3", LAP_USAGE, "3 model shards do not divide");
  assert_refused(
      "mesh.model=17 model.num_attention_heads=17 model.num_key_value_heads=17 "
      "model.hidden_size=17 model.intermediate_size=17 model.vocab_size=17",
      LAP_USAGE, "a probe computes all shards in one process, which holds at most 16; found 17");
}

static void the_teacher_in_the_batch_decides_the_default_objective(void **state) {
  (void)state;
  batch_count = 5;
  assert_same_result("", "objective.distill_weight=1 objective.tail=ghost");
  batch_count = 2;
  assert_same_result("", "objective.distill_weight=0");
  /* a cache that the config names is for training */
  assert_same_result("", "teacher.cache=absent/*.h5");
}

/* Rows of all ids in any order: the head is the most probable ones, as in training. */
static void a_dense_row_has_its_head_wherever_it_stands(void **state) {
  (void)state;
  static int32_t ids[B * T * V];
  static float probs[B * T * V];
  const char *words = "objective.tail=decoupled objective.head=3 objective.tail_weight=0";
  batch_count = 5;
  batch[2].shape[2] = batch[3].shape[2] = V;
  batch[2].values = ids, batch[3].values = probs;
  double loss[2];
  for (int turn = 0; turn < 2; ++turn) {
    for (int i = 0; i < B * T * V; ++i) {
      ids[i] = (i % V + turn * 5) % V;
      probs[i] = 0.7f * (float)(1 + ids[i]) / (V * (V + 1) / 2);
    }
    loss[turn] = loss_of(words);
  }
  assert_true(fabs(loss[0] - loss[1]) < 1e-6);
  assert_float_agrees_with_double(words);
}

static void integers_of_64_bits_are_read_as_well(void **state) {
  (void)state;
  const double loss = loss_of("");
  int64_t wide[B * T];
  for (int i = 0; i < B * T; ++i) wide[i] = tokens[i];
  batch[0].dtype = LAP_DTYPE_I64;
  batch[0].values = wide;
  assert_true(loss_of("") == loss);
  /* cppcheck-suppress unreadVariable ; the batch holds it */
  wide[7] += INT64_C(1) << 32;
  assert_int_equal(unlink(out_path), 0);
  assert_refused("", LAP_DATA, "tensor 'tokens': element 7 is 4294967");
}

static void an_unused_slot_is_as_if_it_were_not_there(void **state) {
  (void)state;
  batch_count = 5;
  int32_t ids[B * T * 2];
  float probs[B * T * 2];
  for (int i = 0; i < B * T; ++i) {
    teacher_probs[i * K + 1] = 0;
    teacher_ids[i * K + 1] = i % 2 ? -5 : 1000000;
    for (int k = 0; k < 2; ++k) {
      ids[i * 2 + k] = teacher_ids[i * K + 2 * k];
      probs[i * 2 + k] = teacher_probs[i * K + 2 * k];
    }
  }
  const double loss = loss_of("--double");
  batch[2].shape[2] = batch[3].shape[2] = 2;
  batch[2].values = ids;
  batch[3].values = probs;
  assert_true(fabs(loss_of("--double") - loss) < 1e-13);
}

/* As in a cache: the teacher kept nothing of what it expects. Of the rest, which is everything, the
 * student's mass is 1: such rows add nothing to the loss of the others. */
static void a_row_may_be_all_tail(void **state) {
  (void)state;
  batch_count = 5;
  const double all = 9 * loss_of("--double"); /* of 9 counted positions */
  for (int i = 0; i < B * T; ++i) targets[i] = i == 8 ? 3 : -1;
  const double one = loss_of("--double");
  set_batch();
  batch_count = 5;
  memset(teacher_probs + 8 * K, 0, K * sizeof *teacher_probs);
  teacher_tail[8] = 1;
  const double others = 9 * loss_of("--double");
  assert_true(fabs(all - one - others) < 1e-12 && one > 0.1);
}

/* --- what is refused --- */

static void weights_that_are_not_the_models_are_refused(void **state) {
  (void)state;
  const lap_safetensors_source kept = weight[3];
  weight[3].name = "lm_body.weight";
  assert_refused("", LAP_DATA,
                 "missing 1: model.layers.0.mlp.gate_proj.weight; unexpected 1: "
                 "lm_body.weight");
  weight[3] = kept;
  weight[3].shape[0] = kept.shape[1];
  weight[3].shape[1] = kept.shape[0];
  assert_refused("", LAP_DATA, "gate_proj.weight': expected shape [12, 8], found [8, 12]");
  weight[3] = kept;
  weight[3].dtype = LAP_DTYPE_I64;
  assert_refused("", LAP_DATA, "expected floating-point numbers, found dtype I64");
  weight[3] = kept;
  weights[parameters->parameter[3].offset + 5] = NAN;
  assert_refused("", LAP_DATA, "gate_proj.weight': element 5 is nan");
  weight_count = 0;
  assert_refused("", LAP_DATA, "missing 24: model.embed_tokens.weight, model.layers.0.");
}

static void a_head_is_ignored_where_it_is_the_embedding_and_else_refused(void **state) {
  (void)state;
  const double loss = loss_of("");
  const lap_parameter *p = lap_parameters_find(parameters, "model.embed_tokens.weight");
  double *head = lap_allocate(p->elements, sizeof *head);
  memcpy(head, weights + p->offset, (size_t)p->elements * sizeof *head);
  weight[weight_count++] =
      (lap_safetensors_source){"lm_head.weight", LAP_DTYPE_F64, 2, {p->rows, p->columns}, head};
  assert_true(loss_of("") == loss);
  assert_int_equal(unlink(out_path), 0);
  head[80] += 1;
  assert_refused("", LAP_DATA,
                 "'lm_head.weight' differs from 'model.embed_tokens.weight' at "
                 "element 80");
  free(head);
}

static void ids_outside_the_vocabulary_are_refused_by_position(void **state) {
  (void)state;
  tokens[8] = V;
  assert_refused("", LAP_DATA, "tokens[1, 3] is 12; expected an id below model.vocab_size, 12");
  tokens[8] = -1;
  assert_refused("", LAP_DATA, "tokens[1, 3] is -1");
  tokens[8] = 0;
  targets[4] = -100;
  assert_refused("", LAP_DATA, "targets[0, 4] is -100");
  assert_refused("", LAP_DATA, "or -1 for a position that is not counted");
  targets[4] = 0;
  batch_count = 5;
  teacher_ids[4] = V;
  assert_refused("", LAP_DATA, "teacher_ids[0, 1, 1] is 12");
  teacher_ids[4] = teacher_ids[3];
  assert_refused("", LAP_DATA, "teacher_ids[0, 1, 1] is 1, which the same row has already");
}

static void a_row_that_is_not_a_distribution_is_refused_by_position(void **state) {
  (void)state;
  batch_count = 5;
  static const float bad[] = {-0.1f, 1.1f, NAN, INFINITY};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    teacher_probs[28] = bad[i];
    assert_refused("", LAP_DATA, "teacher_probs[1, 4, 1] is ");
  }
  teacher_probs[28] = 0.5f;
  assert_refused("", LAP_DATA, "teacher_probs[1, 4] sums to 1.125 with a tail of 0.25");
  teacher_probs[27] = teacher_probs[28] = teacher_probs[29] = 0;
  teacher_tail[9] = 0;
  assert_refused("", LAP_DATA, "teacher_probs[1, 4] sums to 0");
  teacher_tail[3] = NAN;
  assert_refused("", LAP_DATA, "teacher_tail[0, 3] is nan");
}

static void batches_of_another_shape_are_refused(void **state) {
  (void)state;
  batch_count = 1;
  assert_refused("", LAP_DATA, "tensor 'targets' is missing");
  batch_count = 4;
  assert_refused("", LAP_DATA, "tensor 'teacher_tail' is missing; a teacher is");
  batch_count = 2;
  batch[1].shape[1] = T - 1;
  assert_refused("", LAP_DATA, "tensor 'targets': expected shape [2, 5], found [2, 4]");
  batch[1].name = "labels";
  assert_refused("", LAP_DATA, "unexpected tensor 'labels'");
  set_batch();
  batch[0].shape[1] = 0;
  assert_refused("", LAP_DATA, "expected shape [B, T]");
  set_batch();
  batch_count = 5;
  batch[3].shape[2] = 1;
  assert_refused("", LAP_DATA, "'teacher_probs': expected shape [2, 5, 3], found [2, 5, 1]");
  set_batch();
  batch[0].dtype = LAP_DTYPE_F32;
  assert_refused("", LAP_DATA, "tensor 'tokens': expected integers, found dtype F32");
  set_batch();
  assert_refused("model.max_position_embeddings=4", LAP_DATA, "its 5 positions exceed");
}

static void what_the_command_line_lacks_is_named(void **state) {
  (void)state;
  assert_refused("objective.distill_weight=0.5", LAP_USAGE, "objective.distill_weight is 0.5, but");
  assert_refused("objective.smoothing=uniform", LAP_USAGE, "objective.smoothing: expected none");
  lap_status status = {0};
  char *argv[] = {"lapidary probe", config_path, "--weights", weights_path,
                  "--out",          out_path,    NULL};
  assert_int_equal(lap_command_probe.run(&lap_command_probe, 6, argv, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "--batch is missing"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(the_result_has_the_promised_names_dtypes_and_shapes, set_up),
      cmocka_unit_test_setup(float_agrees_with_double, set_up),
      cmocka_unit_test_setup(gradients_are_slopes_of_the_mean_loss, set_up),
      cmocka_unit_test_setup(the_loss_is_the_cross_entropy_of_the_logits, set_up),
      cmocka_unit_test_setup(a_batch_without_counted_positions_has_loss_and_gradients_of_zero,
                             set_up),
      cmocka_unit_test_setup(a_sequence_of_one_token_works, set_up),
      cmocka_unit_test_setup(threads_do_not_change_a_bit, set_up),
      cmocka_unit_test_setup(model_shards_change_no_more_than_rounding, set_up),
      cmocka_unit_test_setup(the_teacher_in_the_batch_decides_the_default_objective, set_up),
      cmocka_unit_test_setup(a_dense_row_has_its_head_wherever_it_stands, set_up),
      cmocka_unit_test_setup(integers_of_64_bits_are_read_as_well, set_up),
      cmocka_unit_test_setup(an_unused_slot_is_as_if_it_were_not_there, set_up),
      cmocka_unit_test_setup(a_row_may_be_all_tail, set_up),
      cmocka_unit_test_setup(weights_that_are_not_the_models_are_refused, set_up),
      cmocka_unit_test_setup(a_head_is_ignored_where_it_is_the_embedding_and_else_refused, set_up),
      cmocka_unit_test_setup(ids_outside_the_vocabulary_are_refused_by_position, set_up),
      cmocka_unit_test_setup(a_row_that_is_not_a_distribution_is_refused_by_position, set_up),
      cmocka_unit_test_setup(batches_of_another_shape_are_refused, set_up),
      cmocka_unit_test_setup(what_the_command_line_lacks_is_named, set_up),
  };
  return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
