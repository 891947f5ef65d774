#include "trainer/audit/live.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"
#include "core/json.h"
#include "core/memory.h"
#include "dataset/windows.h"
#include "teacher/cache_write.h"
#include "trainer/audit/made_rows.h"
#include "trainer/model/window_logits.h"

/* What a thread makes a row in. */
typedef struct {
  uint32_t *ids;  /* [k] */
  float *logprob; /* [k] */
} live_row;

typedef struct {
  const lap_cache_schema *schema;
  lap_row_maker *maker;
  live_row *row; /* [threads] */
  uint64_t window_row, stream;
  lap_live_audit *live;
  bool non_finite;
} auditor;

static lap_kept kept_of(const lap_cache_schema *schema) {
  const bool drawn = lap_codec_is_drawn(schema->codec);
  return (lap_kept){schema->codec, schema->vocab_size, drawn ? schema->exact : schema->k,
                    schema->draws};
}

/* The row as it would be stored. */
static bool make_row(const auditor *a, const float *logits, uint64_t row, lap_made_row *made) {
  const lap_cache_schema *schema = a->schema;
  const lap_draw_key key = {(uint64_t)schema->draw_seed, a->stream, row};
  if (!lap_row_maker_make(a->maker, logits, -1, key, made)) return false;
  for (uint32_t i = 0; i < schema->k && schema->codec == LAP_CODEC_TOPK; ++i)
    made->logprob[i] = lap_cache_round_logprob(made->logprob[i]);
  return true;
}

/* Whether the row that was made is the stored one, to the bit. */
static bool is_same(const lap_micro_batch *window, int64_t t, uint32_t k, lap_made_row *made) {
  const int32_t *ids = window->batch.teacher_ids + t * k;
  const float *probability = window->batch.teacher_probability + t * k;
  lap_vector_exp(made->logprob, k, 0);
  bool same = window->batch.teacher_tail[t] == made->tail;
  for (uint32_t i = 0; i < k; ++i) {
    const bool used = ids[i] >= 0;
    same &= used ? ids[i] == (int32_t)made->ids[i] && probability[i] == made->logprob[i]
                 : made->logprob[i] == 0;
  }
  return same;
}

/* The largest difference of a stored probability from that of its id in `logits`. */
static double gap_of(const lap_micro_batch *window, int64_t t, uint32_t k, const float *logits,
                     uint32_t vocab) {
  const int32_t *ids = window->batch.teacher_ids + t * k;
  const float max = lap_vector_max(logits, vocab);
  const double sum = (double)lap_vector_sum_exp(logits, vocab, max, 1);
  double gap = 0;
  for (uint32_t i = 0; i < k; ++i) {
    if (ids[i] < 0) continue;
    const double p = lap_scalar_exp((double)logits[ids[i]] - (double)max) / sum;
    gap = fmax(gap, fabs(p - (double)window->batch.teacher_probability[t * k + i]));
  }
  return gap;
}

static void audit_position(void *context, const lap_micro_batch *window, int64_t t, float *logits) {
  auditor *a = context;
  const uint32_t k = a->schema->k;
  const live_row *room = &a->row[omp_get_thread_num()];
  lap_made_row made = {.ids = room->ids, .logprob = room->logprob};
  const bool finite = make_row(a, logits, a->window_row + (uint64_t)t - 1, &made);
  const bool same = finite && is_same(window, t, k, &made);
  const double gap = lap_codec_is_drawn(a->schema->codec)
                         ? 0
                         : gap_of(window, t, k, logits, a->schema->vocab_size);
#pragma omp critical(live_audit)
  {
    a->non_finite |= !finite;
    a->live->rows += 1;
    a->live->other_rows += !same;
    a->live->beyond_rows += gap > a->live->tolerance;
    a->live->largest_gap = fmax(a->live->largest_gap, gap);
    a->live->largest_tail_gap = fmax(
        a->live->largest_tail_gap, fabs((double)window->batch.teacher_tail[t] - (double)made.tail));
  }
}

static lap_code audit_windows(auditor *a, lap_window_logits *model, const lap_data *data,
                              lap_console *console, lap_status *status) {
  uint64_t index = 0;
  const uint64_t all = lap_data_window_count(data);
  lap_console_progress_begin(console, "live", "windows", (int64_t)all, 0);
  lap_code code = LAP_OK;
  for (size_t s = 0; s < data->tokens->count && code == LAP_OK; ++s) {
    const lap_token_shard *shard = data->tokens->shard[s];
    const uint64_t windows = lap_window_count(shard->token_count, data->sequence_length);
    a->stream = lap_draw_stream(shard->tokens_sha256);
    for (uint64_t w = 0; w < windows && code == LAP_OK; ++w, ++index) {
      lap_window_rows(shard, w, data->sequence_length, &a->window_row);
      code = lap_window_logits_visit(model, index, audit_position, a, status);
      if (code == LAP_OK && a->non_finite)
        code = lap_fail(status, LAP_NONFINITE,
                        "%s: the model's logits are not finite in window %" PRIu64, shard->path, w);
      lap_console_progress(console, (int64_t)index + 1, "");
    }
  }
  lap_console_progress_end(console);
  return code;
}

