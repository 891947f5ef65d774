/* What the room of statistics makes of numbers on stdin: a JSON object a line in, one out. Asked by
 * test_formulas.py. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/statistics/break_even.h"
#include "trainer/statistics/contrast.h"
#include "trainer/statistics/decide.h"
#include "trainer/statistics/detectable.h"
#include "trainer/statistics/distributions.h"

static double number(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

static double *numbers(const json_t *array, size_t *count) {
  *count = json_array_size(array);
  double *values = lap_allocate((int64_t)*count, sizeof *values);
  for (size_t i = 0; i < *count; ++i) values[i] = json_number_value(json_array_get(array, i));
  return values;
}

static json_t *distribution(const json_t *ask) {
  const double x = number(ask, "x"), df = number(ask, "df"), p = number(ask, "p");
  return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "student_cdf", lap_student_cdf(x, df),
                   "student_two_sided", lap_student_two_sided(x, df), "student_quantile",
                   lap_student_quantile(p, df), "chi_squared_cdf", lap_chi_squared_cdf(x * x, df),
                   "chi_squared_quantile", lap_chi_squared_quantile(p, df), "normal_cdf",
                   lap_normal_cdf(x));
}

static json_t *pair(lap_interval interval) {
  json_t *array = json_array();
  json_array_append_new(array, lap_json_number(interval.low));
  json_array_append_new(array, lap_json_number(interval.high));
  return array;
}

static json_t *contrast(const lap_sums *sums, const double *weights, const json_t *ask) {
  lap_contrast c;
  const double confidence = number(ask, "confidence");
  lap_contrast_make(sums, weights, json_is_true(json_object_get(ask, "pooled")), &c);
  return json_pack("{s:f, s:o, s:f, s:f, s:o, s:o, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "estimate",
                   c.estimate, "seed_variance", lap_json_number(c.seed_variance),
                   "document_variance", c.document_variance, "interaction_variance",
                   c.interaction_variance, "variance", lap_json_number(c.variance), "seed_df",
                   lap_json_number(c.seed_df), "document_df", c.document_df, "df",
                   lap_json_number(c.df), "satterthwaite_df", lap_json_number(c.satterthwaite_df),
                   "interval", pair(lap_contrast_interval(&c, confidence)), "seeds_interval",
                   pair(lap_contrast_seeds_interval(&c, confidence)), "p",
                   lap_json_number(lap_contrast_p(&c, number(ask, "null"))), "equivalence_p",
                   lap_json_number(lap_contrast_equivalence_p(&c, number(ask, "margin"))));
}

static json_t *break_even(const lap_sums *sums, const double *multiples, const json_t *ask) {
  lap_break_even b;
  lap_break_even_make(sums, multiples, json_is_true(json_object_get(ask, "pooled")),
                      number(ask, "confidence"), &b);
  return json_pack("{s:o, s:o, s:o, s:b, s:b, s:f, s:f, s:f}", "multiple",
                   lap_json_number(b.multiple), "low", lap_json_number(b.low), "high",
                   lap_json_number(b.high), "below", b.below, "above", b.above, "slope", b.slope,
                   "intercept", b.intercept, "lack_of_fit", b.lack_of_fit);
}

static json_t *of_sums(const json_t *ask, const char *key,
                       json_t *(*ask_room)(const lap_sums *, const double *, const json_t *)) {
  size_t arms, cells, documents;
  double *vector = numbers(json_object_get(ask, key), &arms);
  double *values = numbers(json_object_get(ask, "sums"), &cells);
  double *counts = numbers(json_object_get(ask, "counts"), &documents);
  const lap_sums sums = {arms, cells / documents / arms, documents, values, counts};
  json_t *answer = ask_room(&sums, vector, ask);
  free(counts);
  free(values);
  free(vector);
  /* cppcheck-suppress returnDanglingLifetime ; it has numbers, not the sums */
  return answer;
}

static json_t *holm(const json_t *ask) {
  size_t count;
  double *p = numbers(json_object_get(ask, "p"), &count);
  double *adjusted = lap_allocate((int64_t)count, sizeof *adjusted);
  lap_holm(p, count, adjusted);
  json_t *array = json_array();
  for (size_t i = 0; i < count; ++i) json_array_append_new(array, json_real(adjusted[i]));
  free(adjusted);
  free(p);
  return json_pack("{s:o}", "adjusted", array);
}

static json_t *detectable(const json_t *ask) {
  const lap_design design = {number(ask, "seed_deviation"), (size_t)number(ask, "seeds"),
                             number(ask, "document_deviation"), number(ask, "document_df"),
                             number(ask, "confidence")};
  const double effect = lap_detectable_effect(&design, number(ask, "power"));
  return json_pack(
      "{s:f, s:f, s:f}", "effect", effect, "power", lap_power(&design, effect), "upper",
      lap_deviation_upper(number(ask, "seed_deviation"), number(ask, "seeds") - 1, 0.8));
}

static json_t *answer_to(const json_t *ask) {
  const char *what = json_string_value(json_object_get(ask, "what"));
  if (strcmp(what, "distribution") == 0) return distribution(ask);
  if (strcmp(what, "contrast") == 0) return of_sums(ask, "weights", contrast);
  if (strcmp(what, "break_even") == 0) return of_sums(ask, "multiples", break_even);
  if (strcmp(what, "holm") == 0) return holm(ask);
  return detectable(ask);
}

int main(void) {
  json_t *ask;
  while ((ask = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, NULL))) {
    json_t *answer = answer_to(ask);
    json_dumpf(answer, stdout, JSON_COMPACT);
    puts("");
    json_decref(answer);
    json_decref(ask);
  }
  return 0;
}
