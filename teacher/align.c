#include "teacher/align.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "dataset/special_ids.h"
#include "teacher/cache_internal.h"
#include "teacher/cache_row.h"
#include "teacher/rows_digest.h"

/* Shards with fewer than LEAST_ALONE rows are compared together. LEAST_SCORED: below it a standard
 * error says nothing. */
enum { RUNS = 64, RUN_ROWS = 64, LEAST_ALONE = 64, LEAST_SCORED = 8, LEAST_PAIRS = 32 };
static const double STANDARD_ERRORS = 4, PAIR_STANDARD_ERRORS = 3;
/* A score is log(OWN p / u + 1 - OWN): bounded below, since a row may give a token nothing. */
static const double OWN = 0.99;
/* The mean score of token i up to which a teacher may be taken for one that repeats its input. */
static const double MOST_REPETITION = 2;
/* What counts as no tail: that of rows which were scaled to sum to 1, in float32. */
static const float NO_TAIL = 1e-6f;

/* --- one row --- */

/* The likeliest ids of a row, to compare it with others. */
enum { TOP = 16 };
typedef struct {
  uint32_t before, input; /* tokens i-1 and i */
  uint32_t count;
  int32_t id[TOP];
  float probability[TOP];
} row_extract;

typedef struct {
  const lap_cache_rows *rows;
  const lap_token_shard *tokens;
  const double *frequency; /* [vocabulary of the tokens] */
  uint32_t vocab;          /* of the cache */
  row_extract *extract;    /* [RUNS * RUN_ROWS] */
  size_t extracts;
  lap_alignment *sums;
} looker;

static double probability_of(const lap_cache_rows *rows, uint32_t at, uint32_t token) {
  const size_t slot = (size_t)at * rows->k;
  for (uint32_t i = 0; i < rows->k; ++i)
    if (rows->ids[slot + i] == (int32_t)token) return (double)rows->probability[slot + i];
  return 0;
}

/* The tail over the frequency of all ids that it is for. */
static double tail_over_frequency(const looker *l, uint32_t at) {
  static const double least = 1e-3; /* a row may keep every id that the shard has */
  const size_t slot = (size_t)at * l->rows->k;
  double others = 1;
  for (uint32_t i = 0; i < l->rows->k; ++i) {
    const int32_t id = l->rows->ids[slot + i];
    if (id >= 0 && (uint32_t)id < l->tokens->vocab_size) others -= l->frequency[id];
  }
  return (double)l->rows->tail[at] / (others > least ? others : least);
}

static double score_of(const looker *l, uint32_t token, double probability, double tail) {
  const double ratio = probability > 0 ? probability / l->frequency[token] : tail;
  return log(OWN * ratio + (1 - OWN));
}

static void add_to(lap_row_sum *sum, double value) {
  sum->sum += value;
  sum->squares += value * value;
}

static void extract_row(looker *l, uint32_t at, const uint32_t *tokens) {
  row_extract *e = &l->extract[l->extracts++];
  *e = (row_extract){.before = tokens[-1], .input = tokens[0]};
  const size_t slot = (size_t)at * l->rows->k;
  for (uint32_t i = 0; i < l->rows->k; ++i) {
    const float p = l->rows->probability[slot + i];
    if (l->rows->ids[slot + i] < 0 || (e->count == TOP && p <= e->probability[TOP - 1])) continue;
    uint32_t to = e->count < TOP ? e->count++ : TOP - 1;
    for (; to > 0 && e->probability[to - 1] < p; --to) {
      e->id[to] = e->id[to - 1];
      e->probability[to] = e->probability[to - 1];
    }
    e->id[to] = l->rows->ids[slot + i];
    e->probability[to] = p;
  }
}

static bool is_text(uint32_t token) { return token > LAP_BOS; }

static void add_scores(looker *l, uint32_t at, uint64_t row, double next, double same,
                       double after) {
  const uint32_t *tokens = l->tokens->tokens + row;
  if (!is_text(tokens[0]) || !is_text(tokens[1]) || !is_text(tokens[2])) return;
  lap_alignment *sums = l->sums;
  const double tail = tail_over_frequency(l, at), score = score_of(l, tokens[1], next, tail);
  ++sums->scored;
  add_to(&sums->score, score);
  add_to(&sums->same_over, score_of(l, tokens[0], same, tail) - score);
  add_to(&sums->after_over, score_of(l, tokens[2], after, tail) - score);
  if (row > 0 && is_text(tokens[-1])) extract_row(l, at, tokens);
}

