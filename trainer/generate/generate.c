#include "trainer/generate/generate.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "autograd/kernel/vector.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/philox.h"
#include "dataset/special_ids.h"

/* --- choosing a token --- */

/* `ids` [vocab] is a heap of the ids not yet ranked, the likeliest at 0; behind it lie the ranked
 * ones, the likeliest last. */
struct lap_sampler {
  lap_sampling sampling;
  int64_t vocab;
  float *weight; /* [vocab] exp((logit - largest) / temperature) */
  int32_t *ids;
  int64_t ranked;
  const float *logits;
};

lap_sampler *lap_sampler_create(const lap_sampling *sampling, int64_t vocab) {
  assert(sampling->temperature >= 0 && sampling->top_k >= 0);
  assert(sampling->top_p > 0 && sampling->top_p <= 1 && vocab > 0);
  lap_sampler *sampler = lap_allocate(1, sizeof *sampler);
  sampler->sampling = *sampling;
  sampler->vocab = vocab;
  sampler->weight = lap_allocate_aligned(vocab, sizeof *sampler->weight);
  sampler->ids = lap_allocate(vocab, sizeof *sampler->ids);
  return sampler;
}

void lap_sampler_destroy(lap_sampler *sampler) {
  if (!sampler) return;
  lap_release_aligned(sampler->weight);
  free(sampler->ids);
  free(sampler);
}

static bool likelier(const float *logits, int32_t a, int32_t b) {
  return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static void sift_down(lap_sampler *s, int64_t at, int64_t count) {
  const int32_t id = s->ids[at];
  for (int64_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && likelier(s->logits, s->ids[child + 1], s->ids[child])) ++child;
    if (!likelier(s->logits, s->ids[child], id)) break;
    s->ids[at] = s->ids[child];
  }
  s->ids[at] = id;
}

static void begin_ranking(lap_sampler *s) {
  for (int64_t i = 0; i < s->vocab; ++i) s->ids[i] = (int32_t)i;
  for (int64_t at = s->vocab / 2 - 1; at >= 0; --at) sift_down(s, at, s->vocab);
  s->ranked = 0;
}

/* The id of a rank, 0 for the likeliest. Only as much is sorted as is asked for. */
static int32_t id_of_rank(lap_sampler *s, int64_t rank) {
  while (s->ranked <= rank) {
    const int64_t last = s->vocab - ++s->ranked;
    const int32_t id = s->ids[0];
    s->ids[0] = s->ids[last];
    s->ids[last] = id;
    if (last > 1) sift_down(s, 0, last);
  }
  return s->ids[s->vocab - 1 - rank];
}

/* How many of the likeliest top_k and top_p leave. */
static int64_t count_candidates(lap_sampler *s) {
  const int64_t top_k = s->sampling.top_k;
  const int64_t most = top_k > 0 && top_k < s->vocab ? top_k : s->vocab;
  if (s->sampling.top_p >= 1) return most;
  double total = 0;
  for (int64_t i = 0; i < most; ++i)
    total += (double)s->weight[most < s->vocab ? id_of_rank(s, i) : i];
  int64_t count = 0;
  for (double share = 0; count < most && share < s->sampling.top_p * total; ++count)
    share += (double)s->weight[id_of_rank(s, count)];
  return count;
}

/* Inverts the cumulative distribution of the candidates at `uniform`, in order of rank, or of id
 * where all are candidates. */
static int32_t draw(lap_sampler *s, double uniform) {
  const bool all = s->sampling.top_k == 0 && s->sampling.top_p >= 1;
  if (!all) begin_ranking(s);
  const int64_t count = all ? s->vocab : count_candidates(s);
  double total = 0, sum = 0;
  for (int64_t i = 0; i < count; ++i) total += (double)s->weight[all ? i : id_of_rank(s, i)];
  const double target = uniform * total;
  int32_t last_possible = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t id = all ? (int32_t)i : id_of_rank(s, i);
    sum += (double)s->weight[id];
    if (target < sum) return id;
    if (s->weight[id] > 0) last_possible = id;
  }
  return last_possible; /* the product above was rounded up to the total */
}

