#include "trainer/measure/breakdown.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/cli/table.h"

/* --- by document --- */

typedef struct {
  uint64_t document;
  double loss;
} document_loss;

/* The largest loss first; of equal ones the earlier document. */
static int worse_first(const void *a, const void *b) {
  const document_loss *x = a, *y = b;
  if (x->loss != y->loss) return x->loss > y->loss ? -1 : 1;
  return (x->document > y->document) - (x->document < y->document);
}

static json_t *worst_of(const lap_evaluation_detail *detail, const document_loss *losses,
                        uint64_t count) {
  json_t *worst = json_array();
  for (uint64_t i = 0; i < count && i < LAP_WORST_DOCUMENTS; ++i) {
    const uint64_t d = losses[i].document;
    const lap_document_place *place = &detail->documents.place[d];
    json_array_append_new(
        worst, json_pack("{s:I, s:I, s:I, s:I, s:o}", "document", (json_int_t)d, "shard",
                         (json_int_t)place->shard, "first_row", (json_int_t)place->first_row,
                         "tokens", (json_int_t)detail->document[d].counted, "loss",
                         lap_json_number(losses[i].loss)));
  }
  return worst;
}

json_t *lap_breakdown_by_document(const lap_evaluation_detail *detail) {
  const uint64_t documents = detail->documents.count;
  document_loss *losses = lap_allocate((int64_t)documents, sizeof *losses);
  uint64_t count = 0;
  double sum = 0, squares = 0;
  for (uint64_t d = 0; d < documents; ++d)
    if (detail->document[d].counted > 0) {
      losses[count] = (document_loss){d, detail->document[d].nats / detail->document[d].counted};
      sum += losses[count++].loss;
    }
  const double mean = sum / (double)count;
  for (uint64_t i = 0; i < count; ++i) squares += (losses[i].loss - mean) * (losses[i].loss - mean);
  qsort(losses, count, sizeof *losses, worse_first);
  json_t *object =
      json_pack("{s:I, s:I, s:o, s:o, s:o}", "documents", (json_int_t)documents,
                "counted_documents", (json_int_t)count, "mean_loss", lap_json_number(mean),
                "standard_deviation", lap_json_number(sqrt(squares / (double)(count - 1))), "worst",
                worst_of(detail, losses, count));
  free(losses);
  return object;
}

/* --- by position --- */

json_t *lap_breakdown_by_position(const lap_evaluation_detail *detail, bool taught) {
  json_t *list = json_array();
  for (int b = 0; b < detail->buckets; ++b) {
    const lap_position_sums *sums = &detail->bucket[b];
    if (sums->counted == 0) continue;
    const json_int_t from = (json_int_t)1 << b;
    json_t *object = json_pack("{s:I, s:I, s:I, s:o, s:o}", "context_from", from, "context_to",
                               2 * from - 1, "counted", (json_int_t)sums->counted, "loss",
                               lap_json_number(sums->nats / sums->counted), "accuracy",
                               lap_json_number(sums->correct / sums->counted));
    if (taught) {
      json_object_set_new(object, "kl", lap_json_number(sums->kl / sums->counted));
      json_object_set_new(object, "agreement", lap_json_number(sums->agreed / sums->counted));
    }
    json_array_append_new(list, object);
  }
  return list;
}

/* --- tables --- */

enum { CELL = 32 };

static json_int_t integer(const json_t *object, const char *key) {
  return json_integer_value(json_object_get(object, key));
}

static const char *count_cell(const json_t *row, const char *key, char cell[CELL]) {
  snprintf(cell, CELL, "%" JSON_INTEGER_FORMAT, integer(row, key));
  return cell;
}

static const char *real_cell(const json_t *row, const char *key, double factor, int decimals,
                             char cell[CELL]) {
  const json_t *value = json_object_get(row, key);
  if (json_is_number(value))
    snprintf(cell, CELL, "%.*f", decimals, factor * json_number_value(value));
  else
    snprintf(cell, CELL, "-");
  return cell;
}

void lap_breakdown_print_documents(const json_t *breakdown, const lap_token_set *tokens,
                                   FILE *out) {
  char mean[CELL], deviation[CELL];
  fprintf(out,
          "documents      %" JSON_INTEGER_FORMAT ", of which %" JSON_INTEGER_FORMAT
          " have positions to predict; mean of their losses %s, standard deviation %s\n",
          integer(breakdown, "documents"), integer(breakdown, "counted_documents"),
          real_cell(breakdown, "mean_loss", 1, 6, mean),
          real_cell(breakdown, "standard_deviation", 1, 6, deviation));
  fprintf(out, "\nThe documents of the largest loss:\n");
  lap_table *table =
      lap_table_create(5, (const char *[]){"document", "first row", "tokens", "loss", "shard"});
  size_t i;
  const json_t *row;
  json_array_foreach(json_object_get(breakdown, "worst"), i, row) {
    char cell[4][CELL];
    lap_table_add(table, (const char *[]){count_cell(row, "document", cell[0]),
                                          count_cell(row, "first_row", cell[1]),
                                          count_cell(row, "tokens", cell[2]),
                                          real_cell(row, "loss", 1, 6, cell[3]),
                                          tokens->shard[integer(row, "shard")]->path});
  }
  lap_table_print(table, out);
  lap_table_destroy(table);
}

void lap_breakdown_print_positions(const json_t *breakdown, FILE *out) {
  const bool taught = json_object_get(json_array_get(breakdown, 0), "kl") != NULL;
  fprintf(out, "\nBy the tokens that the model sees of the document, the last one included:\n");
  lap_table *table = lap_table_create(
      taught ? 6 : 4,
      (const char *[]){"context", "positions", "loss", "accuracy, %", "kl", "agreement, %"});
  size_t i;
  const json_t *row;
  json_array_foreach(breakdown, i, row) {
    char context[2 * CELL], cell[5][CELL];
    snprintf(context, sizeof context, "%" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT,
             integer(row, "context_from"), integer(row, "context_to"));
    lap_table_add(table, (const char *[]){context, count_cell(row, "counted", cell[0]),
                                          real_cell(row, "loss", 1, 6, cell[1]),
                                          real_cell(row, "accuracy", 100, 2, cell[2]),
                                          real_cell(row, "kl", 1, 6, cell[3]),
                                          real_cell(row, "agreement", 100, 2, cell[4])});
  }
  lap_table_print(table, out);
  lap_table_destroy(table);
}
