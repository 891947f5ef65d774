/* choices: which of several continuations a model finds likeliest.
 *
 * Context and choice are tokenized together, as they would stand in a text, so that no token ends
 * where the context does unless it would in a text. A choice is scored by the tokens behind those
 * that all choices of the item, and the context alone, have in common at the beginning; these weigh
 * for all choices alike. Chosen is the largest log-likelihood, and, as a second figure, the largest
 * log-likelihood per byte of the choice, which does not prefer short ones; of equal ones the first.
 *
 * The rank of an answer is one more than the choices that the model finds likelier. Of a canary,
 * whose choices are as likely before training, exposure = log2(choices) - log2(rank) bits says how
 * much of it was memorised: 1.44 on average where nothing was (arXiv 1802.08232).
 */
#ifndef LAP_TRAINER_MEASURE_CHOICES_H
#define LAP_TRAINER_MEASURE_CHOICES_H

#include <jansson.h>

#include "core/progress.h"
#include "dataset/tokenizer.h"
#include "trainer/measure/choices_file.h"
#include "trainer/model/sharded.h"

/* Items whose answer was chosen: by likelihood, and by likelihood per byte. */
typedef struct {
  uint64_t correct, correct_per_byte;
} lap_choices_score;

typedef struct {
  uint64_t items;
  double chance; /* the expected share of a blind guess */
  lap_choices_score model, unigram;
  bool has_unigram;
  uint32_t *rank;          /* [items], of the answer, from 1 */
  double *nats;            /* [items], -log p of the answer */
  lap_choices_score *item; /* [items], of the model: 0 or 1 */
} lap_choices_result;

void lap_choices_result_release(lap_choices_result *result);

typedef struct {
  const lap_sharded_model *model;
  const lap_choices *choices;
  lap_tokenizer *tokenizer;
  const lap_token_set *unigram; /* whose frequencies are the baseline; NULL: none */
  int threads;
  const lap_progress_hook *hook; /* told of each window of this replica; NULL: nobody */
} lap_choices_request;

/* Collective; the outcome is agreed; on failure there is nothing to release. The same figures at
 * any number of ranks and threads. LAP_DATA naming file and line where context and choice have more
 * tokens than the model has positions, LAP_NONFINITE where the loss of a choice is not finite. */
lap_code lap_choices_score_all(const lap_choices_request *request, lap_choices_result *result,
                               lap_status *status);

/* Of item i, in bits. */
double lap_choices_exposure(const lap_choices *choices, const lap_choices_result *r, size_t i);

/* {"items", "chance", "accuracy", "accuracy_low", "accuracy_high", the same with _per_byte, and
 * unigram_..., null without one; "exposure", the mean; "by_seen", a list of "seen", "items",
 * "exposure", "least_exposure", "most_exposure", null where no item says how often it was seen}: a
 * new reference. */
json_t *lap_choices_to_json(const lap_choices *choices, const lap_choices_result *result);

#endif
