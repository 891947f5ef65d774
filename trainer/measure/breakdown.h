/* breakdown: an evaluation by document or by the length of the context, for people and as JSON.
 */
#ifndef LAP_TRAINER_MEASURE_BREAKDOWN_H
#define LAP_TRAINER_MEASURE_BREAKDOWN_H

#include <jansson.h>
#include <stdio.h>

#include "trainer/model/evaluation_detail.h"

enum { LAP_WORST_DOCUMENTS = 10 };

/* New references. `taught`: the sums to a teacher are there.
 *
 * By document: documents, counted_documents (those with a position to predict), mean_loss and
 * standard_deviation of their losses (each document counts alike), and `worst`, at most
 * LAP_WORST_DOCUMENTS of the largest loss: document, shard, first_row, tokens, loss.
 *
 * By position: a list of context_from, context_to, counted, loss, accuracy and, taught, kl and
 * agreement. */
json_t *lap_breakdown_by_document(const lap_evaluation_detail *detail);
json_t *lap_breakdown_by_position(const lap_evaluation_detail *detail, bool taught);

/* The same objects as tables; `tokens` names the shards. */
void lap_breakdown_print_documents(const json_t *breakdown, const lap_token_set *tokens, FILE *out);
void lap_breakdown_print_positions(const json_t *breakdown, FILE *out);

#endif
