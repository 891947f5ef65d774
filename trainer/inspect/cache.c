#include "trainer/inspect/cache.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "teacher/align.h"
#include "teacher/cache_open.h"
#include "teacher/cache_sandbox.h"
#include "teacher/describe_file.h"
#include "trainer/cli/human.h"
#include "trainer/cli/step_progress.h"
#include "trainer/cli/table.h"

enum { PIECE_CHARACTERS = 20 };

/* --- the schema --- */

static lap_code report_schema(const lap_inspector *inspector, const char *path,
                              const lap_cache_identity *identity, bool *pieces, lap_report *report,
                              lap_status *status) {
  const lap_cache_schema *schema = &identity->schema;
  lap_report_fact(report, "codec", json_string(lap_codec_name(schema->codec)), "%s, k = %u",
                  lap_codec_name(schema->codec), schema->k);
  lap_report_json_only(report, "k", json_integer(schema->k));
  if (schema->draws > 0) lap_report_count(report, "draws", schema->draws);
  if (schema->exact > 0) lap_report_count(report, "exact", schema->exact);
  if (schema->draw_seed >= 0) lap_report_count(report, "draw_seed", (uint64_t)schema->draw_seed);
  if (schema->swapped_percent > 0)
    lap_report_count(report, "swapped_percent", schema->swapped_percent);
  lap_report_count(report, "vocab_size", schema->vocab_size);
  lap_report_count(report, "sequence_length", schema->sequence_length);
  lap_report_fact(report, "document_mask", json_boolean(schema->document_mask), "%s",
                  schema->document_mask ? "yes" : "no");
  lap_report_text(report, "teacher", schema->teacher);
  if (schema->teacher_sha256[0]) lap_report_text(report, "teacher_sha256", schema->teacher_sha256);
  lap_report_fact(report, "optional_datasets",
                  json_pack("{s:b, s:b}", "next_logprob", schema->has_next_logprob, "entropy",
                            schema->has_entropy),
                  "%s%s%s", schema->has_next_logprob ? "next_logprob " : "",
                  schema->has_entropy ? "entropy" : "",
                  schema->has_next_logprob || schema->has_entropy ? "" : "none");
  lap_report_text(report, "tokens_sha256", identity->tokens_sha256);
  if (identity->rows_sha256[0]) lap_report_text(report, "rows_sha256", identity->rows_sha256);
  return lap_inspect_tokenizer_match(inspector, path, schema->tokenizer_sha256, pieces, report,
                                     status);
}

static void report_size(const lap_cache_description *d, lap_report *report) {
  char bytes[LAP_HUMAN_TEXT];
  const double all = d->file_bytes * (double)d->rows;
  lap_report_fact(report, "bytes_per_token", json_real(d->file_bytes), "%.1f (%s in all)",
                  d->file_bytes, lap_human_bytes(all, bytes));
}

/* --- coverage and alignment --- */

static void report_coverage(const lap_cache_description *d, uint64_t rows, lap_report *report) {
  if (rows == 0) return;
  json_t *value = json_pack("{s:I, s:f, s:f, s:I}", "rows", (json_int_t)rows, "mean", d->mean_kept,
                            "least", d->least_kept, "least_row", (json_int_t)d->least_kept_row);
  lap_report_fact(report, "coverage", value,
                  "%.2f %% of the probability kept on average, least %.2f %% (row %" PRIu64
                  "); %" PRIu64 " rows",
                  100 * d->mean_kept, 100 * d->least_kept, d->least_kept_row, rows);
}

static void report_alignment(const lap_cache_description *d, bool swapped, lap_report *report) {
  json_t *value = json_pack("{s:I, s:f, s:f, s:f, s:b, s:b}", "rows", (json_int_t)d->compared,
                            "mean_next", d->mean_next, "mean_same", d->mean_same, "mean_after",
                            d->mean_after, "shifted", d->shifted, "weak", d->weak);
  lap_report_fact(report, "alignment", value,
                  "%s: mean probability %.4f for token i+1, %.4f for i, %.4f for i+2; %" PRIu64
                  " rows",
                  swapped      ? "out of place on purpose"
                  : d->shifted ? "SHIFTED"
                  : d->weak    ? "weak, no better than the frequencies of the tokens"
                               : "right",
                  d->mean_next, d->mean_same, d->mean_after, d->compared);
}

/* --- five rows --- */

