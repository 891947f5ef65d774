#include "teacher/describe_file.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "teacher/cache_file.h"
#include "teacher/cache_row.h"
#include "teacher/cache_sandbox.h"
#include "teacher/rows_digest.h"

enum { BLOCK_SLOTS = 1 << 19, RUNS = 64, RUN_ROWS = 64 };

/* One file and room for a block of its rows. */
typedef struct {
  lap_cache_file file;
  lap_cache_raw raw; /* [capacity] */
  uint32_t capacity;
  lap_duplicates seen;
  int32_t *ids;       /* [K] of the last row looked at */
  float *probability; /* [K] */
} reader;

static lap_code open_reader(const char *path, reader *r, lap_status *status) {
  *r = (reader){0};
  LAP_TRY(lap_cache_file_open(path, &r->file, status));
  const lap_cache_schema *schema = &r->file.schema;
  r->capacity = schema->k < BLOCK_SLOTS ? BLOCK_SLOTS / schema->k : 1;
  lap_cache_raw_create(r->capacity, schema->k, &r->raw);
  if (schema->has_next_logprob) r->raw.next_logprob = lap_allocate(r->capacity, sizeof(float));
  if (schema->has_entropy) r->raw.entropy = lap_allocate(r->capacity, sizeof(float));
  lap_duplicates_create(schema->vocab_size, &r->seen);
  r->ids = lap_allocate(schema->k, sizeof *r->ids);
  r->probability = lap_allocate(schema->k, sizeof *r->probability);
  return LAP_OK;
}

static void close_reader(reader *r) {
  free(r->raw.next_logprob);
  free(r->raw.entropy);
  lap_cache_raw_destroy(&r->raw);
  lap_duplicates_destroy(&r->seen);
  free(r->ids);
  free(r->probability);
  lap_cache_file_close(&r->file);
}

static bool is_empty(const reader *r, uint64_t at) {
  const uint32_t k = r->file.schema.k;
  if (lap_row_tail(r->raw.tail_mass[at]) != 0) return false;
  for (uint32_t i = 0; i < k; ++i)
    if (r->raw.logprob[at * k + i] != -INFINITY) return false;
  return true;
}

/* Row `at` of the block that begins at `first`. */
static lap_code check_row(reader *r, uint64_t first, uint64_t at, double *kept,
                          lap_status *status) {
  const uint32_t k = r->file.schema.k;
  const lap_stored_row stored = {.path = r->file.file.path,
                                 .drawn = lap_codec_is_drawn(r->file.schema.codec),
                                 .row = first + at,
                                 .k = k,
                                 .ids = r->raw.ids + at * k,
                                 .logprob = r->raw.logprob + at * k,
                                 .tail_mass = r->raw.tail_mass[at],
                                 .entropy = r->raw.entropy ? r->raw.entropy + at : NULL};
  return lap_stored_row_check(&stored, &r->seen, r->ids, r->probability, kept, status);
}

static void add_coverage(lap_cache_description *d, uint64_t row, double kept, uint64_t *sampled) {
  if (*sampled == 0 || kept < d->least_kept) {
    d->least_kept = kept;
    d->least_kept_row = row;
  }
  d->mean_kept += (kept - d->mean_kept) / (double)++*sampled;
}

/* The row that was looked at last. */
static void add_example(const reader *r, uint64_t row, float tail, lap_cache_description *d) {
  lap_cache_example *example = &d->example[d->example_count++];
  *example = (lap_cache_example){.row = row, .tail = tail};
  for (uint32_t i = 0; i < r->file.schema.k; ++i)
    if (r->ids[i] >= 0) lap_cache_example_add(example, (uint32_t)r->ids[i], r->probability[i]);
}

/* Coverage and examples out of rows [first, first + count), which fit into the block. */
static lap_code describe_run(reader *r, uint64_t first, uint64_t count,
                             lap_cache_description *description, uint64_t *sampled,
                             lap_status *status) {
  LAP_TRY(lap_cache_file_read(&r->file, first, count, &r->raw, status));
  for (uint64_t i = 0; i < count; ++i) {
    double kept;
    lap_status passed_over;
    if (check_row(r, first, i, &kept, &passed_over) != LAP_OK) continue;
    add_coverage(description, first + i, kept, sampled);
    const uint64_t wanted = description->example_count * description->rows / LAP_EXAMPLE_ROWS;
    if (description->example_count < LAP_EXAMPLE_ROWS && first + i >= wanted)
      add_example(r, first + i, lap_row_tail(r->raw.tail_mass[i]), description);
  }
  return LAP_OK;
}

typedef struct {
  lap_cache_description description;
  uint64_t sampled;
} partial_description;

static lap_code describe_file(const void *context, void *result, lap_status *status) {
  const char *path = context;
  partial_description *partial = result;
  lap_cache_description *description = &partial->description;
  reader r;
  LAP_TRY(open_reader(path, &r, status));
  const uint64_t total = r.file.row_count;
  *description = (lap_cache_description){.rows = total};
  struct stat found;
  if (stat(path, &found) == 0) description->file_bytes = (double)found.st_size / (double)total;
  const uint64_t length = r.capacity < RUN_ROWS ? r.capacity : RUN_ROWS;
  const bool all = total <= RUNS * length;
  const uint64_t runs = all ? (total + length - 1) / length : RUNS;
  lap_code code = LAP_OK;
  for (uint64_t run = 0; run < runs && code == LAP_OK; ++run) {
    const uint64_t first = all ? run * length : run * (total - length) / (RUNS - 1);
    const uint64_t count = total - first < length ? total - first : length;
    code = describe_run(&r, first, count, description, &partial->sampled, status);
  }
  close_reader(&r);
  return code;
}

lap_code lap_cache_file_describe(const char *path, lap_cache_description *description,
                                 uint64_t *sampled, lap_status *status) {
  partial_description partial = {0};
  const lap_code code = lap_hdf5_try(path, describe_file, path, &partial, sizeof partial, status);
  *description = partial.description;
  *sampled = partial.sampled;
  return code;
}

lap_code lap_cache_file_check(const char *path, uint64_t *empty, bool *bad_row,
                              const lap_progress_hook *hook, lap_status *status) {
  reader r;
  lap_cache_identity identity;
  uint8_t digest[LAP_SHA256_SIZE];
  *empty = 0;
  *bad_row = false;
  LAP_TRY(lap_cache_file_identity(path, &identity, status));
  LAP_TRY(lap_cache_file_try(path, identity.tokens_sha256, digest, status));
  LAP_TRY(open_reader(path, &r, status));
  const uint64_t total = r.file.row_count;
  lap_progress_state progress = {.step = "check", .unit = "rows", .total = total};
  lap_progress_report(hook, progress);
  lap_code code = LAP_OK;
  for (uint64_t first = 0; first < total && code == LAP_OK; first += r.capacity) {
    const uint64_t count = total - first < r.capacity ? total - first : r.capacity;
    code = lap_cache_file_read(&r.file, first, count, &r.raw, status);
    for (uint64_t i = 0; i < count && code == LAP_OK; ++i) {
      double kept;
      if (is_empty(&r, i))
        ++*empty;
      else if (first + i + 1 < total)
        code = check_row(&r, first, i, &kept, status);
      *bad_row = code != LAP_OK;
    }
    progress.done = first + count;
    if (code == LAP_OK) lap_progress_report(hook, progress);
  }
  close_reader(&r);
  if (code != LAP_OK) return code;
  return lap_rows_digest_confirm(path, identity.rows_sha256, digest, status);
}
