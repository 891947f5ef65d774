/* golden: the state that a small run ends in, by every kernel that this processor has, on any
 * number of ranks and threads, in micro-batches of any size, whatever the ranks divide. The hash is
 * the same on every processor that runs these tests; it changes with LAP_NUMERICS_VERSION alone. */
#include <fnmatch.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/numerics_version.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "trainer/config/load.h"
#include "trainer/state/hash.h"
#include "trainer/step/step.h"

static const char *const golden[LAP_MATMUL_PRECISIONS] = {
    "ad8ce77c5a2dc962a41b5195567aa950a7ca28c1bb6287b82f3e1614f02b19d3",
    "19afec2b030807ebf1c79affaaa7d0adec5d6ddc9b0ea49ee7f5d1f13267a7f9"};
enum { GOLDEN_OF = 6 }; /* LAP_NUMERICS_VERSION */

/* Sums longer than a block of terms: over positions, channels, the vocabulary and keys. */
static const char config_text[] =
    "model: {vocab_size: 1100, hidden_size: 40, intermediate_size: 280, num_hidden_layers: 2,\n"
    "  num_attention_heads: 4, num_key_value_heads: 2, head_dim: 10, sliding_window: 100,\n"
    "  query_pre_attn_scalar: 10}\n"
    "seed: 5\nmesh: {data: 2}\nbatch: {sequences: 8}\n"
    "objective: {distill_weight: 0.7, tail: ghost}\n"
    "data: {sequence_length: 300}\nschedule: {steps: 100, warmup_steps: 2}\n"
    "optimizer: {learning_rate: 0.01}\n";
enum { STEPS = 3, TEACHER_K = 12 };

typedef struct {
  const char *kernel;
  int threads;
  int64_t micro_sequences;
  int shards;
  lap_matmul_precision precision;
  lap_sharding sharding;
} way;

static const char *precision_name(lap_matmul_precision precision) {
  return precision == LAP_MATMUL_BFLOAT16 ? "bfloat16" : "float32";
}

static void train_small(lap_comm *comm, const way *w, char hex[LAP_SHA256_HEX]) {
  lap_status status = {0};
  lap_config *config;
  lap_placement placement;
  if (lap_config_parse("c.yaml", config_text, sizeof config_text - 1, NULL, 0, &config, &status) !=
      LAP_OK)
    fail_msg("%s", status.message);
  config->threads = w->threads;
  config->batch.micro_sequences = w->micro_sequences;
  config->mesh.model = w->shards;
  config->precision = w->precision;
  config->sharding = w->sharding;
  const lap_gemm_choice choice = {LAP_GEMM_LAPIDARY, w->precision, NULL};
  if (lap_gemm_open(&choice, &status) != LAP_OK ||
      lap_matmul_kernel_use(w->kernel, &status) != LAP_OK ||
      lap_placement_create(&config->mesh, 0, w->sharding, comm, &placement, &status) != LAP_OK)
    fail_msg("%s", status.message);
  omp_set_num_threads(w->threads);
  const lap_synthetic synthetic = {
      .vocab_size = config->model.vocab_size, .k = TEACHER_K, .windows = 1 << 20};
  const lap_data data = {.sequence_length = (uint32_t)config->data.sequence_length,
                         .synthetic = &synthetic};
  lap_state *state =
      lap_state_create(&config->model, &placement, lap_state_use_of_training(config));
  lap_state_initialise(state, (uint64_t)config->seed);
  lap_block_weights *weights = lap_block_weights_create(state);
  lap_block_weights_changed(weights, true);
  lap_stepper *stepper = lap_stepper_create(config, &data, 100, state, weights);
  for (int step = 0; step < STEPS; ++step) {
    lap_step_result result;
    if (lap_stepper_run(stepper, (lap_step_requests){0}, &result, &status) != LAP_OK)
      fail_msg("%s", status.message);
    assert_false(result.skipped);
  }
  lap_block_weights_wait_all(weights);
  lap_state_sha256(state, hex);
  if (lap_comm_rank(comm) == 0)
    printf("%s, %s, %d threads, %d at once, %d shards, sharding %d: %s\n", w->kernel,
           precision_name(w->precision), w->threads, (int)w->micro_sequences, w->shards,
           (int)w->sharding, hex);
  lap_stepper_destroy(stepper);
  lap_block_weights_destroy(weights);
  lap_state_destroy(state);
  lap_config_destroy(config);
}

