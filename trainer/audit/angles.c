#include "trainer/audit/angles.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "trainer/audit/block_gradient.h"

enum { SEEDS = 2 };

/* --- blocks and targets --- */

static lap_code choose_blocks(const lap_angle_plan *plan, const lap_cache *dense,
                              lap_angle_audit *audit, lap_status *status) {
  const uint32_t rows = lap_cache_schema_of(dense)->sequence_length - 1;
  const uint64_t all = lap_set_window_count(lap_cache_tokens(dense), rows + 1);
  audit->blocks = plan->blocks;
  audit->windows = ((uint64_t)plan->block_tokens + rows - 1) / rows;
  if ((uint64_t)audit->blocks * audit->windows <= all) return LAP_OK;
  return lap_fail(
      status, LAP_USAGE,
      "--blocks %" PRId64 " of --block-tokens %" PRId64 " are %" PRIu64
      " windows of %u tokens; the shards have %" PRIu64 ": lower --block-tokens, or give more text",
      audit->blocks, plan->block_tokens, (uint64_t)audit->blocks * audit->windows, rows, all);
}

static uint64_t first_window(const lap_angle_audit *audit, const lap_cache *dense, int64_t block) {
  const uint32_t length = lap_cache_schema_of(dense)->sequence_length;
  const uint64_t all = lap_set_window_count(lap_cache_tokens(dense), length);
  const uint64_t spare = all - (uint64_t)audit->blocks * audit->windows;
  return (uint64_t)block * audit->windows + (uint64_t)block * spare / (uint64_t)audit->blocks;
}

static void add_target(lap_angle_audit *audit, const lap_kept *kept, lap_tail tail, double bytes) {
  const bool decoupled = tail == LAP_TAIL_DECOUPLED;
  const bool dense = kept->codec == LAP_CODEC_TOPK && kept->exact == kept->vocab;
  audit->targets = lap_reallocate(audit->targets, audit->target_count + 1, sizeof *audit->targets);
  lap_angle_target *target = &audit->targets[audit->target_count++];
  *target = (lap_angle_target){.kept = *kept, .tail = tail, .bytes_per_token = bytes};
  /* Of dense rows as many ids as stratified has, which comes before. */
  if (decoupled) target->head = dense ? target[-1].head : kept->exact;
}

/* The rules that docs/design.md#tail-rules has for a codec. With drawn rows all but decoupled are
 * one. */
static void add_rules(lap_angle_audit *audit, const lap_kept *kept, double bytes) {
  static const lap_tail of_topk[] = {LAP_TAIL_GHOST, LAP_TAIL_DROP, LAP_TAIL_RENORMALISE,
                                     LAP_TAIL_RENORMALISE_BOTH};
  if (lap_codec_is_drawn(kept->codec)) {
    add_target(audit, kept, LAP_TAIL_NONE, bytes);
    if (kept->codec == LAP_CODEC_STRATIFIED) add_target(audit, kept, LAP_TAIL_DECOUPLED, bytes);
    return;
  }
  for (size_t i = 0; i < sizeof of_topk / sizeof *of_topk; ++i)
    add_target(audit, kept, of_topk[i], bytes);
}

static lap_code choose_targets(const lap_angle_plan *plan, const lap_stored_sample *sample,
                               uint32_t vocab, lap_angle_audit *audit, lap_status *status) {
  static const lap_codec codecs[] = {LAP_CODEC_TOPK, LAP_CODEC_SAMPLED, LAP_CODEC_VAROPT,
                                     LAP_CODEC_GEMMA3, LAP_CODEC_STRATIFIED};
  double bytes = 0;
  for (size_t i = 0; i < sizeof codecs / sizeof *codecs; ++i) {
    lap_kept kept = lap_kept_of_slots(codecs[i], plan->slots, vocab);
    if (plan->bytes > 0)
      LAP_TRY(
          lap_kept_of_bytes(sample, codecs[i], plan->bytes, plan->threads, &kept, &bytes, status));
    else
      LAP_TRY(lap_stored_bytes(sample, &kept, plan->threads, &bytes, status));
    add_rules(audit, &kept, bytes);
  }
  const lap_kept all = lap_kept_of_slots(LAP_CODEC_TOPK, vocab, vocab);
  LAP_TRY(lap_stored_bytes(sample, &all, plan->threads, &bytes, status));
  add_target(audit, &all, LAP_TAIL_DECOUPLED, bytes);
  return LAP_OK;
}

