#include "trainer/audit/tolerance.h"

#include <math.h>
#include <string.h>

#include "dataset/windows.h"

enum { AT_ONCE = 256 };

static const double rounding = 1 / (M_E * 2048);

static lap_code check_alike(const lap_cache *cache, const lap_cache *again, lap_status *status) {
  const lap_cache_schema *a = lap_cache_schema_of(cache), *b = lap_cache_schema_of(again);
  const char *path = lap_cache_path(cache, 0), *other = lap_cache_path(again, 0);
  if (a->codec != LAP_CODEC_TOPK || b->codec != LAP_CODEC_TOPK)
    return lap_fail(
        status, LAP_DATA,
        "--again: %s is %s and %s is %s; rows that are drawn have no tolerance: give two "
        "passes of codec topk",
        path, lap_codec_name(a->codec), other, lap_codec_name(b->codec));
  if (a->vocab_size != b->vocab_size || a->sequence_length != b->sequence_length ||
      a->document_mask != b->document_mask || a->k != b->k)
    return lap_fail(
        status, LAP_DATA,
        "--again: %s has k %u, vocab_size %u, sequence_length %u, document_mask %d, but "
        "--cache %s has %u, %u, %u, %d; make both alike, but for the batch size",
        other, b->k, b->vocab_size, b->sequence_length, b->document_mask, path, a->k, a->vocab_size,
        a->sequence_length, a->document_mask);
  if (a->teacher_sha256[0] && b->teacher_sha256[0] && strcmp(a->teacher_sha256, b->teacher_sha256))
    return lap_fail(
        status, LAP_DATA,
        "--again: %s is by teacher_sha256 %.12s..., but --cache %s by %.12s...; give two "
        "passes of one teacher",
        other, b->teacher_sha256, path, a->teacher_sha256);
  return LAP_OK;
}

/* The largest p - q of the ids of a row, where q is that of the same id in the other row. */
static double largest_above(const int32_t *ids, const float *p, const int32_t *other_ids,
                            const float *q, uint32_t k) {
  double least = 0, gap = 0;
  for (uint32_t j = 0; j < k; ++j)
    if (other_ids[j] >= 0 && (least == 0 || (double)q[j] < least)) least = (double)q[j];
  for (uint32_t i = 0; i < k; ++i) {
    if (ids[i] < 0) continue;
    double there = least;
    for (uint32_t j = 0; j < k; ++j)
      if (other_ids[j] == ids[i]) there = (double)q[j];
    gap = fmax(gap, (double)p[i] - there);
  }
  return gap;
}

static double largest_gap(const lap_cache_rows *a, const lap_cache_rows *b, uint32_t rows) {
  const uint32_t k = a->k;
  double gap = 0;
  for (uint32_t r = 0; r < rows; ++r) {
    const size_t at = (size_t)r * k;
    gap = fmax(
        gap, largest_above(a->ids + at, a->probability + at, b->ids + at, b->probability + at, k));
    gap = fmax(
        gap, largest_above(b->ids + at, b->probability + at, a->ids + at, a->probability + at, k));
  }
  return gap;
}

static lap_code compare_shard(lap_cache *cache, lap_cache *again, size_t shard, lap_cache_rows *a,
                              lap_cache_rows *b, double *gap, lap_status *status) {
  const uint64_t tokens = lap_cache_tokens(cache)->shard[shard]->token_count;
  for (uint64_t row = 0; row < tokens; row += AT_ONCE) {
    const uint32_t count = tokens - row < AT_ONCE ? (uint32_t)(tokens - row) : AT_ONCE;
    LAP_TRY(lap_cache_read(cache, shard, row, count, NULL, a, status));
    LAP_TRY(lap_cache_read(again, shard, row, count, NULL, b, status));
    *gap = fmax(*gap, largest_gap(a, b, count));
  }
  return LAP_OK;
}

lap_code lap_tolerance_of_passes(lap_cache *cache, lap_cache *again, double *tolerance,
                                 lap_status *status) {
  LAP_TRY(check_alike(cache, again, status));
  lap_cache_rows *a = lap_cache_rows_create(cache, AT_ONCE);
  lap_cache_rows *b = lap_cache_rows_create(again, AT_ONCE);
  lap_code code = LAP_OK;
  double gap = 0;
  for (size_t s = 0; s < lap_cache_tokens(cache)->count && code == LAP_OK; ++s)
    code = compare_shard(cache, again, s, a, b, &gap, status);
  *tolerance = 2 * gap + rounding;
  lap_cache_rows_destroy(a);
  lap_cache_rows_destroy(b);
  return code;
}
