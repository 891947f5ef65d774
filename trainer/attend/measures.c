#include "trainer/attend/measures.h"

#include <math.h>

#include "core/json.h"

static void measure_query(const float *p, int64_t query, int64_t window, lap_head_measures *m) {
  m->bos += (double)p[0];
  for (int64_t key = 0; key <= query; ++key) {
    const double share = (double)p[key];
    if (share > 0) m->entropy -= share * log(share);
    m->distance += share * (double)(query - key);
    *(query - key < window ? &m->in_window : &m->beyond_window) += share;
  }
}

static double sum(const float *p, int64_t first, int64_t count) {
  double total = 0;
  for (int64_t i = first; i < first + count; ++i) total += (double)p[i];
  return total;
}

static bool begins_pair(const lap_name_pairs *pairs, int64_t query) {
  for (int64_t i = 0; i < pairs->count; ++i)
    if (pairs->pair[i].query == query) return true;
  return false;
}

/* The mean over the nearest other queries of what they give to as many keys at the same distance.
 * NaN where there is no such query. BOS is no key of theirs. */
static double control_of(const float *map, int64_t length, const lap_name_pairs *pairs,
                         const lap_name_pair *pair) {
  const int64_t distance = pair->query - pair->first;
  double total = 0;
  int64_t count = 0;
  for (int64_t step = 1; step < length && count < LAP_NAME_CONTROLS; ++step)
    for (int sign = -1; sign <= 1 && count < LAP_NAME_CONTROLS; sign += 2) {
      const int64_t query = pair->query + sign * step;
      if (query <= distance || query >= length || begins_pair(pairs, query)) continue;
      total += sum(map + query * length, query - distance, pair->count);
      ++count;
    }
  return count ? total / (double)count : NAN;
}

static void measure_names(const float *map, int64_t length, int64_t sight,
                          const lap_name_pairs *pairs, lap_head_measures *m) {
  for (int64_t i = 0; i < pairs->count; ++i) {
    const lap_name_pair *pair = &pairs->pair[i];
    const int64_t nearest = pair->query - (pair->first + pair->count - 1);
    const double control = control_of(map, length, pairs, pair);
    if (nearest >= sight || isnan(control)) continue;
    m->name += sum(map + pair->query * length, pair->first, pair->count);
    m->control += control;
    ++m->pairs;
  }
  m->name = m->pairs ? m->name / (double)m->pairs : NAN;
  m->control = m->pairs ? m->control / (double)m->pairs : NAN;
}

lap_head_measures lap_head_measure(const lap_attention_maps *maps, int64_t layer, int64_t head,
                                   const lap_name_pairs *pairs) {
  const int64_t length = maps->length;
  const float *map = lap_attention_map(maps, layer, head);
  lap_head_measures m = {0};
  for (int64_t query = 1; query < length; ++query)
    measure_query(map + query * length, query, maps->window, &m);
  const double queries = (double)(length - 1);
  m.entropy /= queries;
  m.distance /= queries;
  m.bos /= queries;
  m.in_window /= queries;
  m.beyond_window /= queries;
  measure_names(map, length, maps->local[layer] ? maps->window : length, pairs, &m);
  return m;
}

json_t *lap_head_measures_to_json(const lap_head_measures *m) {
  return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "entropy",
                   lap_json_number(m->entropy), "distance", lap_json_number(m->distance), "bos",
                   lap_json_number(m->bos), "in_window", lap_json_number(m->in_window),
                   "beyond_window", lap_json_number(m->beyond_window), "name",
                   lap_json_number(m->name), "control", lap_json_number(m->control), "pairs",
                   (json_int_t)m->pairs);
}
