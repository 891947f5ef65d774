/* draw: the codecs that keep a drawn part of a distribution, as pure functions of one row.
 *
 *   sampled      N draws with replacement, repeats merged: weight count / N (arXiv 2503.16870)
 *   stratified   the k most probable ids as they are, m draws from the rest: weight r count / m,
 *                with r the mass of the rest
 *   varopt       N slots: id i is kept with probability min(1, p_i / t), where these sum to N; ids
 *                with p > t keep p, the others weigh t. Systematic in id order by one uniform:
 *                always exactly N slots. Of all unbiased targets of N slots, the one with the least
 *                summed variance of the weights
 *   gemma3       N draws with replacement, each id that came once, with the teacher's probability
 *                scaled to sum to 1 (arXiv 2503.19786). Biased: here to be compared with
 *
 * Weights of the first three are unbiased over draw seeds: their mean is the distribution. They are
 * not unbiased over epochs of one cache, whose draw is made once.
 *
 * Draws are Philox numbers of (draw seed, tokens_sha256, row), compared with probabilities in fixed
 * point: sums of integers, which have no order. A row has the same bits on every machine, at any
 * rank and thread. A probability below 2^-44 of the largest one drawn from (vocabulary 2^18) counts
 * as 0.
 */
#ifndef LAP_TEACHER_DRAW_H
#define LAP_TEACHER_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#include "teacher/schema.h"
#include "teacher/select.h"

/* What is kept of a row. */
typedef struct {
  lap_codec codec; /* not topk */
  uint32_t vocab;
  uint32_t exact; /* stratified: k; 0 for the others */
  uint32_t draws; /* sampled, gemma3, varopt: N; stratified: m */
} lap_draw_plan;

/* Which numbers a row is drawn with. */
typedef struct {
  uint64_t seed, stream, row; /* lap_draw_stream; row of the shard, below 2^32 */
} lap_draw_key;

uint64_t lap_draw_stream(const char *tokens_sha256);

/* Slots of a row: min(N, V), for stratified min(k + m, V). */
uint32_t lap_draw_slots(const lap_draw_plan *plan);

/* Room to work in, for one thread. */
typedef struct lap_draw_row lap_draw_row;
lap_draw_row *lap_draw_row_create(const lap_draw_plan *plan);
void lap_draw_row_destroy(lap_draw_row *row);

/* A drawn row, in memory of the caller but for the threshold. */
typedef struct {
  uint32_t *ids;   /* [slots]: exact ones first, most probable first; then drawn ones by id */
  float *logprob;  /* [slots]: log of the weight; -INFINITY: unused, id 0 */
  float threshold; /* weight of one draw: t, r/m, 1/N; 0 where nothing is drawn, and for gemma3 */
} lap_drawn;

/* Takes a row in: logits [V] after the soft-cap, and the id whose log-probability is wanted, or -1.
 * False where a logit is NaN or +inf; then nothing is to be drawn. */
bool lap_draw_prepare(lap_draw_row *row, const float *logits, int32_t next);
/* Draws from the row that was taken in last; as often as there are draw seeds. The logits must
 * still be there. */
void lap_draw(lap_draw_row *row, lap_draw_key key, lap_drawn *drawn);

/* The same by other numbers: 64 random bits for each draw (varopt: for draw 0 alone). */
typedef uint64_t (*lap_draw_source)(const void *context, uint32_t draw);
void lap_draw_from(lap_draw_row *row, lap_draw_source source, const void *context,
                   lap_drawn *drawn);

/* Of the row that was taken in last, of the whole distribution: what no draw changes. */
uint32_t lap_draw_top_id(const lap_draw_row *row); /* ties to the lower id */
float lap_draw_next_logprob(const lap_draw_row *row);
float lap_draw_entropy(const lap_draw_row *row);

#endif
