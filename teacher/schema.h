/* schema: what all files of one cache have in common (the open schema of
 * docs/design.md#teacher-cache).
 *
 * Root attributes of a file: format = "lapidary-teacher", format_version = 1, codec, vocab_size, k,
 * draws (drawn codecs), sequence_length, document_mask (0 or 1), tokens_sha256, tokenizer_sha256,
 * teacher, optional exact (stratified), draw_seed (drawn codecs), swapped_percent, teacher_sha256,
 * computed_as (which readers pass over and `teach` compares with its own) and rows_sha256
 * (teacher/rows_digest.h: the writer's word that row i is about token i+1; it is of a file, not of
 * the cache). Datasets: `ids` [N,K] any integer type, `logprob` [N,K] any float type, `tail_mass`
 * [N] any float; optional `next_logprob` [N], `entropy` [N]. Drawn codecs of ours also have
 * `threshold` [N] and `top_id` [N], which nothing here reads.
 */
#ifndef LAP_TEACHER_SCHEMA_H
#define LAP_TEACHER_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/status.h"

/* What a codec keeps: teacher/select.h, teacher/draw.h. All but topk are drawn. */
typedef enum {
  LAP_CODEC_TOPK,
  LAP_CODEC_SAMPLED,
  LAP_CODEC_STRATIFIED,
  LAP_CODEC_VAROPT,
  LAP_CODEC_GEMMA3
} lap_codec;

const char *lap_codec_name(lap_codec codec); /* "topk", "sampled", ... */
#define LAP_CODEC_NAMES "topk, sampled, stratified, varopt or gemma3"
/* Whether rows are drawn: all but topk. Their weights sum to 1, their tail_mass is 0. */
bool lap_codec_is_drawn(lap_codec codec);
/* False where no codec has this name. */
bool lap_codec_find(const char *name, lap_codec *codec);

enum { LAP_TEACHER_NAME = 4097 }; /* 4 KiB, as for every string of a cache */
enum { LAP_COMPUTED_AS = 192 };

typedef struct {
  lap_codec codec;
  uint32_t vocab_size;
  uint32_t k;        /* K: slots per row */
  uint32_t draws;    /* as in lap_draw_plan; 0 for topk */
  uint32_t exact;    /* stratified: the first slots of a row, kept as they are; 0 where not known */
  int64_t draw_seed; /* -1: none, or not known */
  uint32_t swapped_percent; /* of the rows, which are out of place on purpose: swap_rows.h */
  uint32_t sequence_length;
  bool document_mask;
  char teacher[LAP_TEACHER_NAME];
  char teacher_sha256[LAP_SHA256_HEX]; /* "" where absent */
  char tokenizer_sha256[LAP_SHA256_HEX];
  char computed_as[LAP_COMPUTED_AS];  /* "" where absent, or not such a text */
  bool has_next_logprob, has_entropy; /* of a cache: true where every file has it */
} lap_cache_schema;

/* LAP_DATA "PATH: KEY is A, but OTHER_PATH has B" where two schemas differ; has_next_logprob,
 * has_entropy and computed_as may. So may the teacher's name where teacher_sha256 says who it is:
 * `teach` takes the path of --from for it, as it was spelled. */
lap_code lap_cache_schema_equal(const char *path, const lap_cache_schema *a, const char *other_path,
                                const lap_cache_schema *b, lap_status *status);

#endif
