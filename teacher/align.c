#include "teacher/align.h"

#include <inttypes.h>

#include "teacher/cache_row.h"

/* Shards with fewer than LEAST_ALONE rows are compared together; below LEAST_CERTAIN rows chance is
 * allowed for, by three standard errors. */
enum { RUNS = 64, RUN_ROWS = 64, LEAST_ALONE = 64, LEAST_CERTAIN = 1024, STANDARD_ERRORS = 3 };

static double probability_of(const lap_cache_rows *rows, uint32_t at, uint32_t token) {
  const size_t slot = (size_t)at * rows->k;
  for (uint32_t i = 0; i < rows->k; ++i)
    if (rows->ids[slot + i] == (int32_t)token) return (double)rows->probability[slot + i];
  return 0;
}

static void add_row(const lap_cache_rows *rows, uint32_t at, uint64_t row, const uint32_t *tokens,
                    lap_alignment *sums) {
  const double same = probability_of(rows, at, tokens[0]);
  const double next = probability_of(rows, at, tokens[1]);
  const double after = probability_of(rows, at, tokens[2]);
  double kept = 0;
  for (uint32_t i = 0; i < rows->k; ++i)
    kept += (double)rows->probability[(size_t)at * rows->k + i];
  sums->next += next;
  sums->same += same;
  sums->after += after;
  sums->square_same += (next - same) * (next - same);
  sums->square_after += (next - after) * (next - after);
  sums->kept += kept;
  if (sums->rows == 0 || kept < sums->least_kept) {
    sums->least_kept = kept;
    sums->least_kept_row = row;
  }
  ++sums->rows;
}

lap_code lap_alignment_add(lap_cache *cache, size_t shard, lap_alignment *alignment,
                           lap_status *status) {
  const lap_token_shard *tokens = lap_cache_tokens(cache)->shard[shard];
  const uint64_t total = tokens->token_count;
  const bool all = total <= RUNS * RUN_ROWS;
  const uint64_t runs = all ? (total + RUN_ROWS - 1) / RUN_ROWS : RUNS;
  lap_cache_rows *rows = lap_cache_rows_create(cache, RUN_ROWS);
  lap_code code = LAP_OK;
  for (uint64_t run = 0; run < runs && code == LAP_OK; ++run) {
    const uint64_t row = all ? run * RUN_ROWS : run * (total - RUN_ROWS) / (RUNS - 1);
    const uint32_t count = (uint32_t)(total - row < RUN_ROWS ? total - row : RUN_ROWS);
    code = lap_cache_read(cache, shard, row, count, NULL, rows, status);
    for (uint32_t i = 0; i < count && code == LAP_OK; ++i)
      if (row + i + 2 < total && lap_row_counts(tokens, row + i))
        add_row(rows, i, row + i, tokens->tokens + row + i, alignment);
  }
  lap_cache_rows_destroy(rows);
  return code;
}

/* Whether the mean of `rows` differences says that the wrong token gets more. */
static bool is_against(uint64_t rows, double sum, double sum_of_squares) {
  if (rows >= LEAST_CERTAIN) return sum <= 0;
  if (rows < 2 || sum >= 0) return false;
  const double n = (double)rows;
  const double variance = (sum_of_squares - sum * sum / n) / (n - 1);
  return sum * sum > STANDARD_ERRORS * STANDARD_ERRORS * n * variance;
}

bool lap_alignment_is_shifted(const lap_alignment *a) {
  return is_against(a->rows, a->next - a->same, a->square_same) ||
         is_against(a->rows, a->next - a->after, a->square_after);
}

static lap_code refuse(const char *path, const lap_alignment *a, lap_status *status) {
  const double n = (double)a->rows;
  return lap_fail(status, LAP_DATA,
                  "%s: rows look shifted by one: over %" PRIu64
                  " rows i, the mean probability is "
                  "%.4f for token i+1, %.4f for token i, %.4f for token i+2; row i must be the "
                  "distribution over token i+1 (if this is right all the same, set "
                  "teacher.allow_shift)",
                  path, a->rows, a->next / n, a->same / n, a->after / n);
}

static void add_sums(lap_alignment *to, const lap_alignment *from) {
  to->rows += from->rows;
  to->next += from->next;
  to->same += from->same;
  to->after += from->after;
  to->square_same += from->square_same;
  to->square_after += from->square_after;
}

lap_code lap_cache_check_shift(lap_cache *cache, lap_status *status) {
  lap_alignment together = {0};
  const char *last_small = NULL;
  for (size_t i = 0; i < lap_cache_tokens(cache)->count; ++i) {
    lap_alignment one = {0};
    LAP_TRY(lap_alignment_add(cache, i, &one, status));
    if (one.rows < LEAST_ALONE) {
      add_sums(&together, &one);
      last_small = lap_cache_path(cache, i);
    } else if (lap_alignment_is_shifted(&one)) {
      return refuse(lap_cache_path(cache, i), &one, status);
    }
  }
  return lap_alignment_is_shifted(&together) ? refuse(last_small, &together, status) : LAP_OK;
}
