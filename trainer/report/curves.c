#include <inttypes.h>

#include "core/parse_number.h"
#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/tables.h"

static void number(FILE *out, const json_t *value) {
  char text[LAP_NUMBER_TEXT];
  fprintf(out, ",%s",
          json_is_number(value) ? lap_number_print_real(json_number_value(value), text) : "");
}

static void rows(const char *arm, const json_t *run, const char *kind, const json_t *curve,
                 FILE *out) {
  const json_t *flops = json_object_get(run, "flops_per_token");
  for (size_t i = 0; i < json_array_size(curve); ++i) {
    const json_t *row = json_array_get(curve, i), *tokens = json_array_get(row, 0);
    lap_csv_name(out, arm);
    fprintf(out, ",%" PRId64 ",%s", lap_json_integer(run, "seed"), kind);
    number(out, tokens);
    json_t *spent = json_is_number(flops)
                        ? json_real(json_number_value(flops) * json_number_value(tokens))
                        : json_null();
    number(out, spent);
    json_decref(spent);
    number(out, json_array_get(row, 1));
    number(out, json_array_get(row, 2));
    fprintf(out, "\n");
  }
}

void lap_report_write_curves(const json_t *report, FILE *out) {
  const json_t *arms = json_object_get(report, "arms");
  fprintf(out, "arm,seed,kind,tokens,flops,loss,kl\n");
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i), *runs = json_object_get(arm, "runs");
    for (size_t r = 0; r < json_array_size(runs); ++r) {
      const json_t *run = json_array_get(runs, r);
      rows(lap_json_text(arm, "name"), run, "train", json_object_get(run, "curve"), out);
      rows(lap_json_text(arm, "name"), run, "eval", json_object_get(run, "evals"), out);
    }
  }
}
