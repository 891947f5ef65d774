#include "trainer/hf/end_ids.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "dataset/special_ids.h"

enum { LARGEST_FILE = 1 << 20 };

static bool is_known(const lap_end_ids *ends, json_int_t id) {
  bool known = id == LAP_EOS;
  for (int64_t i = 0; i < ends->count; ++i) known = known || ends->id[i] == id;
  return known;
}

static lap_code add(const char *path, const json_t *value, int64_t vocab_size, lap_end_ids *ends,
                    lap_status *status) {
  const json_int_t id = json_integer_value(value);
  if (!json_is_integer(value) || id < 0)
    return lap_fail(status, LAP_DATA,
                    "%s: eos_token_id: expected the id of a token, or a list of them", path);
  if (id >= vocab_size || is_known(ends, id)) return LAP_OK;
  if (ends->count == LAP_MOST_END_IDS)
    return lap_fail(status, LAP_DATA, "%s: eos_token_id: expected at most %d ids beside EOS, %d",
                    path, LAP_MOST_END_IDS, LAP_EOS);
  ends->id[ends->count++] = (int32_t)id;
  return LAP_OK;
}

lap_code lap_hf_end_ids_add(const char *path, int64_t vocab_size, lap_end_ids *ends, bool *said,
                            lap_status *status) {
  json_t *object;
  *said = false;
  if (!lap_file_exists(path)) return LAP_OK;
  LAP_TRY(lap_json_read_file(path, LARGEST_FILE, &object, status));
  const json_t *value = json_object_get(object, "eos_token_id");
  lap_code code = LAP_OK;
  *said = value && !json_is_null(value);
  if (*said && !json_is_array(value)) code = add(path, value, vocab_size, ends, status);
  for (size_t i = 0; i < json_array_size(value) && code == LAP_OK; ++i)
    code = add(path, json_array_get(value, i), vocab_size, ends, status);
  json_decref(object);
  return code;
}

lap_code lap_hf_end_ids_read(const char *directory, int64_t vocab_size, lap_end_ids *ends,
                             lap_status *status) {
  static const char *const names[] = {"generation_config.json", "config.json"};
  *ends = (lap_end_ids){0};
  lap_code code = LAP_OK;
  bool said = false;
  for (size_t i = 0; i < sizeof names / sizeof *names && code == LAP_OK && !said; ++i) {
    char *path = lap_format("%s/%s", directory, names[i]);
    code = lap_hf_end_ids_add(path, vocab_size, ends, &said, status);
    free(path);
  }
  return code;
}

json_t *lap_hf_end_ids_to_json(const lap_end_ids *ends) {
  if (ends->count == 0) return json_integer(LAP_EOS);
  json_t *list = json_pack("[i]", LAP_EOS);
  for (int64_t i = 0; i < ends->count; ++i) json_array_append_new(list, json_integer(ends->id[i]));
  return list;
}

json_t *lap_hf_generation_config(const lap_end_ids *ends) {
  return json_pack("{s:i, s:o, s:i}", "bos_token_id", LAP_BOS, "eos_token_id",
                   lap_hf_end_ids_to_json(ends), "pad_token_id", LAP_PAD);
}
