#include "trainer/audit/audit.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/json.h"
#include "core/memory.h"
#include "dataset/set_documents.h"
#include "dataset/windows.h"
#include "trainer/cli/table.h"

const double lap_audit_entropy_from[LAP_AUDIT_ENTROPIES] = {0, 0.5, 1, 2, 3, 4, 5, 6};
const double lap_audit_quantile[LAP_AUDIT_QUANTILES] = {0.5, 0.9, 0.99, 0.999, 1};

/* --- reading --- */

typedef struct {
  lap_cache *cache;
  lap_audit *audit;
  lap_cache_rows *rows;                       /* of a window */
  int32_t *inputs, *targets, *document_start; /* [T] */
  float *tail;                                /* of every counted row so far */
  lap_claim *judged;
  uint64_t count, capacity;
  lap_set_documents documents;
  uint32_t document; /* in the set: of the row at hand */
  double nats;
} auditor;

static void add_row(lap_audit_group *group, double kept, double tail, double slots,
                    double entropy) {
  group->rows += 1;
  group->kept += kept;
  group->tail += tail;
  group->slots += slots;
  group->entropy += entropy;
}

static int context_bucket(int64_t context) {
  int bucket = 0;
  while (context >= INT64_C(2) << bucket) ++bucket;
  return bucket;
}

static int entropy_bucket(double entropy) {
  int bucket = 0;
  while (bucket + 1 < LAP_AUDIT_ENTROPIES && entropy >= lap_audit_entropy_from[bucket + 1])
    ++bucket;
  return bucket;
}

static void reserve(auditor *a) {
  if (a->count < a->capacity) return;
  a->capacity = a->capacity ? 2 * a->capacity : 1 << 16;
  a->tail = lap_reallocate(a->tail, (int64_t)a->capacity, sizeof *a->tail);
  a->judged = lap_reallocate(a->judged, (int64_t)a->capacity, sizeof *a->judged);
}

/* Row i of the window, at position t. */
static void audit_row(auditor *a, uint32_t i, int64_t t) {
  const lap_cache_rows *rows = a->rows;
  const float *p = rows->probability + (size_t)i * rows->k;
  const int32_t *ids = rows->ids + (size_t)i * rows->k;
  const double tail = (double)rows->tail[i], entropy = rows->entropy ? (double)rows->entropy[i] : 0;
  double kept = 0, slots = 0;
  int64_t best = -1;
  for (uint32_t j = 0; j < rows->k; ++j) {
    if (ids[j] < 0) continue;
    kept += (double)p[j];
    slots += 1;
    if (best < 0 || p[j] > p[best]) best = j; /* of equals the first, as eval has it */
  }
  lap_audit *audit = a->audit;
  add_row(&audit->all, kept, tail, slots, entropy);
  add_row(&audit->context[context_bucket(t - a->document_start[t] + 1)], kept, tail, slots,
          entropy);
  if (rows->entropy) add_row(&audit->entropy[entropy_bucket(entropy)], kept, tail, slots, entropy);
  if (rows->next_logprob) a->nats -= (double)rows->next_logprob[i];
  reserve(a);
  a->tail[a->count] = rows->tail[i];
  a->judged[a->count] = (lap_claim){.probability = best < 0 ? 0 : p[best],
                                    .right = best >= 0 && ids[best] == a->targets[t],
                                    .document = a->document};
  a->count += 1;
  if (!audit->is_drawn) lap_full_calibration_add(&audit->full, p, ids, rows->k, a->targets[t]);
}

static lap_code audit_window(auditor *a, size_t shard, uint64_t window, lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(a->cache);
  const lap_token_shard *tokens = lap_cache_tokens(a->cache)->shard[shard];
  uint64_t row;
  const uint32_t count = lap_window_rows(tokens, window, schema->sequence_length, &row);
  lap_window_fill(tokens, window, schema->sequence_length, schema->document_mask, a->inputs,
                  a->targets, a->document_start);
  LAP_TRY(lap_cache_read(a->cache, shard, row, count, NULL, a->rows, status));
  for (uint32_t i = 0; i < count; ++i) {
    if (a->targets[1 + i] < 0) continue;
    a->document = (uint32_t)(a->documents.first[shard] + lap_shard_document(tokens, row + i));
    audit_row(a, i, 1 + (int64_t)i);
  }
  return LAP_OK;
}

