#include "trainer/audit/stored_bytes.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "dataset/special_ids.h"
#include "teacher/cache_write.h"

struct lap_stored_sample {
  uint32_t vocab, sequence_length;
  uint64_t rows;
  float *logprob;   /* [rows, V]; of counted rows */
  int32_t *next;    /* [rows]; LAP_UNCOUNTED */
  uint64_t stream;  /* all rows are drawn as of one shard, by their number */
  uint32_t *tokens; /* [rows + 1]: EOS in front of what is not counted, as the writer has it */
};

enum { MOST_ROWS = 4096, LEAST_ROWS = 256, MOST_FLOATS = 1 << 26 };

static uint64_t windows_of(uint64_t windows, uint32_t rows_of_window, uint32_t vocab) {
  uint64_t rows = MOST_FLOATS / vocab;
  if (rows > MOST_ROWS) rows = MOST_ROWS;
  if (rows < LEAST_ROWS) rows = LEAST_ROWS;
  const uint64_t wanted = (rows + rows_of_window - 1) / rows_of_window;
  return wanted < windows ? wanted : windows;
}

static void append(lap_stored_sample *sample, const lap_dense_rows *dense) {
  for (uint32_t i = 0; i < dense->rows; ++i) {
    const uint64_t at = sample->rows++;
    sample->next[at] = dense->window->targets[1 + i];
    sample->tokens[at] = sample->next[at] < 0 ? LAP_EOS : LAP_UNK;
    if (sample->next[at] >= 0)
      memcpy(sample->logprob + at * sample->vocab, dense->logprob + (size_t)(1 + i) * sample->vocab,
             sample->vocab * sizeof(float));
  }
}

lap_code lap_stored_sample_create(lap_cache *cache, lap_stored_sample **sample,
                                  lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  const uint32_t length = schema->sequence_length, vocab = schema->vocab_size;
  lap_dense_rows *dense = lap_dense_rows_create(cache);
  const uint64_t windows = lap_data_window_count(&dense->data);
  const uint64_t count = windows_of(windows, length - 1, vocab), rows = count * (length - 1);
  lap_stored_sample *made = lap_allocate(1, sizeof *made);
  *made = (lap_stored_sample){.vocab = vocab,
                              .sequence_length = length,
                              .logprob = lap_allocate_aligned(rows * vocab, sizeof(float)),
                              .next = lap_allocate(rows, sizeof *made->next),
                              .tokens = lap_allocate(rows + 1, sizeof *made->tokens)};
  lap_code code = LAP_OK;
  for (uint64_t i = 0; i < count && code == LAP_OK; ++i) {
    code = lap_dense_rows_fill(dense, i * windows / count, status);
    if (code == LAP_OK) append(made, dense);
  }
  made->tokens[made->rows] = LAP_EOS;
  made->stream = dense->stream;
  lap_dense_rows_destroy(dense);
  if (code != LAP_OK) {
    lap_stored_sample_destroy(made);
    made = NULL;
  }
  *sample = made;
  return code;
}

void lap_stored_sample_destroy(lap_stored_sample *sample) {
  if (!sample) return;
  lap_release_aligned(sample->logprob);
  free(sample->next);
  free(sample->tokens);
  free(sample);
}

static void make_row(const lap_stored_sample *sample, lap_row_maker *maker, uint64_t at,
                     uint32_t slots, lap_cache_content *content) {
  lap_made_row row = {.ids = content->ids + at * slots, .logprob = content->logprob + at * slots};
  if (sample->next[at] < 0 ||
      !lap_row_maker_make(maker, sample->logprob + at * sample->vocab, sample->next[at],
                          (lap_draw_key){1, sample->stream, at}, &row))
    return; /* a valid row is finite */
  content->tail_mass[at] = row.tail;
  content->next_logprob[at] = row.next_logprob;
  content->entropy[at] = row.entropy;
  if (!content->threshold) return;
  content->threshold[at] = row.threshold;
  content->top_id[at] = row.top_id;
}

lap_code lap_stored_bytes(const lap_stored_sample *sample, const lap_kept *kept, int threads,
                          double *bytes, lap_status *status) {
  const bool drawn = lap_codec_is_drawn(kept->codec);
  const uint32_t slots = lap_kept_slots(kept);
  const lap_cache_schema schema = {.codec = kept->codec,
                                   .vocab_size = sample->vocab,
                                   .k = slots,
                                   .draws = drawn ? kept->draws : 0,
                                   .sequence_length = sample->sequence_length};
  const lap_token_shard tokens = {.token_count = sample->rows + 1, .tokens = sample->tokens};
  lap_cache_content content;
  lap_cache_content_create(sample->rows + 1, slots, &content);
  if (drawn) lap_cache_content_add_draws(sample->rows + 1, &content);
  lap_row_maker *maker = lap_row_maker_create(kept, threads);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (uint64_t at = 0; at < sample->rows; ++at) make_row(sample, maker, at, slots, &content);
  lap_row_maker_destroy(maker);
  uint64_t all;
  const lap_code code = lap_cache_measure(&schema, &tokens, &content, &all, status);
  lap_cache_content_destroy(&content);
  *bytes = (double)all / (double)sample->rows;
  return code;
}

static uint32_t fewest_slots(lap_codec codec) { return codec == LAP_CODEC_STRATIFIED ? 2 : 1; }

lap_kept lap_kept_of_slots(lap_codec codec, uint32_t slots, uint32_t vocab) {
  if (slots < fewest_slots(codec)) slots = fewest_slots(codec);
  lap_kept kept = {.codec = codec, .vocab = vocab, .draws = slots};
  if (codec == LAP_CODEC_TOPK) kept.exact = slots, kept.draws = 0;
  if (codec == LAP_CODEC_STRATIFIED) kept.exact = (slots + 1) / 2, kept.draws = slots / 2;
  return kept;
}

lap_code lap_kept_of_bytes(const lap_stored_sample *sample, lap_codec codec, double most,
                           int threads, lap_kept *kept, double *bytes, lap_status *status) {
  uint32_t fits = fewest_slots(codec), over = sample->vocab + 1;
  *kept = lap_kept_of_slots(codec, fits, sample->vocab);
  LAP_TRY(lap_stored_bytes(sample, kept, threads, bytes, status));
  if (*bytes > most)
    return lap_fail(status, LAP_USAGE,
                    "--bytes: %g a token are too few for %s, which takes %.2f with %u slot%s; give "
                    "more",
                    most, lap_codec_name(codec), *bytes, fits, fits == 1 ? "" : "s");
  while (over - fits > 1) {
    const uint32_t middle = fits + (over - fits) / 2;
    const lap_kept tried = lap_kept_of_slots(codec, middle, sample->vocab);
    double taken;
    LAP_TRY(lap_stored_bytes(sample, &tried, threads, &taken, status));
    if (taken > most) {
      over = middle;
      continue;
    }
    fits = middle, *kept = tried, *bytes = taken;
  }
  return LAP_OK;
}