/* How ids are shown: as pieces where there is a tokenizer, else as numbers. */
typedef struct {
  lap_tokenizer *tokenizer; /* NULL: numbers */
  bool has_tokens;          /* the rows know their token and the next one */
} naming;

static char *name_of(const naming *names, uint32_t id) {
  if (!names->tokenizer) return lap_format("%u", id);
  const char *piece = lap_tokenizer_piece(names->tokenizer, id);
  return lap_report_clean(piece, strlen(piece), PIECE_CHARACTERS);
}

static json_t *id_to_json(const naming *names, uint32_t id) {
  json_t *entry = json_pack("{s:I}", "id", (json_int_t)id);
  if (names->tokenizer) {
    char *piece = name_of(names, id);
    json_object_set_new(entry, "piece", json_string(piece));
    free(piece);
  }
  return entry;
}

static json_t *example_to_json(const naming *names, const lap_cache_example *e) {
  json_t *top = json_array();
  for (uint32_t i = 0; i < e->top_count; ++i) {
    json_t *entry = id_to_json(names, e->top_id[i]);
    json_object_set_new(entry, "probability", json_real((double)e->top_probability[i]));
    json_array_append_new(top, entry);
  }
  json_t *row = json_pack("{s:I}", "row", (json_int_t)e->row);
  if (names->has_tokens) {
    json_object_set_new(row, "token", id_to_json(names, e->token));
    json_object_set_new(row, "next", id_to_json(names, e->next));
  }
  json_object_set_new(row, "top", top);
  json_object_set_new(row, "tail_mass", json_real((double)e->tail));
  return row;
}

/* A row of the table: row, after, came, then the top, then the tail. */
enum { TOP_COLUMN = 3, COLUMNS = TOP_COLUMN + LAP_EXAMPLE_TOP + 1 };

static void add_example_cells(const naming *names, const lap_cache_example *e, lap_table *table) {
  char *cell[COLUMNS];
  cell[0] = lap_format("%" PRIu64, e->row);
  cell[1] = names->has_tokens ? name_of(names, e->token) : lap_copy_string("?");
  cell[2] = names->has_tokens ? name_of(names, e->next) : lap_copy_string("?");
  for (uint32_t i = 0; i < LAP_EXAMPLE_TOP; ++i) {
    char *name = i < e->top_count ? name_of(names, e->top_id[i]) : NULL;
    const bool came = names->has_tokens && i < e->top_count && e->top_id[i] == e->next;
    cell[TOP_COLUMN + i] =
        name ? lap_format("%s%s %.3f", came ? "*" : "", name, (double)e->top_probability[i])
             : lap_copy_string("");
    free(name);
  }
  cell[COLUMNS - 1] = lap_format("%.3f", (double)e->tail);
  lap_table_add(table, (const char *const *)cell);
  for (int i = 0; i < COLUMNS; ++i) free(cell[i]);
}

static void report_examples(const naming *names, const lap_cache_description *d,
                            lap_report *report) {
  static const char *const headers[COLUMNS] = {"row", "after", "came", "1st", "2nd",
                                               "3rd", "4th",   "5th",  "tail"};
  lap_table *table = lap_table_create(COLUMNS, headers);
  json_t *rows = json_array();
  for (uint32_t i = 0; i < d->example_count; ++i) {
    add_example_cells(names, &d->example[i], table);
    json_array_append_new(rows, example_to_json(names, &d->example[i]));
  }
  lap_report_json_only(report, "examples", rows);
  lap_report_verbatim(report, names->has_tokens
                                  ? "\nwhat the teacher expected after a token (*: it came)\n"
                                  : "\nwhat the teacher expected\n");
  lap_report_table(report, table);
}

/* --- with and without the tokens --- */

static const lap_known_shard *find_shard(const lap_inspector *inspector, const char *sha256) {
  for (size_t i = 0; i < inspector->shard_count; ++i)
    if (strcmp(inspector->shard[i].tokens_sha256, sha256) == 0) return &inspector->shard[i];
  return NULL;
}