static lap_code audit_shards(auditor *a, const lap_progress_hook *hook, lap_status *status) {
  const lap_token_set *set = lap_cache_tokens(a->cache);
  const uint32_t length = lap_cache_schema_of(a->cache)->sequence_length;
  lap_progress_state progress = {.step = "audit", .unit = "tokens", .total = set->token_count};
  lap_progress_report(hook, progress);
  double bytes = 0;
  for (size_t s = 0; s < set->count; ++s) {
    const uint64_t windows = lap_window_count(set->shard[s]->token_count, length);
    for (uint64_t w = 0, row; w < windows; ++w) {
      LAP_TRY(audit_window(a, s, w, status));
      progress.done += lap_window_rows(set->shard[s], w, length, &row);
      lap_progress_report(hook, progress);
    }
    struct stat found;
    if (stat(lap_cache_path(a->cache, s), &found) == 0) bytes += (double)found.st_size;
  }
  a->audit->bytes_per_token = bytes / (double)set->token_count;
  if (!a->audit->is_drawn)
    a->audit->calibration = lap_reliability_of(a->judged, a->count, (uint32_t)a->documents.count);
  return LAP_OK;
}

/* --- what they come to --- */

static void average(lap_audit_group *group, bool has_entropy) {
  const double rows = (double)group->rows;
  group->kept /= rows;
  group->tail /= rows;
  group->slots /= rows;
  group->entropy = has_entropy ? group->entropy / rows : NAN;
}

static int ascending(const void *left, const void *right) {
  const float a = *(const float *)left, b = *(const float *)right;
  return a < b ? -1 : a > b;
}

static void finish(auditor *a) {
  lap_audit *audit = a->audit;
  average(&audit->all, audit->has_entropy);
  for (int i = 0; i < LAP_AUDIT_CONTEXTS; ++i) average(&audit->context[i], audit->has_entropy);
  for (int i = 0; i < LAP_AUDIT_ENTROPIES; ++i) average(&audit->entropy[i], audit->has_entropy);
  audit->teacher_loss = a->rows->next_logprob && a->count ? a->nats / (double)a->count : NAN;
  if (a->count) qsort(a->tail, a->count, sizeof *a->tail, ascending);
  for (int q = 0; q < LAP_AUDIT_QUANTILES; ++q) {
    const uint64_t at = (uint64_t)(lap_audit_quantile[q] * (double)a->count);
    audit->tail[q] = a->count ? (double)a->tail[at < a->count ? at : a->count - 1] : NAN;
  }
}

lap_code lap_audit_cache(lap_cache *cache, const lap_progress_hook *hook, lap_audit *audit,
                         lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  const uint32_t length = schema->sequence_length;
  *audit = (lap_audit){.has_entropy = schema->has_entropy,
                       .is_drawn = lap_codec_is_drawn(schema->codec)};
  auditor a = {.cache = cache,
               .audit = audit,
               .rows = lap_cache_rows_create(cache, length - 1),
               .documents = lap_set_documents_find(lap_cache_tokens(cache)),
               .inputs = lap_allocate(length, sizeof *a.inputs),
               .targets = lap_allocate(length, sizeof *a.targets),
               .document_start = lap_allocate(length, sizeof *a.document_start)};
  const lap_code code = audit_shards(&a, hook, status);
  if (code == LAP_OK) finish(&a);
  lap_cache_rows_destroy(a.rows);
  lap_set_documents_release(&a.documents);
  free(a.inputs);
  free(a.targets);
  free(a.document_start);
  free(a.tail);
  free(a.judged);
  return code;
}

/* --- output --- */

static json_t *group_to_json(const lap_audit_group *group) {
  json_t *object = json_pack("{s:I}", "rows", (json_int_t)group->rows);
  json_object_set_new(object, "coverage", lap_json_number(group->kept));
  json_object_set_new(object, "tail_mass", lap_json_number(group->tail));
  json_object_set_new(object, "slots", lap_json_number(group->slots));
  json_object_set_new(object, "entropy", lap_json_number(group->entropy));
  return object;
}

static json_t *calibration_to_json(const lap_audit *audit) {
  const lap_reliability *r = &audit->calibration;
  json_t *object = json_pack("{s:I, s:I}", "positions", (json_int_t)r->count, "documents",
                             (json_int_t)r->documents);
  json_object_set_new(object, "ece", lap_json_number(r->error));
  json_object_set_new(object, "ece_low", lap_json_number(r->low));
  json_object_set_new(object, "ece_high", lap_json_number(r->high));
  json_object_set_new(object, "floor", lap_json_number(r->floor));
  json_object_set_new(object, "full_ece",
                      lap_json_number(lap_full_calibration_error(&audit->full)));
  json_object_set_new(object, "full_floor",
                      lap_json_number(lap_full_calibration_floor(&audit->full)));
  json_object_set_new(object, "accuracy", lap_json_number(r->right));
  json_object_set_new(object, "confidence", lap_json_number(r->claimed));
  return object;
}

