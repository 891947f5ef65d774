/* Configs: YAML, and behind the first NUL byte one override a line. */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "fuzz.h"
#include "trainer/config/config.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"

enum { MOST_OVERRIDES = 8 };

/* What is printed must load again and print the same. */
static void check_printed(const lap_config *config) {
  char *printed = lap_config_print(config);
  lap_config *again;
  lap_status status;
  FUZZ_REQUIRE(lap_config_parse("printed", printed, strlen(printed), NULL, 0, &again, &status) ==
               LAP_OK);
  char *printed_again = lap_config_print(again);
  FUZZ_REQUIRE(strcmp(printed, printed_again) == 0);
  free(printed_again);
  free(printed);
  lap_config_destroy(again);
}

/* As a command would go on. */
static void use(lap_config *config) {
  lap_status status;
  check_printed(config);
  lap_config_require(config, LAP_NEEDS_ALL, &status);
  if (lap_config_require(config, LAP_NEEDS_MODEL, &status) == LAP_OK)
    FUZZ_REQUIRE(lap_gemma2_embedding_parameters(&config->model) > 0 &&
                 lap_gemma2_non_embedding_parameters(&config->model) > 0);
  const lap_config_teacher teacher = {.name = "cache", .codec = "topk", .dense = true};
  lap_config_resolve_tail(config, &teacher, &status);
  lap_config_resolve_warmup(config, 1000, &status);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  const uint8_t *end = memchr(bytes, 0, count);
  const size_t text = end ? (size_t)(end - bytes) : count;
  const size_t rest = end ? count - text - 1 : 0;
  char *lines = lap_allocate(rest + 1, 1), *place = NULL;
  const char *overrides[MOST_OVERRIDES];
  size_t override_count = 0;
  if (rest) memcpy(lines, end + 1, rest);
  for (char *line = strtok_r(lines, "\n", &place); line && override_count < MOST_OVERRIDES;
       line = strtok_r(NULL, "\n", &place))
    if (strchr(line, '=')) overrides[override_count++] = line;
  lap_config *config;
  lap_status status;
  if (lap_config_parse("fuzz.yaml", (const char *)bytes, text, overrides, override_count, &config,
                       &status) == LAP_OK) {
    use(config);
    lap_config_destroy(config);
  }
  free(lines);
}
