/* judge: what another model thinks of what a model says.
 *
 * The model goes on from prompts of held-out text (trainer/measure/prompts.h): after BOS and 50
 * tokens it draws at most 50 more, at temperature 1, or ends with EOS. The judge, a model of the
 * same tokenizer, reads prompt and continuation: its loss is -log p of the tokens that were drawn,
 * EOS too, the mean over them. Draws are the same for every model, so models are compared prompt by
 * prompt. Each of the two computes with products of its own kind, so that one judge judges all
 * alike: lap_judge_draw and lap_judge_score come one behind the other, and what computes products
 * (autograd/kernel/gemm_backend.h) is opened before each. A judge that was trained on the same
 * text, by the same teacher or from the same seed as the model would prefer its own kind.
 */
#ifndef LAP_TRAINER_MEASURE_JUDGE_H
#define LAP_TRAINER_MEASURE_JUDGE_H

#include "autograd/gemma2/config.h"
#include "dataset/token_shard.h"
#include "trainer/model/source.h"

enum { LAP_JUDGE_PROMPT = 50, LAP_JUDGE_CONTINUATION = 50 };

typedef struct {
  size_t shard;                             /* of the set */
  uint64_t row;                             /* of the stream, where the prompt begins */
  int32_t said[LAP_JUDGE_CONTINUATION + 1]; /* [said_count] what the model says, EOS too */
  int64_t said_count;
  double nats;      /* the judge's loss of that, nats per token */
  double text_nats; /* of what the text itself says there */
} lap_judged_item;

typedef struct {
  lap_judged_item *item; /* [count], the caller's to free */
  uint64_t count;
} lap_judged;

/* A trained model: its shape, and the canonical vector of gemma2/parameters.h. */
typedef struct {
  const lap_gemma2_config *config;
  const float *weights;
} lap_judge_model;

/* The model says something behind at most `prompts` prompts: items without losses. It draws none of
 * the ids from `judge_vocab` on, which the judge does not have. Not collective. LAP_DATA where the
 * shards have no document of 100 tokens, LAP_NONFINITE where a logit is, LAP_STOPPED by
 * core/stop.h. */
lap_code lap_judge_draw(const lap_judge_model *model, int64_t judge_vocab, const lap_token_set *set,
                        uint64_t prompts, int64_t threads, lap_judged *judged, lap_status *status);

/* The judge's losses of all items, which are of this set. Not collective. LAP_NONFINITE where a
 * logit is, LAP_STOPPED by core/stop.h. */
lap_code lap_judge_score(const lap_judge_model *judge, const lap_token_set *set, int64_t threads,
                         lap_judged *judged, lap_status *status);

/* Means over items: of nats, of text_nats, and how many of the model's continuations have the lower
 * loss of the two. */
typedef struct {
  double nats, text_nats;
  uint64_t preferred;
} lap_judged_means;
lap_judged_means lap_judged_mean(const lap_judged *judged);

/* What was found, item by item, as a file of losses by document (docs/formats.md): an item is a
 * document of one token, `correct` where it was preferred to the text. Appears whole or not at
 * all. */
lap_code lap_judged_write(const char *path, const lap_model_source *source,
                          const lap_token_set *set, const lap_judged *judged, lap_status *status);

#endif