json_t *lap_audit_to_json(const lap_audit *audit) {
  json_t *object = group_to_json(&audit->all), *contexts = json_array(), *entropies = json_array();
  json_t *quantiles = json_array();
  for (int i = 0; i < LAP_AUDIT_CONTEXTS; ++i) {
    if (audit->context[i].rows == 0) continue;
    json_t *group = group_to_json(&audit->context[i]);
    json_object_set_new(group, "context_from", json_integer((json_int_t)1 << i));
    json_object_set_new(group, "context_to", json_integer(((json_int_t)2 << i) - 1));
    json_array_append_new(contexts, group);
  }
  for (int i = 0; i < LAP_AUDIT_ENTROPIES; ++i) {
    if (audit->entropy[i].rows == 0) continue;
    json_t *group = group_to_json(&audit->entropy[i]);
    json_object_set_new(group, "entropy_from", json_real(lap_audit_entropy_from[i]));
    json_array_append_new(entropies, group);
  }
  for (int q = 0; q < LAP_AUDIT_QUANTILES; ++q)
    json_array_append_new(quantiles, json_pack("{s:f, s:o}", "share", lap_audit_quantile[q],
                                               "tail_mass", lap_json_number(audit->tail[q])));
  json_object_set_new(object, "bytes_per_token", lap_json_number(audit->bytes_per_token));
  json_object_set_new(object, "teacher_loss", lap_json_number(audit->teacher_loss));
  json_object_set_new(object, "tail_quantiles", quantiles);
  json_object_set_new(object, "by_position", contexts);
  json_object_set_new(object, "by_entropy", entropies);
  json_object_set_new(object, "calibration",
                      audit->is_drawn ? json_null() : calibration_to_json(audit));
  return object;
}

static void print_group(lap_table *table, const char *name, const lap_audit_group *group) {
  char cell[4][32];
  snprintf(cell[0], sizeof cell[0], "%" PRIu64, group->rows);
  snprintf(cell[1], sizeof cell[1], "%.4f", group->kept);
  snprintf(cell[2], sizeof cell[2], "%.4f", group->tail);
  snprintf(cell[3], sizeof cell[3], "%.1f", group->slots);
  if (group->rows) lap_table_add(table, (const char *[]){name, cell[0], cell[1], cell[2], cell[3]});
}

static void print_groups(const lap_audit *audit, FILE *out) {
  lap_table *table =
      lap_table_create(5, (const char *[]){"rows of", "rows", "kept", "tail", "slots"});
  char name[64];
  print_group(table, "all", &audit->all);
  for (int i = 0; i < LAP_AUDIT_CONTEXTS; ++i) {
    snprintf(name, sizeof name, "context %lu to %lu", 1UL << i, (2UL << i) - 1);
    print_group(table, name, &audit->context[i]);
  }
  for (int i = 0; i < LAP_AUDIT_ENTROPIES; ++i) {
    snprintf(name, sizeof name, "entropy from %g", lap_audit_entropy_from[i]);
    print_group(table, name, &audit->entropy[i]);
  }
  lap_table_print(table, out);
  lap_table_destroy(table);
}

void lap_audit_print(const lap_audit *audit, FILE *out) {
  const lap_reliability *r = &audit->calibration;
  print_groups(audit, out);
  fprintf(out, "\ntail mass      at most");
  for (int q = 0; q < LAP_AUDIT_QUANTILES; ++q)
    fprintf(out, "%s %.4f in %g %%", q ? "," : "", audit->tail[q], 100 * lap_audit_quantile[q]);
  fprintf(out, " of the rows\nbytes a token  %.1f\n", audit->bytes_per_token);
  if (!isnan(audit->teacher_loss))
    fprintf(out, "teacher loss   %.6f nats/token\n", audit->teacher_loss);
  if (audit->is_drawn) {
    fprintf(out, "calibration    not known: rows are drawn; audit a cache of codec topk\n");
    return;
  }
  char interval[96] = "one document: no interval";
  if (!isnan(r->low))
    snprintf(interval, sizeof interval, "95 %% over %" PRIu64 " documents: %.4f to %.4f",
             r->documents, r->low, r->high);
  fprintf(out,
          "calibration    ECE %.4f (%s), of a perfect teacher %.4f;\n"
          "               right in %.2f %%, sure by %.2f %%\n"
          "               Full-ECE %.4f over all kept ids, of a perfect teacher %.4f\n",
          r->error, interval, r->floor, 100 * r->right, 100 * r->claimed,
          lap_full_calibration_error(&audit->full), lap_full_calibration_floor(&audit->full));
}