static void create_rows(auditor *a, int threads) {
  const lap_kept kept = kept_of(a->schema);
  a->maker = lap_row_maker_create(&kept, threads);
  a->row = lap_allocate(threads, sizeof *a->row);
  for (int i = 0; i < threads; ++i)
    a->row[i] = (live_row){.ids = lap_allocate(a->schema->k, sizeof(uint32_t)),
                           .logprob = lap_allocate(a->schema->k, sizeof(float))};
}

static void destroy_rows(const auditor *a, int threads) {
  lap_row_maker_destroy(a->maker);
  for (int i = 0; i < threads; ++i) {
    free(a->row[i].ids);
    free(a->row[i].logprob);
  }
  free(a->row);
}

/* Whether rows of this cache can be made as they were. */
static bool can_redraw(const lap_cache_schema *schema) {
  if (!lap_codec_is_drawn(schema->codec)) return true;
  const lap_kept kept = kept_of(schema);
  const bool stratified = schema->codec == LAP_CODEC_STRATIFIED;
  return schema->draw_seed >= 0 && stratified == (schema->exact > 0) &&
         lap_kept_slots(&kept) == schema->k;
}

lap_code lap_audit_live(const lap_sharded_model *model, const char *weights_sha256,
                        lap_cache *cache, double tolerance, int threads, lap_console *console,
                        lap_live_audit *live, lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  const lap_gemma2_config *config = &model->source.config->model;
  *live = (lap_live_audit){.same_teacher = strcmp(schema->teacher_sha256, weights_sha256) == 0,
                           .redrawn = can_redraw(schema),
                           .tolerance = tolerance};
  if (config->vocab_size != schema->vocab_size)
    return lap_fail(status, LAP_DATA,
                    "--live: %s has a vocabulary of %" PRId64
                    ", the cache %s one of %u; give the "
                    "teacher of the cache",
                    model->source.path, config->vocab_size, lap_cache_path(cache, 0),
                    schema->vocab_size);
  if (!live->redrawn)
    return lap_fail(
        status, LAP_DATA,
        "--live: %s does not say how it was drawn (draw_seed, and exact of stratified); "
        "compare a cache of teach, or one of codec topk",
        lap_cache_path(cache, 0));
  auditor a = {.schema = schema, .live = live};
  const lap_data data = {.tokens = lap_cache_tokens(cache),
                         .cache = cache,
                         .sequence_length = schema->sequence_length,
                         .document_mask = schema->document_mask};
  create_rows(&a, threads);
  lap_window_logits *windows =
      lap_window_logits_create(config, model->state, model->weights, &data, threads);
  const lap_code code = audit_windows(&a, windows, &data, console, status);
  lap_window_logits_destroy(windows);
  destroy_rows(&a, threads);
  return code;
}

json_t *lap_live_audit_to_json(const lap_live_audit *live) {
  json_t *object = json_pack("{s:b, s:I, s:I}", "same_teacher", live->same_teacher, "rows",
                             (json_int_t)live->rows, "other_rows", (json_int_t)live->other_rows);
  json_object_set_new(object, "largest_gap", lap_json_number(live->largest_gap));
  json_object_set_new(object, "largest_tail_gap", lap_json_number(live->largest_tail_gap));
  const bool judged = !isnan(live->tolerance);
  json_object_set_new(object, "tolerance", judged ? json_real(live->tolerance) : json_null());
  json_object_set_new(object, "beyond_rows",
                      judged ? json_integer((json_int_t)live->beyond_rows) : json_null());
  return object;
}

void lap_live_audit_print(const lap_live_audit *live, FILE *out) {
  fprintf(out, "live           %s; %" PRIu64 " of %" PRIu64 " rows are not those made now\n",
          live->same_teacher ? "the teacher of the cache" : "another teacher", live->other_rows,
          live->rows);
  fprintf(out, "               largest difference %.3g of a probability, %.3g of a tail\n",
          live->largest_gap, live->largest_tail_gap);
  if (!isnan(live->tolerance))
    fprintf(out, "               %" PRIu64 " rows are beyond the tolerance of %.3g\n",
            live->beyond_rows, live->tolerance);
}