static void add_row(looker *l, uint32_t at, uint64_t row) {
  lap_alignment *sums = l->sums;
  const uint32_t *tokens = l->tokens->tokens + row;
  const double same = probability_of(l->rows, at, tokens[0]);
  const double next = probability_of(l->rows, at, tokens[1]);
  const double after = probability_of(l->rows, at, tokens[2]);
  double kept = 0;
  uint32_t used = 0;
  for (uint32_t i = 0; i < l->rows->k; ++i) {
    kept += (double)l->rows->probability[(size_t)at * l->rows->k + i];
    used += l->rows->ids[(size_t)at * l->rows->k + i] >= 0;
  }
  sums->next += next;
  sums->same += same;
  sums->after += after;
  sums->kept += kept;
  if (sums->rows == 0 || kept < sums->least_kept) {
    sums->least_kept = kept;
    sums->least_kept_row = row;
  }
  sums->whole_rows += l->rows->tail[at] <= NO_TAIL && used < l->vocab;
  ++sums->rows;
  add_scores(l, at, row, next, same, after);
}

/* --- pairs of rows --- */

static float probability_in(const row_extract *e, int32_t id) {
  for (uint32_t i = 0; i < e->count; ++i)
    if (e->id[i] == id) return e->probability[i];
  return 0;
}

/* The probability that two rows share, of what they give to other ids than their tokens i. */
static double alike(const row_extract *a, const row_extract *b) {
  double shared = 0, of_a = 0, of_b = 0;
  for (uint32_t i = 0; i < a->count; ++i) {
    if (a->id[i] == (int32_t)a->input || a->id[i] == (int32_t)b->input) continue;
    const float other = probability_in(b, a->id[i]);
    of_a += (double)a->probability[i];
    shared += (double)(other < a->probability[i] ? other : a->probability[i]);
  }
  for (uint32_t i = 0; i < b->count; ++i)
    if (b->id[i] != (int32_t)a->input && b->id[i] != (int32_t)b->input)
      of_b += (double)b->probability[i];
  const double larger = of_a > of_b ? of_a : of_b;
  return larger > 0 ? shared / larger : 0;
}

static int by_input(const void *a, const void *b) {
  const row_extract *x = a, *y = b;
  if (x->input != y->input) return x->input < y->input ? -1 : 1;
  return (x->before > y->before) - (x->before < y->before);
}

static int by_before(const void *a, const void *b) {
  const row_extract *x = a, *y = b;
  if (x->before != y->before) return x->before < y->before ? -1 : 1;
  return (x->input > y->input) - (x->input < y->input);
}

static void add_pairs(looker *l) {
  lap_alignment *sums = l->sums;
  qsort(l->extract, l->extracts, sizeof *l->extract, by_input);
  for (size_t i = 1; i < l->extracts; ++i) {
    const row_extract *a = &l->extract[i - 1], *b = &l->extract[i];
    if (a->input != b->input || a->before == b->before) continue;
    add_to(&sums->input_alike, alike(a, b));
    ++sums->input_pairs;
  }
  qsort(l->extract, l->extracts, sizeof *l->extract, by_before);
  for (size_t i = 1; i < l->extracts; ++i) {
    const row_extract *a = &l->extract[i - 1], *b = &l->extract[i];
    if (a->before != b->before || a->input == b->input) continue;
    add_to(&sums->before_alike, alike(a, b));
    ++sums->before_pairs;
  }
}

/* --- one shard --- */

/* Each id as if it came once more: no frequency is 0. */
static double *count_frequencies(const lap_token_shard *tokens) {
  double *frequency = lap_allocate(tokens->vocab_size, sizeof *frequency);
  for (uint64_t i = 0; i < tokens->token_count; ++i) frequency[tokens->tokens[i]] += 1;
  const double total = (double)tokens->token_count + (double)tokens->vocab_size;
  for (uint32_t id = 0; id < tokens->vocab_size; ++id) frequency[id] = (frequency[id] + 1) / total;
  return frequency;
}