static void expect_golden(lap_comm *comm, const way *w) {
  char hex[LAP_SHA256_HEX];
  train_small(comm, w, hex);
  assert_everywhere(comm, strcmp(hex, golden[w->precision]) != 0);
}

/* Of which kernels and precisions: a pattern of "KERNEL PRECISION". */
static const char *wanted = "*";

static bool is_wanted(const char *kernel, lap_matmul_precision precision) {
  char name[64];
  snprintf(name, sizeof name, "%s %s", kernel, precision_name(precision));
  return fnmatch(wanted, name, 0) == 0;
}

static void every_kernel_ends_in_the_golden_state(void **state) {
  assert_int_equal(LAP_NUMERICS_VERSION, GOLDEN_OF);
  int runs = 0;
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel)
    for (int p = 0; p < LAP_MATMUL_PRECISIONS && (*kernel)->runs_here(); ++p) {
      if (!is_wanted((*kernel)->name, p)) continue;
      expect_golden(*state, &(way){(*kernel)->name, 1, 4, 1, p, LAP_SHARDING_OPTIMIZER});
      ++runs;
    }
  if (runs == 0) fail_msg("no kernel and precision that runs here matches \"%s\"", wanted);
}

static const char *fastest(void) {
  const lap_matmul_kernel *const *kernel = lap_matmul_kernels();
  while (!(*kernel)->runs_here()) ++kernel;
  return (*kernel)->name;
}

static void threads_and_micro_batches_of_any_number_do(void **state) {
  const char *kernel = fastest();
  for (int p = 0; p < LAP_MATMUL_PRECISIONS; ++p) {
    expect_golden(*state, &(way){kernel, 3, 4, 1, p, LAP_SHARDING_OPTIMIZER});
    expect_golden(*state, &(way){kernel, 1, 2, 1, p, LAP_SHARDING_OPTIMIZER});
    expect_golden(*state, &(way){kernel, 2, 1, 1, p, LAP_SHARDING_OPTIMIZER});
  }
}

static void every_sharding_does(void **state) {
  for (int p = 0; p < LAP_MATMUL_PRECISIONS; ++p)
    for (int sharding = LAP_SHARDING_NONE; sharding <= LAP_SHARDING_FULL; ++sharding)
      expect_golden(*state, &(way){fastest(), 2, 2, 1, p, (lap_sharding)sharding});
}

/* Shards are another mesh, so another state. */
static void micro_batches_do_not_count_in_shards_either(void **state) {
  char one[LAP_SHA256_HEX], four[LAP_SHA256_HEX];
  for (int p = 0; p < LAP_MATMUL_PRECISIONS; ++p) {
    train_small(*state, &(way){fastest(), 1, 4, 2, p, LAP_SHARDING_OPTIMIZER}, four);
    train_small(*state, &(way){fastest(), 1, 1, 2, p, LAP_SHARDING_FULL}, one);
    assert_string_equal(one, four);
    assert_string_not_equal(one, golden[p]);
  }
}

/* Arguments: a pattern of the tests to run; a pattern of the kernels and precisions of which
 * every_kernel_ends_in_the_golden_state runs, such as "neon *" or "* bfloat16". */
int main(int argc, char **argv) {
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  if (argc > 2) wanted = argv[2];
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kernel_ends_in_the_golden_state),
      cmocka_unit_test(threads_and_micro_batches_of_any_number_do),
      cmocka_unit_test(every_sharding_does),
      cmocka_unit_test(micro_batches_do_not_count_in_shards_either),
  };
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
