#include "trainer/config/resolve.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "trainer/config/origin.h"
#include "trainer/config/schema.h"

/* The largest multiple of `unit` that is at most `value`; may be 0. */
static int64_t multiple_below(int64_t value, int64_t unit) { return value / unit * unit; }

static lap_code check_batch(const lap_config *config, lap_status *status) {
  const int64_t sequences = config->batch.sequences;
  if (sequences == 0) return LAP_OK;
  const int64_t lanes = lap_mesh_lanes(&config->mesh);
  if (sequences % lanes != 0) {
    const int64_t below = multiple_below(sequences, lanes);
    char smaller[40] = "";
    if (below > 0) snprintf(smaller, sizeof smaller, "%" PRId64 " or ", below);
    return lap_config_fail(config, "batch.sequences", status,
                           "%" PRId64 " is not a multiple of the %" PRId64
                           " lanes of mesh.pods x mesh.data; %s%" PRId64 " would be",
                           sequences, lanes, smaller, below + lanes);
  }
  if (!lap_config_is_given(config, "batch.micro_sequences")) return LAP_OK; /* divides, or is 1 */
  const int64_t each = sequences / lanes, micro = config->batch.micro_sequences;
  if (each % micro == 0) return LAP_OK;
  int64_t below = micro < each ? micro : each, above = micro;
  while (each % below != 0) --below;
  while (above <= each && each % above != 0) ++above;
  char larger[40] = "";
  if (above <= each) snprintf(larger, sizeof larger, " or %" PRId64, above);
  return lap_config_fail(config, "batch.micro_sequences", status,
                         "%" PRId64 " does not divide the %" PRId64
                         " sequences of a lane (batch.sequences / (mesh.pods x mesh.data)); "
                         "%" PRId64 "%s would",
                         micro, each, below, larger);
}

static bool is_renormalising(lap_tail tail) {
  return tail == LAP_TAIL_RENORMALISE || tail == LAP_TAIL_RENORMALISE_BOTH;
}

/* A single tail mass says nothing about the tail at another temperature. */
static lap_code check_temperature(const lap_config *config, lap_status *status) {
  if (config->objective.temperature == 1) return LAP_OK;
  const bool has_tail = config->origin[lap_config_find("objective.tail")] != LAP_ORIGIN_NONE;
  if (has_tail && is_renormalising(config->objective.tail)) return LAP_OK;
  return lap_config_fail(config, "objective.temperature", status,
                         "%g needs objective.tail renormalise or renormalise_both; every other "
                         "rule needs temperature 1",
                         config->objective.temperature);
}

/* The model's own messages begin with "KEY is VALUE"; here the key comes with where it is from. */
static lap_code check_shape(const lap_config *config, lap_status *status) {
  lap_status why;
  if (lap_gemma2_config_check(&config->model, &why) == LAP_OK) return LAP_OK;
  const char *after = strstr(why.message, " is ");
  assert(after);
  char key[64];
  snprintf(key, sizeof key, "model.%.*s", (int)(after - why.message), why.message);
  return lap_config_fail(config, key, status, "%s", after + strlen(" is "));
}

static lap_code check_model(lap_config *config, lap_status *status) {
  bool complete = true;
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  for (size_t i = 0; i < count; ++i)
    if (schema[i].needs & LAP_NEEDS_MODEL && config->origin[i] == LAP_ORIGIN_NONE) complete = false;
  const lap_gemma2_config *model = &config->model;
  if (!complete) return LAP_OK; /* lap_config_require says so where it matters */
  LAP_TRY(check_shape(config, status));
  if (config->layer_type_count && config->layer_type_count != model->num_hidden_layers)
    return lap_config_fail(config, "model.layer_types", status,
                           "expected one entry for each of the %" PRId64
                           " layers of num_hidden_layers, found %" PRId64,
                           model->num_hidden_layers, config->layer_type_count);
  if (config->data.sequence_length > model->max_position_embeddings)
    return lap_config_fail(config, "data.sequence_length", status,
                           "%" PRId64 " exceeds model.max_position_embeddings, %" PRId64,
                           config->data.sequence_length, model->max_position_embeddings);
  lap_status why;
  if (lap_gemma2_config_check_shards(model, config->mesh.model, &why) != LAP_OK)
    return lap_config_fail(config, "mesh.model", status, "%s", why.message);
  return LAP_OK;
}

static lap_code check_mesh(const lap_config *config, lap_status *status) {
  if (config->model_ranks && config->mesh.model % config->model_ranks != 0)
    return lap_config_fail(config, "mesh.model_ranks", status,
                           "%d does not divide the %d shards of mesh.model", config->model_ranks,
                           config->mesh.model);
  return LAP_OK;
}