lap_code lap_alignment_add(lap_cache *cache, size_t shard, lap_alignment *alignment,
                           lap_status *status) {
  const lap_token_shard *tokens = lap_cache_tokens(cache)->shard[shard];
  const uint64_t total = tokens->token_count;
  const bool all = total <= (uint64_t)RUNS * RUN_ROWS;
  const uint64_t runs = all ? (total + RUN_ROWS - 1) / RUN_ROWS : RUNS;
  lap_cache_rows *rows = lap_cache_rows_create(cache, RUN_ROWS);
  double *frequency = count_frequencies(tokens);
  looker l = {.rows = rows,
              .tokens = tokens,
              .frequency = frequency,
              .vocab = lap_cache_schema_of(cache)->vocab_size,
              .extract = lap_allocate((int64_t)RUNS * RUN_ROWS, sizeof *l.extract),
              .sums = alignment};
  lap_code code = LAP_OK;
  for (uint64_t run = 0; run < runs && code == LAP_OK; ++run) {
    const uint64_t row = all ? run * RUN_ROWS : run * (total - RUN_ROWS) / (RUNS - 1);
    const uint32_t count = (uint32_t)(total - row < RUN_ROWS ? total - row : RUN_ROWS);
    code = lap_cache_read(cache, shard, row, count, NULL, rows, status);
    for (uint32_t i = 0; i < count && code == LAP_OK; ++i)
      if (row + i + 2 < total && lap_row_counts(tokens, row + i)) add_row(&l, i, row + i);
  }
  add_pairs(&l);
  free(l.extract);
  free(frequency);
  lap_cache_rows_destroy(rows);
  return code;
}

/* --- what the sums say --- */

static double variance_of_mean(const lap_row_sum *sum, uint64_t rows) {
  const double n = (double)rows, variance = (sum->squares - sum->sum * sum->sum / n) / (n - 1);
  return variance > 0 ? variance / n : 0;
}

/* Whether the mean is above 0 by `errors` standard errors. */
static bool is_above(const lap_row_sum *sum, uint64_t rows, double errors) {
  if (rows < LEAST_SCORED || sum->sum <= 0) return false;
  const double mean = sum->sum / (double)rows;
  return mean * mean > errors * errors * variance_of_mean(sum, rows);
}

/* Whether rows differ with token i rather than with token i-1, and do not say too much of i. */
static bool repeats_input(const lap_alignment *a) {
  if (a->score.sum + a->same_over.sum > MOST_REPETITION * (double)a->scored) return false;
  if (a->input_pairs < LEAST_PAIRS || a->before_pairs < LEAST_PAIRS) return false;
  const double difference =
      a->input_alike.sum / (double)a->input_pairs - a->before_alike.sum / (double)a->before_pairs;
  const double variance = variance_of_mean(&a->input_alike, a->input_pairs) +
                          variance_of_mean(&a->before_alike, a->before_pairs);
  return difference > 0 &&
         difference * difference > PAIR_STANDARD_ERRORS * PAIR_STANDARD_ERRORS * variance;
}

bool lap_alignment_is_shifted(const lap_alignment *a) {
  if (is_above(&a->after_over, a->scored, STANDARD_ERRORS)) return true;
  return is_above(&a->same_over, a->scored, STANDARD_ERRORS) && !repeats_input(a);
}

bool lap_alignment_is_weak(const lap_alignment *a) {
  return a->scored >= LEAST_SCORED && !is_above(&a->score, a->scored, STANDARD_ERRORS);
}

/* --- a cache --- */

bool lap_cache_vouches(const lap_cache *cache, size_t shard) {
  const lap_cache_shard *of = &cache->shard[shard];
  char hex[LAP_SHA256_HEX];
  if (!of->is_tried) return false;
  lap_sha256_hex(of->digest, hex);
  return strcmp(hex, of->rows_sha256) == 0;
}

/* Whether the rows do not match the rows_sha256 that their file carries. */
static bool has_other_rows(const lap_cache *cache, size_t shard) {
  const lap_cache_shard *of = &cache->shard[shard];
  return of->is_tried && of->rows_sha256[0] && !lap_cache_vouches(cache, shard);
}

