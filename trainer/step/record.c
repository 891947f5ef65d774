#include "trainer/step/record.h"

const char *lap_phase_name(lap_phase phase) {
  static const char *const names[LAP_PHASES] = {"data",   "model",  "sum lanes",
                                                "reduce", "update", "gather"};
  return names[phase];
}

lap_gemma2 *lap_stepper_record(const lap_config *config, lap_shard_range shards, int64_t teacher_k,
                               bool allocate) {
  return lap_gemma2_record(
      &config->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                              .objective = &config->objective,
                                              .sequences = config->batch.micro_sequences,
                                              .length = config->data.sequence_length,
                                              .teacher_k = teacher_k,
                                              .threads = config->threads,
                                              .shards = shards,
                                              .recompute = config->recompute,
                                              .bfloat16 = config->precision == LAP_MATMUL_BFLOAT16,
                                              .openblas = config->gemm == LAP_GEMM_OPENBLAS,
                                              .allocate = allocate});
}
