#include "teacher/schema.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static const char *const CODEC_NAMES[] = {"topk", "sampled", "stratified", "varopt", "gemma3"};
enum { CODECS = sizeof CODEC_NAMES / sizeof *CODEC_NAMES };

const char *lap_codec_name(lap_codec codec) {
  assert((unsigned)codec < CODECS);
  return CODEC_NAMES[codec];
}

bool lap_codec_is_drawn(lap_codec codec) { return codec != LAP_CODEC_TOPK; }

bool lap_codec_find(const char *name, lap_codec *codec) {
  for (int i = 0; i < CODECS; ++i) {
    if (strcmp(name, CODEC_NAMES[i]) != 0) continue;
    *codec = (lap_codec)i;
    return true;
  }
  return false;
}

/* One key of two schemas as text, and whether they are the same. */
static lap_code equal_text(const char *path, const char *other_path, const char *key,
                           const char *value, const char *other, lap_status *status) {
  if (strcmp(value, other) == 0) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: %s is \"%.80s\", but %s has \"%.80s\": the files of one cache must agree",
                  path, key, value, other_path, other);
}

static lap_code equal_number(const char *path, const char *other_path, const char *key,
                             int64_t value, int64_t other, lap_status *status) {
  if (value == other) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: %s is %" PRId64 ", but %s has %" PRId64
                  ": the files of one cache must agree",
                  path, key, value, other_path, other);
}

lap_code lap_cache_schema_equal(const char *path, const lap_cache_schema *a, const char *other_path,
                                const lap_cache_schema *b, lap_status *status) {
  LAP_TRY(equal_text(path, other_path, "codec", lap_codec_name(a->codec), lap_codec_name(b->codec),
                     status));
  LAP_TRY(equal_number(path, other_path, "vocab_size", a->vocab_size, b->vocab_size, status));
  LAP_TRY(equal_number(path, other_path, "k", a->k, b->k, status));
  LAP_TRY(equal_number(path, other_path, "draws", a->draws, b->draws, status));
  LAP_TRY(equal_number(path, other_path, "exact", a->exact, b->exact, status));
  LAP_TRY(equal_number(path, other_path, "draw_seed", a->draw_seed, b->draw_seed, status));
  LAP_TRY(equal_number(path, other_path, "swapped_percent", a->swapped_percent, b->swapped_percent,
                       status));
  LAP_TRY(equal_number(path, other_path, "sequence_length", a->sequence_length, b->sequence_length,
                       status));
  LAP_TRY(
      equal_number(path, other_path, "document_mask", a->document_mask, b->document_mask, status));
  const bool one_teacher = a->teacher_sha256[0] && !strcmp(a->teacher_sha256, b->teacher_sha256);
  if (!one_teacher)
    LAP_TRY(equal_text(path, other_path, "teacher", a->teacher, b->teacher, status));
  LAP_TRY(
      equal_text(path, other_path, "teacher_sha256", a->teacher_sha256, b->teacher_sha256, status));
  return equal_text(path, other_path, "tokenizer_sha256", a->tokenizer_sha256, b->tokenizer_sha256,
                    status);
}