static lap_code inspect_with_tokens(const lap_inspector *inspector, lap_cache *cache,
                                    lap_tokenizer *tokenizer, lap_report *report,
                                    lap_status *status) {
  lap_cache_description d;
  LAP_TRY(lap_cache_describe(cache, 0, &d, status));
  report_size(&d, report);
  report_alignment(&d, lap_cache_schema_of(cache)->swapped_percent > 0, report);
  report_coverage(&d, d.compared, report);
  report_examples(&(naming){tokenizer, true}, &d, report);
  if (!inspector->check) return LAP_OK;
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, inspector->session->console);
  const lap_code code = lap_cache_check_all(cache, 0, inspector->bar ? &hook : NULL, status);
  lap_step_progress_end(&progress);
  LAP_TRY(code);
  lap_alignment alignment = {0};
  LAP_TRY(lap_alignment_add(cache, 0, &alignment, status));
  LAP_TRY(lap_cache_check_shift(cache, &alignment, false, false, status));
  return lap_cache_confirm_rows(cache, 0, status);
}

/* The shard is opened, and thereby verified, as the one member of a set. */
static lap_code open_with_tokens(const lap_inspector *inspector, const char *path,
                                 const char *tokens_path, lap_tokenizer *tokenizer,
                                 lap_report *report, lap_status *status) {
  lap_token_shard *shard;
  lap_cache *cache;
  LAP_TRY(lap_token_shard_open(tokens_path, &shard, status));
  const lap_token_set set = {.shard = &shard, .count = 1, .token_count = shard->token_count};
  lap_code code = lap_cache_open(path, &set, NULL, &cache, status);
  if (code == LAP_OK) {
    code = inspect_with_tokens(inspector, cache, tokenizer, report, status);
    lap_cache_close(cache);
  }
  lap_token_shard_close(shard);
  return code;
}

static lap_code inspect_alone(const lap_inspector *inspector, const char *path,
                              lap_tokenizer *tokenizer, lap_report *report, lap_status *status) {
  lap_cache_description d;
  uint64_t sampled, empty;
  LAP_TRY(lap_cache_file_describe(path, &d, &sampled, status));
  report_size(&d, report);
  report_coverage(&d, sampled, report);
  report_examples(&(naming){tokenizer, false}, &d, report);
  if (!inspector->check) return LAP_OK;
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, inspector->session->console);
  bool bad_row;
  const lap_code code =
      lap_cache_file_check(path, &empty, &bad_row, inspector->bar ? &hook : NULL, status);
  lap_step_progress_end(&progress);
  if (code != LAP_OK && bad_row)
    lap_fail_context(status, "without --tokens, by which rows that do not count are known");
  LAP_TRY(code);
  lap_report_verbatim(report, "\n");
  lap_report_count(report, "empty_rows", empty);
  return LAP_OK;
}

static void report_hints(const lap_inspector *inspector, bool has_tokens, lap_report *report) {
  lap_report_verbatim(report, "\n");
  if (!has_tokens && inspector->tokens)
    lap_report_note(report, "no shard of %s has these tokens: alignment is not known",
                    inspector->tokens);
  if (!inspector->tokens)
    lap_report_note(report, "for alignment and the tokens themselves: --tokens GLOB of the shards");
  if (!inspector->tokenizer)
    lap_report_note(report, "for pieces instead of ids: --tokenizer M.model");
}

lap_code lap_inspect_cache(const lap_inspector *inspector, const char *path, lap_report *report,
                           lap_status *status) {
  lap_cache_identity identity;
  char count[LAP_HUMAN_TEXT];
  LAP_TRY(lap_cache_file_identity(path, &identity, status));
  lap_report_summarise(report, "%s of %u for %s tokens", lap_codec_name(identity.schema.codec),
                       identity.schema.k, lap_human_count((double)identity.rows, count));
  lap_report_count(report, "rows", identity.rows);
  bool pieces;
  LAP_TRY(report_schema(inspector, path, &identity, &pieces, report, status));
  lap_tokenizer *tokenizer = pieces ? inspector->tokenizer : NULL;
  const lap_known_shard *shard = find_shard(inspector, identity.tokens_sha256);
  if (shard) {
    lap_report_text(report, "token_shard", shard->path);
    LAP_TRY(open_with_tokens(inspector, path, shard->path, tokenizer, report, status));
  } else {
    LAP_TRY(inspect_alone(inspector, path, tokenizer, report, status));
  }
  if (!shard || !inspector->tokenizer) report_hints(inspector, shard != NULL, report);
  if (!shard && inspector->check && inspector->tokens)
    return lap_fail(status, LAP_DATA, "%s: no shard of %s has its tokens_sha256 %s", path,
                    inspector->tokens, identity.tokens_sha256);
  return LAP_OK;
}
