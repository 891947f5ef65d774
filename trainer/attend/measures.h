/* measures: what one head of a model looks at, in numbers. All are means over the queries of the
 * text but the first, which sees itself alone.
 */
#ifndef LAP_TRAINER_ATTEND_MEASURES_H
#define LAP_TRAINER_ATTEND_MEASURES_H

#include <jansson.h>

#include "trainer/attend/maps.h"
#include "trainer/attend/names.h"

/* How many other queries are looked at for each pair of names. */
enum { LAP_NAME_CONTROLS = 32 };

typedef struct {
  double entropy;  /* -sum p ln p, nats */
  double distance; /* sum p (query - key), tokens */
  double bos;      /* p of BOS */
  /* p of keys that a local layer sees, less than sliding_window tokens back, and of the others */
  double in_window, beyond_window;
  /* From a repeated name to its antecedent: the sum of p over the antecedent's tokens, mean over
   * the pairs in sight; and the same at as many tokens and the same distance from the nearest
   * LAP_NAME_CONTROLS other queries, of which no pair begins: what position alone explains. NaN
   * where no pair is in sight. */
  double name, control;
  int64_t pairs; /* in sight of the head, with a control */
} lap_head_measures;

lap_head_measures lap_head_measure(const lap_attention_maps *maps, int64_t layer, int64_t head,
                                   const lap_name_pairs *pairs);

/* {"entropy": ..., "in_window", "beyond_window", "name", "control", "pairs"}: a new reference. */
json_t *lap_head_measures_to_json(const lap_head_measures *measures);

#endif
