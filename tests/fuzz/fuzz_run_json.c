/* run.json, as inspect reads it, and the text that it makes of it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "trainer/inspect/run.h"

void fuzz_one(const uint8_t *bytes, size_t count) {
  const char *path = fuzz_file(bytes, count);
  lap_status status;
  lap_report *report = lap_report_create(path);
  if (lap_inspect_run_json(NULL, path, report, &status) == LAP_OK) {
    char *text = NULL;
    size_t text_bytes;
    FILE *out = open_memstream(&text, &text_bytes);
    lap_report_print(report, out);
    fclose(out);
    free(text);
    char *json = json_dumps(lap_report_json(report), 0);
    FUZZ_REQUIRE(json != NULL);
    free(json);
  }
  lap_report_destroy(report);
}
