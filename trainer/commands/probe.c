/* probe: one forward and backward, from safetensors to safetensors.
 *
 * For people who compare lapidary with another framework. It reads a config of model and objective,
 * the weights by their Hugging Face names and a batch, and writes loss, logits and every gradient,
 * in float32 or float64 (trainer/probe/probe.h). Not collective: one process, without MPI, which
 * computes all model shards.
 */
#include <inttypes.h>
#include <omp.h>
#include <stddef.h>
#include <stdio.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/gemm_backend.h"
#include "autograd/op/shard_range.h"
#include "core/directory_lock.h"
#include "core/json.h"
#include "trainer/commands/entries.h"
#include "trainer/config/config.h"
#include "trainer/config/load.h"
#include "trainer/config/origin.h"
#include "trainer/config/resolve.h"
#include "trainer/probe/probe.h"
#include "trainer/run/metrics.h"

typedef struct {
  const char *weights, *batch, *out;
  bool double_precision;
} probe_options;

static const lap_flag flags_of_probe[] = {{.name = "weights",
                                           .letter = 'w',
                                           .value = "W.safetensors",
                                           .offset = offsetof(probe_options, weights),
                                           .help = "the weights, by their Hugging Face names"},
                                          {.name = "batch",
                                           .letter = 'b',
                                           .value = "B.safetensors",
                                           .offset = offsetof(probe_options, batch),
                                           .help = "tokens and targets, and perhaps a teacher"},
                                          {.name = "out",
                                           .letter = 'o',
                                           .value = "O.safetensors",
                                           .offset = offsetof(probe_options, out),
                                           .help = "where loss, logits and gradients go"},
                                          {.name = "double",
                                           .letter = 'd',
                                           .offset = offsetof(probe_options, double_precision),
                                           .help = "compute and write in float64"},
                                          {0}};

static lap_code check_options(const probe_options *probe, lap_status *status) {
  const char *missing = !probe->weights ? "--weights" : !probe->batch ? "--batch" : "--out";
  if (probe->weights && probe->batch && probe->out) return LAP_OK;
  return lap_fail(status, LAP_USAGE, "%s is missing; see --help", missing);
}

/* The teacher of a probe is in its batch, where a run has a cache: it makes the default 1
 * (docs/design.md#config-keys), and a weight that is given cannot do without it. */
static lap_code resolve_objective(lap_config *config, const lap_probe_batch *batch,
                                  const char *batch_path, lap_status *status) {
  if (!lap_config_is_given(config, "objective.distill_weight"))
    config->objective.distill_weight = batch->k ? 1 : 0;
  if (config->objective.distill_weight > 0 && !batch->k)
    return lap_fail(status, LAP_USAGE,
                    "%s: objective.distill_weight is %g, but %s has no teacher_ids, teacher_probs "
                    "and teacher_tail; add them or use 0",
                    config->file, config->objective.distill_weight, batch_path);
  const lap_config_teacher teacher = {.name = batch_path, .codec = "topk", .dense = true};
  return lap_config_resolve_tail(config, &teacher, status);
}

static lap_code check_smoothing(const lap_config *config, const char *batch_path,
                                lap_status *status) {
  if (config->smoothing == LAP_SMOOTHING_NONE) return LAP_OK;
  return lap_config_fail(config, "objective.smoothing", status,
                         "expected none: probe reads its teacher from the batch; write the "
                         "distribution into %s as teacher_ids, teacher_probs and teacher_tail",
                         batch_path);
}

static lap_code check_shards(const lap_config *config, lap_status *status) {
  if (config->mesh.model <= LAP_MAX_SHARDS) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: mesh.model: a probe computes all shards in one process, which holds at most "
                  "%d; found %d",
                  config->file, LAP_MAX_SHARDS, config->mesh.model);
}

static lap_code print_result(const lap_command_line *line, double loss, int64_t counted,
                             lap_status *status) {
  if (!line->json) {
    printf("loss %.9g over %" PRId64 " positions\n", loss, counted);
    return LAP_OK;
  }
  json_t *object =
      json_pack("{s:o, s:I}", "loss", lap_json_number(loss), "counted", (json_int_t)counted);
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

static lap_code probe_with(const probe_options *probe, lap_config *config,
                           const lap_command_line *line, lap_status *status) {
  lap_probe_batch *batch;
  double loss = 0;
  LAP_TRY(lap_config_require(config, LAP_NEEDS_MODEL, status));
  LAP_TRY(check_smoothing(config, probe->batch, status));
  LAP_TRY(check_shards(config, status));
  const lap_gemm_choice choice = lap_config_gemm(config);
  LAP_TRY(lap_gemm_open(&choice, status));
  if (probe->double_precision) LAP_TRY(lap_blas_open(config->blas_core, status));
  omp_set_num_threads(config->threads);
  LAP_TRY(lap_probe_batch_read(probe->batch, &config->model, &batch, status));
  lap_code code = resolve_objective(config, batch, probe->batch, status);
  if (code == LAP_OK) {
    const lap_probe_request request = {.model = &config->model,
                                       .objective = config->objective,
                                       .threads = config->threads,
                                       .shards = config->mesh.model,
                                       .weights = probe->weights,
                                       .batch = batch,
                                       .out = probe->out};
    code = probe->double_precision ? lap_probe_run_double(&request, &loss, status)
                                   : lap_probe_run_float(&request, &loss, status);
  }
  if (code == LAP_OK) code = print_result(line, loss, batch->counted, status);
  lap_probe_batch_destroy(batch);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  probe_options probe = {0};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .key_meant = lap_config_key_meant,
                                     .json = true,
                                     .flags = flags_of_probe,
                                     .destination = &probe};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  lap_config *config = NULL;
  lap_code code = check_options(&probe, status);
  if (code == LAP_OK)
    code =
        lap_config_load(line.positional[0], line.overrides, line.override_count, &config, status);
  lap_directory_lock *lock = NULL;
  if (code == LAP_OK) code = lap_output_lock_take(probe.out, false, &lock, status);
  if (code == LAP_OK) code = probe_with(&probe, config, &line, status);
  lap_directory_lock_release(lock);
  lap_config_destroy(config);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_probe = {
    .name = "probe",
    .summary = "one forward and backward, for comparison with other frameworks",
    .usage = "CONFIG.yaml --weights W --batch B --out O [--double] [KEY=VALUE...]",
    .description =
        "W, B and O are safetensors files. W holds the weights by their Hugging Face names. B "
        "holds "
        "tokens and targets [B,T] (target -1: not counted), and may hold teacher_ids and "
        "teacher_probs [B,T,K] (probability 0: unused) and teacher_tail [B,T]. O gets loss [1], "
        "the "
        "mean over counted positions; logits [B,T,V], after the final soft-cap, before "
        "temperature; "
        "and grad.NAME for every weight.\n\n"
        "The config needs only model and objective. objective.distill_weight is 1 by default where "
        "B "
        "has a teacher, else 0; objective.tail is ghost by default; "
        "decoupled takes the most probable ids for the head, or, where K is not the vocabulary, "
        "the first slots. Each sequence is one document. "
        "mesh.model cuts the model as "
        "training would.",
    .run = run};
