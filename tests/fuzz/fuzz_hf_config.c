/* config.json of Hugging Face; what is accepted is written, read again and must be the same. So it
 * is with the ids that end a text, which generation_config.json has likewise. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "trainer/hf/config.h"
#include "trainer/hf/end_ids.h"

static void read_end_ids(const char *path) {
  enum { VOCABULARY = 300 };
  lap_end_ids ends = {0}, again = {0};
  lap_status status;
  bool said;
  if (lap_hf_end_ids_add(path, VOCABULARY, &ends, &said, &status) != LAP_OK) return;
  json_t *object = lap_hf_generation_config(&ends);
  char *text = lap_hf_print_json(object);
  FUZZ_REQUIRE(lap_hf_end_ids_add(fuzz_file((const uint8_t *)text, strlen(text)), VOCABULARY,
                                  &again, &said, &status) == LAP_OK);
  FUZZ_REQUIRE(said && memcmp(&ends, &again, sizeof ends) == 0);
  free(text);
  json_decref(object);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  lap_gemma2_config model, again;
  lap_status status;
  json_t *object;
  read_end_ids(fuzz_file(bytes, count));
  if (lap_hf_config_read(fuzz_file(bytes, count), &model, &status) != LAP_OK) return;
  FUZZ_REQUIRE(lap_gemma2_config_check(&model, &status) == LAP_OK);
  if (lap_hf_config_make(&model, &object, &status) != LAP_OK) return;
  char *text = lap_hf_print_json(object);
  FUZZ_REQUIRE(lap_hf_config_read(fuzz_file((const uint8_t *)text, strlen(text)), &again,
                                  &status) == LAP_OK);
  FUZZ_REQUIRE(model.hidden_size == again.hidden_size && model.rope_theta == again.rope_theta &&
               model.attn_logit_softcapping == again.attn_logit_softcapping &&
               model.rms_norm_eps == again.rms_norm_eps &&
               memcmp(model.sliding, again.sliding, (size_t)model.num_hidden_layers) == 0);
  free(text);
  json_decref(object);
}