lap_code lap_sampler_choose(lap_sampler *s, const float *logits, uint64_t sample, uint64_t position,
                            int32_t *token, lap_status *status) {
  int32_t best = 0;
  for (int64_t i = 0; i < s->vocab; ++i) {
    if (!isfinite(logits[i]))
      return lap_fail(status, LAP_NONFINITE,
                      "the logit of token %" PRId64 " at position %" PRIu64
                      " is %g; the model's weights are not usable: take an earlier checkpoint",
                      i, position, (double)logits[i]);
    if (logits[i] > logits[best]) best = (int32_t)i;
  }
  *token = best;
  if (s->sampling.temperature == 0) return LAP_OK;
  s->logits = logits;
  for (int64_t i = 0; i < s->vocab; ++i) {
    const double exponent = ((double)logits[i] - (double)logits[best]) / s->sampling.temperature;
    s->weight[i] = exponent < -1000 ? -1000 : (float)exponent; /* exp gives 0 for either */
  }
  lap_vector_exp(s->weight, s->vocab, 0);
  *token =
      draw(s, lap_uniform(lap_philox(s->sampling.seed, LAP_PURPOSE_GENERATE, sample, position)));
  return LAP_OK;
}

/* --- generating --- */

const char *lap_finish_name(lap_finish finish) {
  static const char *const names[] = {"eos", "max_tokens", "max_position_embeddings"};
  return names[finish];
}

static bool is_end(const lap_generate_request *request, int32_t token) {
  bool end = token == LAP_EOS;
  for (int64_t i = 0; i < request->end_count; ++i) end = end || token == request->ends[i];
  return end;
}

/* From the logits after the prompt to the end of the text. */
static lap_code continue_text(lap_decoder *decoder, lap_sampler *sampler, const float *logits,
                              const lap_generate_request *request, lap_generation *generation,
                              lap_status *status) {
  while (generation->count < request->max_tokens) {
    int32_t token;
    LAP_TRY(lap_sampler_choose(sampler, logits, request->sample,
                               (uint64_t)lap_decoder_position(decoder), &token, status));
    if (is_end(request, token)) {
      generation->finish = LAP_FINISH_EOS;
      return LAP_OK;
    }
    generation->tokens[generation->count++] = token;
    if (request->callback) LAP_TRY(request->callback(request->context, token, status));
    if (generation->count == request->max_tokens) break;
    if (lap_decoder_position(decoder) == lap_decoder_max_positions(decoder)) {
      generation->finish = LAP_FINISH_MAX_POSITIONS;
      return LAP_OK;
    }
    logits = lap_decoder_step(decoder, token);
    ++generation->decode_steps;
  }
  generation->finish = LAP_FINISH_MAX_TOKENS;
  return LAP_OK;
}

lap_code lap_generate(lap_decoder *decoder, lap_sampler *sampler,
                      const lap_generate_request *request, lap_generation *generation,
                      lap_status *status) {
  const int64_t most = request->max_tokens;
  assert(most >= 0 && request->prompt_count <= lap_decoder_max_positions(decoder));
  const int64_t room = lap_decoder_max_positions(decoder) - request->prompt_count + 1;
  *generation = (lap_generation){0};
  generation->tokens = lap_allocate(most < room ? most : room, sizeof *generation->tokens);
  const double start = lap_clock_seconds();
  lap_decoder_reset(decoder);
  const float *logits = lap_decoder_prefill(decoder, request->prompt, request->prompt_count);
  const double prompt_read = lap_clock_seconds();
  const lap_code code = continue_text(decoder, sampler, logits, request, generation, status);
  generation->prefill_seconds = prompt_read - start;
  generation->decode_seconds = lap_clock_seconds() - prompt_read;
  return code;
}
