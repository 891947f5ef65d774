#include "trainer/inspect/tokens.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "dataset/token_shard.h"
#include "trainer/cli/human.h"

/* Text that is shown of a document, and the tokens that are decoded for it. */
enum { TEXT_CHARACTERS = 300, TEXT_TOKENS = 256, SHOWN_IDS = 16, SHOWN_PIECES = 24 };

/* Bytes a token on disk. */
static void report_size(const char *path, const lap_token_shard *shard, lap_report *report) {
  struct stat facts;
  if (stat(path, &facts) != 0) return;
  const double each = (double)facts.st_size / (double)shard->token_count;
  char bytes[LAP_HUMAN_TEXT];
  lap_report_json_only(report, "file_bytes", json_integer(facts.st_size));
  lap_report_fact(report, "bytes_per_token", json_real(each), "%.2f (%s in all)", each,
                  lap_human_bytes((double)facts.st_size, bytes));
}

/* Documents as docs/design.md#documents defines them: BOS text EOS. Others can be trained on as
 * well. */
static void report_documents(const lap_token_shard *shard, lap_report *report) {
  uint64_t longest = 0, unframed = 0;
  for (uint64_t d = 0; d < shard->document_count; ++d) {
    const uint64_t begin = shard->documents[d], end = shard->documents[d + 1];
    if (end - begin > longest) longest = end - begin;
    unframed +=
        end == begin || shard->tokens[begin] != LAP_BOS || shard->tokens[end - 1] != LAP_EOS;
  }
  lap_report_count(report, "documents", shard->document_count);
  lap_report_count(report, "longest_document", longest);
  if (unframed == 0) return;
  lap_report_count(report, "documents_not_framed", unframed);
  lap_report_note(report, "a document should be BOS text EOS");
}

static void report_first_text(const lap_inspector *inspector, const lap_token_shard *shard,
                              lap_report *report) {
  const uint64_t end = shard->document_count > 0 ? shard->documents[1] : shard->token_count;
  const size_t tokens = end < TEXT_TOKENS ? (size_t)end : TEXT_TOKENS;
  size_t bytes;
  char *text = lap_tokenizer_decode(inspector->tokenizer, shard->tokens, tokens, &bytes);
  char *clean = lap_report_clean(text, bytes, TEXT_CHARACTERS);
  lap_report_fact(report, "first_text", json_string(clean), "%s", clean);
  free(clean);
  free(text);
}

static void report_first_ids(const lap_token_shard *shard, lap_report *report) {
  json_t *list = json_array();
  char text[SHOWN_IDS * 12 + 1] = "";
  for (uint64_t i = 0, at = 0; i < shard->token_count && i < SHOWN_IDS; ++i) {
    json_array_append_new(list, json_integer(shard->tokens[i]));
    at += (uint64_t)snprintf(text + at, sizeof text - at, "%s%u", i ? " " : "", shard->tokens[i]);
  }
  lap_report_fact(report, "first_tokens", list, "%s%s", text,
                  shard->token_count > SHOWN_IDS ? " ..." : "");
}

lap_code lap_inspect_token_shard(const lap_inspector *inspector, const char *path,
                                 lap_report *report, lap_status *status) {
  lap_token_shard *shard;
  LAP_TRY(lap_token_shard_open(path, &shard, status));
  char count[LAP_HUMAN_TEXT];
  lap_report_summarise(report, "%s tokens in %" PRIu64 " documents",
                       lap_human_count((double)shard->token_count, count), shard->document_count);
  lap_report_count(report, "tokens", shard->token_count);
  report_documents(shard, report);
  lap_report_count(report, "vocab_size", shard->vocab_size);
  report_size(path, shard, report);
  lap_report_fact(report, "tokens_sha256", json_string(shard->tokens_sha256),
                  "%s (recomputed: equal)", shard->tokens_sha256);
  bool usable;
  const lap_code code = lap_inspect_tokenizer_match(inspector, path, shard->tokenizer_sha256,
                                                    &usable, report, status);
  if (usable)
    report_first_text(inspector, shard, report);
  else
    report_first_ids(shard, report);
  if (!inspector->tokenizer) lap_report_note(report, "for the text: --tokenizer M.model");
  lap_token_shard_close(shard);
  return code;
}

/* --- tokenizers --- */

typedef struct {
  uint32_t control, bytes, text;
  uint32_t *text_id; /* [text] in order of their ids */
} piece_counts;

static piece_counts count_pieces(lap_tokenizer *tokenizer) {
  const uint32_t vocab_size = lap_tokenizer_vocab_size(tokenizer);
  piece_counts counts = {.text_id = lap_allocate(vocab_size, sizeof *counts.text_id)};
  for (uint32_t id = 0; id < vocab_size; ++id) {
    const char *piece = lap_tokenizer_piece(tokenizer, id);
    if (lap_tokenizer_piece_bytes(tokenizer, id) == 0)
      ++counts.control;
    else if (strlen(piece) == strlen("<0x00>") && strncmp(piece, "<0x", 3) == 0)
      ++counts.bytes;
    else
      counts.text_id[counts.text++] = id;
  }
  return counts;
}

/* Pieces evenly spread over those of text: early ones are frequent, late ones rare. */
static void report_some_pieces(lap_tokenizer *tokenizer, const piece_counts *counts,
                               lap_report *report) {
  json_t *list = json_array();
  char *text = lap_copy_string("");
  for (uint32_t i = 0; i < SHOWN_PIECES && i < counts->text; ++i) {
    const uint64_t at = counts->text < SHOWN_PIECES ? i : (uint64_t)i * counts->text / SHOWN_PIECES;
    const char *piece = lap_tokenizer_piece(tokenizer, counts->text_id[at]);
    char *clean = lap_report_clean(piece, strlen(piece), 40);
    char *longer = lap_format("%s%s%s", text, i ? "  " : "", clean);
    json_array_append_new(list, json_string(clean));
    free(clean);
    free(text);
    text = longer;
  }
  lap_report_fact(report, "some_pieces", list, "%s", text);
  free(text);
}

lap_code lap_inspect_tokenizer(const lap_inspector *inspector, const char *path, lap_report *report,
                               lap_status *status) {
  (void)inspector;
  lap_tokenizer *tokenizer;
  LAP_TRY(lap_tokenizer_open(path, &tokenizer, status));
  const piece_counts counts = count_pieces(tokenizer);
  lap_report_summarise(report, "%u tokens", lap_tokenizer_vocab_size(tokenizer));
  lap_report_count(report, "vocab_size", lap_tokenizer_vocab_size(tokenizer));
  lap_report_text(report, "tokenizer_sha256", lap_tokenizer_sha256(tokenizer));
  lap_report_count(report, "control_pieces", counts.control);
  lap_report_count(report, "byte_pieces", counts.bytes);
  lap_report_count(report, "text_pieces", counts.text);
  report_some_pieces(tokenizer, &counts, report);
  free(counts.text_id);
  lap_tokenizer_close(tokenizer);
  return LAP_OK;
}
