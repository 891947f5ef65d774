#include "tests/trainer/step/small_run.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/gemm.h"
#include "tests/mpi/world.h"
#include "trainer/config/load.h"
#include "trainer/state/hash.h"

static int multiply_in(lap_matmul_precision precision) {
  lap_status status;
  const lap_gemm_choice choice = {LAP_GEMM_LAPIDARY, precision, NULL};
  return lap_gemm_open(&choice, &status) == LAP_OK ? 0 : -1;
}

int small_run_in_bfloat16(void **state) {
  (void)state;
  return multiply_in(LAP_MATMUL_BFLOAT16);
}

int small_run_in_float32(void **state) {
  (void)state;
  return multiply_in(LAP_MATMUL_FLOAT32);
}

int small_run_world_start(void **state) {
  return multiply_in(LAP_MATMUL_FLOAT32) == 0 ? world_start(state) : -1;
}

int small_run_world_finish(void **state) { return world_finish(state); }

const char small_run_text[] =
    "model: {vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2,\n"
    "  num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 8,\n"
    "  query_pre_attn_scalar: 8}\n"
    "seed: 3\nmesh: {data: 3}\nbatch: {sequences: 6, micro_sequences: 1}\n"
    "data: {sequence_length: 9}\nschedule: {steps: 100, warmup_steps: 10}\n"
    "optimizer: {learning_rate: 0.01, clip_norm: 0.001}\n";

lap_config *small_run_config(const char *text, const char *const *overrides, size_t count) {
  lap_config *config;
  lap_status status = {0};
  if (lap_config_parse("c.yaml", text, strlen(text), overrides, count, &config, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return config;
}

void small_run_start(small_run *run, lap_comm *comm, lap_config *config, const lap_data *data) {
  enum { WINDOWS = 1 << 20 };
  lap_status status = {0};
  lap_placement placement;
  config->threads = 1;
  omp_set_num_threads(1);
  *run = (small_run){.comm = comm, .config = config};
  run->synthetic = (lap_synthetic){.vocab_size = config->model.vocab_size, .windows = WINDOWS};
  run->data = data ? *data
                   : (lap_data){.sequence_length = (uint32_t)config->data.sequence_length,
                                .synthetic = &run->synthetic};
  if (lap_placement_create(&config->mesh, config->model_ranks, config->sharding, comm, &placement,
                           &status) != LAP_OK)
    fail_msg("%s", status.message);
  run->state = lap_state_create(&config->model, &placement, lap_state_use_of_training(config));
  lap_state_initialise(run->state, (uint64_t)config->seed);
  run->weights = lap_block_weights_create(run->state);
  lap_block_weights_changed(run->weights, true);
  run->stepper = lap_stepper_create(config, &run->data, (uint64_t)config->schedule.steps,
                                    run->state, run->weights);
}

void small_run_end(small_run *run) {
  lap_block_weights_wait_all(run->weights);
  lap_stepper_destroy(run->stepper);
  lap_block_weights_destroy(run->weights);
  lap_state_destroy(run->state);
  lap_config_destroy(run->config);
}

void small_run_sha256(small_run *run, char hex[LAP_SHA256_HEX]) {
  lap_block_weights_wait_all(run->weights);
  lap_state_sha256(run->state, hex);
}