lap_code lap_angle_audit_begin(const lap_angle_plan *plan, lap_cache *dense, lap_angle_audit *audit,
                               lap_status *status) {
  *audit = (lap_angle_audit){0};
  LAP_TRY(choose_blocks(plan, dense, audit, status));
  lap_stored_sample *sample;
  LAP_TRY(lap_stored_sample_create(dense, &sample, status));
  const lap_code code =
      choose_targets(plan, sample, lap_cache_schema_of(dense)->vocab_size, audit, status);
  lap_stored_sample_destroy(sample);
  return code;
}

void lap_angle_audit_release(lap_angle_audit *audit) {
  for (int i = 0; i < audit->student_count; ++i) {
    free(audit->students[i].path);
    free(audit->students[i].angles);
  }
  free(audit->students);
  free(audit->targets);
  *audit = (lap_angle_audit){0};
}

/* --- one student --- */

/* Inner products of a group: [B, B] each, and [B] apart. */
typedef struct {
  double *dense, *cross, *target, *apart;
} products;

typedef struct {
  lap_angle_audit *audit;
  const lap_angle_plan *plan;
  lap_cache *cache;
  lap_dense_rows *rows;
  const lap_model_source *student;
  lap_console *console;
  int64_t passes;                  /* of blocks, done */
  float **dense, **target, *again; /* [B] gradients each, and one by the second draw seed */
  products products[LAP_ANGLE_GROUPS];
} angler;

static void create_gradients(angler *a) {
  const size_t blocks = (size_t)a->audit->blocks;
  const int64_t elements = a->student->parameters->elements;
  a->dense = lap_allocate(blocks, sizeof(float *));
  a->target = lap_allocate(blocks, sizeof(float *));
  for (size_t i = 0; i < blocks; ++i) {
    a->dense[i] = lap_allocate_aligned(elements, sizeof(float));
    a->target[i] = lap_allocate_aligned(elements, sizeof(float));
  }
  a->again = lap_allocate_aligned(elements, sizeof(float));
  for (int g = 0; g < LAP_ANGLE_GROUPS; ++g)
    a->products[g] = (products){.dense = lap_allocate(blocks * blocks, sizeof(double)),
                                .cross = lap_allocate(blocks * blocks, sizeof(double)),
                                .target = lap_allocate(blocks * blocks, sizeof(double)),
                                .apart = lap_allocate(blocks, sizeof(double))};
}

static void destroy_gradients(angler *a) {
  for (int64_t i = 0; i < a->audit->blocks; ++i) {
    lap_release_aligned(a->dense[i]);
    lap_release_aligned(a->target[i]);
  }
  free(a->dense);
  free(a->target);
  lap_release_aligned(a->again);
  for (int g = 0; g < LAP_ANGLE_GROUPS; ++g) {
    free(a->products[g].dense);
    free(a->products[g].cross);
    free(a->products[g].target);
    free(a->products[g].apart);
  }
}

/* Where the product of one kind lies in those of a group. */
static double *dense_of(products *p) { return p->dense; }
static double *cross_of(products *p) { return p->cross; }
static double *target_of(products *p) { return p->target; }
static double *apart_of(products *p) { return p->apart; }

static void put(angler *a, double *(*kind)(products *), int64_t at, lap_inner inner) {
  kind(&a->products[LAP_ANGLE_EMBEDDING])[at] = inner.embedding;
  kind(&a->products[LAP_ANGLE_OTHER])[at] = inner.other;
  kind(&a->products[LAP_ANGLE_ALL])[at] = inner.embedding + inner.other;
}

/* All products of left with right. */
static void put_products(angler *a, double *(*kind)(products *), float *const *left,
                         float *const *right) {
  const int64_t blocks = a->audit->blocks;
#pragma omp parallel for schedule(dynamic)
  for (int64_t pair = 0; pair < blocks * blocks; ++pair)
    put(a, kind, pair,
        lap_gradient_inner(a->student->parameters, left[pair / blocks], right[pair % blocks]));
}

