#include "teacher/describe.h"

#include <sys/stat.h>

#include "teacher/align.h"
#include "teacher/cache_internal.h"
#include "teacher/rows_digest.h"

enum { CHECK_ROWS = 2048 };

static void describe_alignment(const lap_alignment *sums, lap_cache_description *description) {
  const double n = sums->rows > 0 ? (double)sums->rows : 1;
  description->compared = sums->rows;
  description->mean_next = sums->next / n;
  description->mean_same = sums->same / n;
  description->mean_after = sums->after / n;
  description->shifted = lap_alignment_is_shifted(sums);
  description->weak = lap_alignment_is_weak(sums);
  description->mean_kept = sums->kept / n;
  description->least_kept = sums->least_kept;
  description->least_kept_row = sums->least_kept_row;
}

/* By insertion. */
void lap_cache_example_add(lap_cache_example *example, uint32_t id, float probability) {
  uint32_t at = example->top_count;
  while (at > 0 &&
         (example->top_probability[at - 1] < probability ||
          (example->top_probability[at - 1] == probability && example->top_id[at - 1] > id)))
    --at;
  if (at == LAP_EXAMPLE_TOP) return;
  if (example->top_count < LAP_EXAMPLE_TOP) ++example->top_count;
  for (uint32_t i = example->top_count - 1; i > at; --i) {
    example->top_id[i] = example->top_id[i - 1];
    example->top_probability[i] = example->top_probability[i - 1];
  }
  example->top_id[at] = id;
  example->top_probability[at] = probability;
}

static lap_code read_example(lap_cache *cache, size_t shard, uint64_t row, lap_cache_rows *rows,
                             lap_cache_example *example, lap_status *status) {
  const uint32_t *tokens = cache->tokens->shard[shard]->tokens;
  LAP_TRY(lap_cache_read(cache, shard, row, 1, NULL, rows, status));
  *example = (lap_cache_example){
      .row = row, .token = tokens[row], .next = tokens[row + 1], .tail = rows->tail[0]};
  for (uint32_t i = 0; i < rows->k; ++i)
    if (rows->ids[i] >= 0)
      lap_cache_example_add(example, (uint32_t)rows->ids[i], rows->probability[i]);
  return LAP_OK;
}

/* From each fifth of the shard, the first counted row. */
static lap_code read_examples(lap_cache *cache, size_t shard, lap_cache_description *description,
                              lap_status *status) {
  const lap_token_shard *tokens = cache->tokens->shard[shard];
  lap_cache_rows *rows = lap_cache_rows_create(cache, 1);
  lap_code code = LAP_OK;
  for (uint64_t part = 0; part < LAP_EXAMPLE_ROWS && code == LAP_OK; ++part) {
    uint64_t row = part * tokens->token_count / LAP_EXAMPLE_ROWS;
    const uint64_t end = (part + 1) * tokens->token_count / LAP_EXAMPLE_ROWS;
    while (row < end && !lap_row_counts(tokens, row)) ++row;
    if (row == end) continue;
    lap_cache_example *example = &description->example[description->example_count++];
    code = read_example(cache, shard, row, rows, example, status);
  }
  lap_cache_rows_destroy(rows);
  return code;
}

typedef struct {
  lap_cache *cache;
  size_t shard;
} shard_of_cache;

static lap_code describe_shard(const void *context, void *result, lap_status *status) {
  const shard_of_cache *of = context;
  lap_cache *cache = of->cache; /* the child's own copy */
  const size_t shard = of->shard;
  lap_cache_description *description = result;
  cache->shard[shard].is_tried = true; /* this is the child process that tries */
  *description = (lap_cache_description){.rows = cache->tokens->shard[shard]->token_count};
  struct stat found;
  if (stat(lap_cache_path(cache, shard), &found) == 0)
    description->file_bytes = (double)found.st_size / (double)description->rows;
  lap_alignment sums = {0};
  LAP_TRY(lap_alignment_add(cache, shard, &sums, status));
  describe_alignment(&sums, description);
  if (lap_codec_is_drawn(cache->schema.codec)) description->weak = false;
  if (cache->schema.swapped_percent > 0) description->shifted = description->weak = false;
  return read_examples(cache, shard, description, status);
}

lap_code lap_cache_describe(lap_cache *cache, size_t shard, lap_cache_description *description,
                            lap_status *status) {
  const shard_of_cache of = {cache, shard};
  *description = (lap_cache_description){0};
  LAP_TRY(lap_hdf5_try(lap_cache_path(cache, shard), describe_shard, &of, description,
                       sizeof *description, status));
  if (!description->shifted || !cache->shard[shard].rows_sha256[0]) return LAP_OK;
  LAP_TRY(lap_cache_try_rows(cache, shard, status));
  description->shifted = !lap_cache_vouches(cache, shard);
  return LAP_OK;
}

lap_code lap_cache_check_all(lap_cache *cache, size_t shard, const lap_progress_hook *hook,
                             lap_status *status) {
  const uint64_t total = cache->tokens->shard[shard]->token_count;
  const uint32_t block = cache->block_rows < CHECK_ROWS ? cache->block_rows : CHECK_ROWS;
  lap_cache_rows *rows = lap_cache_rows_create(cache, block);
  lap_progress_state progress = {.step = "check", .unit = "rows", .total = total};
  lap_progress_report(hook, progress);
  lap_code code = LAP_OK;
  for (uint64_t row = 0; row < total && code == LAP_OK; row += block) {
    const uint32_t count = (uint32_t)(total - row < block ? total - row : block);
    code = lap_cache_read(cache, shard, row, count, NULL, rows, status);
    progress.done = row + count;
    if (code == LAP_OK) lap_progress_report(hook, progress);
  }
  lap_cache_rows_destroy(rows);
  return code;
}

lap_code lap_cache_confirm_rows(lap_cache *cache, size_t shard, lap_status *status) {
  LAP_TRY(lap_cache_try_rows(cache, shard, status));
  const lap_cache_shard *of = &cache->shard[shard];
  return lap_rows_digest_confirm(of->path, of->rows_sha256, of->digest, status);
}