static lap_code check_blas_core(const lap_config *config, lap_status *status) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  const char *core = config->blas_core;
  if (strcmp(core, "auto") == 0) return LAP_OK;
  if (strspn(core, letters) == strlen(core) && *core >= 'A' && *core <= 'Z') return LAP_OK;
  return lap_config_fail(config, "blas_core", status,
                         "expected auto or a core type of OpenBLAS in capitals, such as HASWELL, "
                         "ZEN or SKYLAKEX, found '%s'",
                         core);
}

/* Configs that are older than the key gemm name a core type alone. */
static lap_code settle_gemm(lap_config *config, lap_status *status) {
  const bool core_named = strcmp(config->blas_core, "auto") != 0;
  if (!lap_config_is_given(config, "gemm"))
    config->gemm = core_named ? LAP_GEMM_OPENBLAS : LAP_GEMM_LAPIDARY;
  if (config->gemm == LAP_GEMM_OPENBLAS && config->precision == LAP_MATMUL_BFLOAT16)
    return lap_config_fail(config, "precision", status,
                           "bfloat16 is computed by lapidary's own kernels, but gemm is openblas; "
                           "leave gemm out, or set precision to float32");
  if (config->gemm == LAP_GEMM_OPENBLAS || !core_named) return LAP_OK;
  return lap_config_fail(
      config, "blas_core", status,
      "%s is a core type of OpenBLAS, but gemm is lapidary, which gives the same "
      "bits on every processor; leave blas_core out, or set gemm to openblas",
      config->blas_core);
}

static int lengths_present(const lap_config *config) {
  return (config->schedule.steps != 0) + (config->schedule.tokens != 0) +
         (config->schedule.epochs != 0);
}

static lap_code check_schedule(const lap_config *config, lap_status *status) {
  if (lengths_present(config) > 1)
    return lap_config_fail(
        config, config->schedule.epochs != 0 ? "schedule.epochs" : "schedule.tokens", status,
        "give exactly one of schedule.steps, schedule.tokens and "
        "schedule.epochs");
  if (config->schedule.steps && config->schedule.warmup_steps > config->schedule.steps)
    return lap_config_fail(config, "schedule.warmup_steps", status,
                           "%" PRId64 " exceeds schedule.steps, %" PRId64,
                           config->schedule.warmup_steps, config->schedule.steps);
  return LAP_OK;
}

static void fill_default(lap_config *config, const char *key, double *field, double value) {
  int *origin = &config->origin[lap_config_find(key)];
  if (*origin != LAP_ORIGIN_NONE) return;
  *field = value;
  *origin = LAP_ORIGIN_DEFAULT;
}

void lap_config_limit_micro_sequences(lap_config *config, int64_t most) {
  int *origin = &config->origin[lap_config_find("batch.micro_sequences")];
  if (*origin != LAP_ORIGIN_NONE && *origin != LAP_ORIGIN_DEFAULT) return;
  const int64_t each = config->batch.sequences / lap_mesh_lanes(&config->mesh);
  int64_t micro = most < each ? most : each;
  while (micro > 1 && each % micro != 0) --micro;
  config->batch.micro_sequences = micro > 1 ? micro : 1;
  *origin = LAP_ORIGIN_DEFAULT;
}

/* More positions do not make products faster, and take memory. OpenBLAS's bits depend on it. */
static void settle_micro_sequences(lap_config *config) {
  enum { POSITIONS = 4096 };
  const int64_t length = config->data.sequence_length;
  const bool free = config->gemm == LAP_GEMM_LAPIDARY && length > 0;
  lap_config_limit_micro_sequences(config, free ? POSITIONS / length : 1);
}

lap_code lap_config_resolve(lap_config *config, lap_status *status) {
  LAP_TRY(check_mesh(config, status));
  LAP_TRY(check_model(config, status));
  LAP_TRY(check_batch(config, status));
  LAP_TRY(check_temperature(config, status));
  LAP_TRY(check_blas_core(config, status));
  LAP_TRY(settle_gemm(config, status));
  settle_micro_sequences(config);
  LAP_TRY(check_schedule(config, status));
  if (config->model.hidden_size)
    fill_default(config, "optimizer.learning_rate", &config->optimizer.learning_rate,
                 fmin(6e-3, 0.5 / (double)config->model.hidden_size));
  fill_default(config, "objective.distill_weight", &config->objective.distill_weight,
               config->smoothing != LAP_SMOOTHING_NONE ? 0.1
               : config->teacher.cache                 ? 1
                                                       : 0);
  return LAP_OK;
}