/* The gradients of a target on all blocks; of a drawn one how far draws are apart, too. */
static lap_code run_target(angler *a, const lap_kept *kept, const lap_objective *objective,
                           float *const *into, lap_status *status) {
  const bool drawn = lap_codec_is_drawn(kept->codec);
  const lap_parameters *parameters = a->student->parameters;
  lap_block_gradient *block =
      lap_block_gradient_create(&a->student->config->model, parameters, a->student->weights, kept,
                                objective, a->rows, a->plan->threads);
  lap_code code = LAP_OK;
  uint64_t tokens = 0;
  for (int64_t i = 0; i < a->audit->blocks && code == LAP_OK; ++i) {
    float *const gradients[SEEDS] = {into[i], a->again};
    const uint64_t begin = first_window(a->audit, a->cache, i);
    uint64_t counted = 0;
    code = lap_block_gradient_run(block, begin, begin + a->audit->windows, drawn ? SEEDS : 1,
                                  gradients, &counted, status);
    tokens += counted;
    if (code == LAP_OK && counted == 0)
      code = lap_fail(status, LAP_USAGE,
                      "--block-tokens %" PRId64 ": no position of block %" PRId64
                      " is counted; give more tokens",
                      a->plan->block_tokens, i);
    if (code == LAP_OK && drawn)
      put(a, apart_of, i, lap_gradient_apart(parameters, into[i], a->again));
    lap_console_progress(a->console, ++a->passes, "");
  }
  a->audit->tokens = (double)tokens / (double)a->audit->blocks;
  lap_block_gradient_destroy(block);
  return code;
}

static bool is_finite(const double *values, int64_t blocks) {
  for (int64_t i = 0; i < blocks * blocks; ++i)
    if (!isfinite(values[i])) return false;
  return true;
}

static lap_code run_dense(angler *a, lap_student_angles *result, lap_status *status) {
  const uint32_t vocab = lap_cache_schema_of(a->cache)->vocab_size;
  const lap_kept all = lap_kept_of_slots(LAP_CODEC_TOPK, vocab, vocab);
  const lap_objective objective = {.distill_weight = 1, .temperature = 1, .tail = LAP_TAIL_NONE};
  LAP_TRY(run_target(a, &all, &objective, a->dense, status));
  put_products(a, dense_of, a->dense, a->dense);
  const int64_t blocks = a->audit->blocks;
  if (!is_finite(a->products[LAP_ANGLE_ALL].dense, blocks))
    return lap_fail(status, LAP_NONFINITE, "--student: %s: its gradients are not finite",
                    a->student->path);
  for (int g = 0; g < LAP_ANGLE_GROUPS; ++g)
    result->control[g] = lap_angle_control(a->products[g].dense, (int)blocks);
  return LAP_OK;
}

static lap_code compare_target(angler *a, int index, lap_student_angles *result,
                               lap_status *status) {
  const lap_angle_target *target = &a->audit->targets[index];
  const lap_objective objective = {.distill_weight = 1,
                                   .temperature = 1,
                                   .tail = target->tail,
                                   .head = target->head,
                                   .tail_weight = target->tail == LAP_TAIL_DECOUPLED};
  LAP_TRY(run_target(a, &target->kept, &objective, a->target, status));
  put_products(a, cross_of, a->target, a->dense);
  put_products(a, target_of, a->target, a->target);
  if (!is_finite(a->products[LAP_ANGLE_ALL].target, a->audit->blocks))
    return lap_fail(status, LAP_NONFINITE, "--student: %s: its gradients are not finite",
                    a->student->path);
  for (int g = 0; g < LAP_ANGLE_GROUPS; ++g) {
    const products *p = &a->products[g];
    const bool drawn = lap_codec_is_drawn(target->kept.codec);
    const lap_gradient_products all = {(int)a->audit->blocks, p->dense, p->cross, p->target,
                                       drawn ? p->apart : NULL};
    result->angles[index][g] = lap_angles_of(&all);
  }
  return LAP_OK;
}

lap_code lap_angle_audit_add(lap_angle_audit *audit, const lap_angle_plan *plan, lap_cache *dense,
                             const lap_model_source *student, lap_console *console,
                             lap_status *status) {
  angler a = {.audit = audit, .plan = plan, .cache = dense, .student = student, .console = console};
  audit->students =
      lap_reallocate(audit->students, audit->student_count + 1, sizeof *audit->students);
  lap_student_angles *result = &audit->students[audit->student_count++];
  *result =
      (lap_student_angles){.path = lap_copy_string(student->path),
                           .step = student->checkpoint ? (int64_t)student->checkpoint->step : -1,
                           .angles = lap_allocate(audit->target_count, sizeof *result->angles)};
  a.rows = lap_dense_rows_create(dense);
  create_gradients(&a);
  lap_console_progress_begin(console, "angles", "blocks",
                             audit->blocks * (1 + (int64_t)audit->target_count), 0);
  lap_code code = run_dense(&a, result, status);
  for (int i = 0; i < audit->target_count && code == LAP_OK; ++i)
    code = compare_target(&a, i, result, status);
  lap_console_progress_end(console);
  destroy_gradients(&a);
  lap_dense_rows_destroy(a.rows);
  return code;
}