const char *lap_cache_other_rows(const lap_cache *cache) {
  for (; cache; cache = cache->next)
    for (size_t i = 0; i < lap_cache_tokens(cache)->count; ++i)
      if (has_other_rows(cache, i)) return lap_cache_path(cache, i);
  return NULL;
}

static lap_code refuse(const lap_cache *cache, size_t shard, const lap_alignment *a, bool by_flags,
                       lap_status *status) {
  const double n = (double)a->scored, score = a->score.sum / n;
  return lap_fail(
      status, LAP_DATA,
      "%s: rows look shifted by one: over %" PRIu64
      " rows i, log(probability / frequency) is on average %.3f for token i+1, %.3f "
      "for token i, %.3f for token i+2; row i must be the distribution over token i+1%s: "
      "%s",
      lap_cache_path(cache, shard), a->scored, score, score + a->same_over.sum / n,
      score + a->after_over.sum / n,
      has_other_rows(cache, shard) ? ", and these rows do not match the file's rows_sha256" : "",
      by_flags ? "teach again, or leave the cache out"
               : "teach again (or, if this is right all the same, train with "
                 "teacher.allow_shift)");
}

static void add_sum(lap_row_sum *to, const lap_row_sum *from) {
  to->sum += from->sum;
  to->squares += from->squares;
}

static void add_sums(lap_alignment *to, const lap_alignment *from) {
  to->rows += from->rows;
  to->whole_rows += from->whole_rows;
  to->scored += from->scored;
  add_sum(&to->score, &from->score);
  add_sum(&to->same_over, &from->same_over);
  add_sum(&to->after_over, &from->after_over);
  to->input_pairs += from->input_pairs;
  to->before_pairs += from->before_pairs;
  add_sum(&to->input_alike, &from->input_alike);
  add_sum(&to->before_alike, &from->before_alike);
}

/* Goes before a weak teacher: rows that changed after they were written may be why it is weak. */
static bool notice_other_rows(lap_cache *cache) {
  lap_status first;
  size_t count = 0;
  for (size_t i = 0; i < lap_cache_tokens(cache)->count; ++i) {
    const lap_cache_shard *of = &cache->shard[i];
    if (!has_other_rows(cache, i) || count++ > 0) continue;
    lap_rows_digest_confirm(of->path, of->rows_sha256, of->digest, &first);
  }
  if (count == 1) cache->notice = lap_copy_string(first.message);
  if (count > 1)
    cache->notice = lap_format("%s (and %zu more of its files: inspect --check names each)",
                               first.message, count - 1);
  return count > 0;
}

static void notice_what_is_odd(lap_cache *cache, const lap_alignment *all) {
  free(cache->notice);
  cache->notice = NULL;
  if (notice_other_rows(cache)) return;
  if (lap_codec_is_drawn(cache->schema.codec) || !lap_alignment_is_weak(all)) return;
  cache->notice = lap_format(
      "%s: over %" PRIu64
      " rows the teacher %s is no better than the frequencies of the tokens at saying what comes "
      "next: a weak teacher, or the cache of another text",
      lap_cache_path(cache, 0), all->scored, cache->schema.teacher);
}

lap_code lap_cache_check_shift(lap_cache *cache, const lap_alignment *alignments, bool allow_shift,
                               bool by_flags, lap_status *status) {
  lap_alignment all = {0}, together = {0};
  size_t last_small = 0;
  const bool on_purpose = cache->schema.swapped_percent > 0;
  for (size_t i = 0; i < lap_cache_tokens(cache)->count; ++i) {
    const lap_alignment *one = &alignments[i];
    add_sums(&all, one);
    if (allow_shift || on_purpose || lap_cache_vouches(cache, i)) continue;
    if (one->rows < LEAST_ALONE) {
      add_sums(&together, one);
      last_small = i;
    } else if (lap_alignment_is_shifted(one)) {
      return refuse(cache, i, one, by_flags, status);
    }
  }
  if (lap_alignment_is_shifted(&together))
    return refuse(cache, last_small, &together, by_flags, status);
  notice_what_is_odd(cache, &all);
  cache->lacks_tail =
      cache->schema.codec == LAP_CODEC_TOPK && all.rows > 0 && all.whole_rows == all.rows;
  return LAP_OK;
}