/* The rule that takes head and tail apart: of all ids, or where the tail is drawn by itself. */
static lap_code resolve_decoupled(lap_config *config, const lap_config_teacher *teacher,
                                  lap_status *status) {
  const bool given = lap_config_is_given(config, "objective.head");
  if (!teacher->dense && teacher->head == 0)
    return lap_config_fail(config, "objective.tail", status,
                           "decoupled needs every id (teach --codec topk --k with the vocabulary), "
                           "or head and tail drawn apart (teach --codec stratified); %s is %s",
                           teacher->name, teacher->codec);
  if (teacher->dense && !given)
    return lap_config_fail(config, "objective.head", status,
                           "decoupled needs it with %s, which has every id: how many of the most "
                           "probable ids are the head (10, say)",
                           teacher->name);
  if (!teacher->dense && given && config->objective.head != teacher->head)
    return lap_config_fail(config, "objective.head", status,
                           "%" PRId64 " is not the %" PRId64
                           " exact ids of %s; leave it out, or "
                           "teach again with --k %" PRId64,
                           config->objective.head, teacher->head, teacher->name,
                           config->objective.head);
  if (!given) config->objective.head = teacher->head;
  config->origin[lap_config_find("objective.head")] =
      given ? config->origin[lap_config_find("objective.head")] : LAP_ORIGIN_DEFAULT;
  fill_default(config, "objective.tail_weight", &config->objective.tail_weight, 1);
  return LAP_OK;
}

lap_code lap_config_resolve_tail(lap_config *config, const lap_config_teacher *teacher,
                                 lap_status *status) {
  const bool is_topk = strcmp(teacher->codec, "topk") == 0;
  if (config->objective.temperature != 1 && !is_topk)
    return lap_config_fail(config, "objective.temperature", status,
                           "%g needs a teacher cache of codec topk; %s is %s: use 1, or teach "
                           "again with --codec topk",
                           config->objective.temperature, teacher->name, teacher->codec);
  int *origin = &config->origin[lap_config_find("objective.tail")];
  if (*origin == LAP_ORIGIN_NONE) {
    config->objective.tail = is_topk ? LAP_TAIL_GHOST : LAP_TAIL_NONE;
    *origin = LAP_ORIGIN_DEFAULT;
  }
  if (config->objective.tail == LAP_TAIL_DECOUPLED)
    return resolve_decoupled(config, teacher, status);
  if (is_topk) return LAP_OK;
  if (config->objective.tail == LAP_TAIL_RENORMALISE_BOTH)
    return lap_config_fail(config, "objective.tail", status,
                           "renormalise_both would teach the student nothing of the ids that were "
                           "not drawn, though the draws of %s (%s) stand for them; use none, or "
                           "teach again with --codec topk",
                           teacher->name, teacher->codec);
  if (config->objective.tail == LAP_TAIL_GHOST) config->objective.tail = LAP_TAIL_NONE;
  return LAP_OK;
}

void lap_config_settle_warmup(lap_config *config, int64_t steps) {
  int *origin = &config->origin[lap_config_find("schedule.warmup_steps")];
  if (*origin != LAP_ORIGIN_NONE) return;
  config->schedule.warmup_steps = steps;
  *origin = LAP_ORIGIN_DEFAULT;
}

lap_code lap_config_resolve_warmup(lap_config *config, int64_t total_steps, lap_status *status) {
  int *origin = &config->origin[lap_config_find("schedule.warmup_steps")];
  if (*origin == LAP_ORIGIN_NONE) {
    config->schedule.warmup_steps = total_steps / 20;
    *origin = LAP_ORIGIN_DEFAULT;
  }
  if (config->schedule.warmup_steps > total_steps)
    return lap_config_fail(config, "schedule.warmup_steps", status,
                           "%" PRId64 " exceeds the %" PRId64 " steps of the run",
                           config->schedule.warmup_steps, total_steps);
  return LAP_OK;
}

lap_code lap_config_require(const lap_config *config, unsigned needs, lap_status *status) {
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  for (size_t i = 0; i < count; ++i)
    if (schema[i].needs & needs && config->origin[i] == LAP_ORIGIN_NONE)
      return lap_fail(status, LAP_USAGE, "%s: %s is missing; add it to the config or give %s=VALUE",
                      config->file, schema[i].name, schema[i].name);
  if (needs & LAP_NEEDS_DATA && config->objective.distill_weight > 0 && !config->teacher.cache &&
      config->smoothing == LAP_SMOOTHING_NONE)
    return lap_config_fail(config, "objective.distill_weight", status,
                           "%g needs teacher.cache, the glob of a teacher's cache; without a "
                           "teacher use 0",
                           config->objective.distill_weight);
  if (needs & LAP_NEEDS_SCHEDULE && lengths_present(config) != 1)
    return lap_fail(status, LAP_USAGE,
                    "%s: the length of the run is missing: give exactly one of schedule.steps, "
                    "schedule.tokens and schedule.epochs",
                    config->file);
  return LAP_OK;
}
