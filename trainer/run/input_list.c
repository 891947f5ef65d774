#include "trainer/run/input_list.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "teacher/cache.h"

enum { LIST_MAX_BYTES = 64 << 20, SHOWN = 12 };

static void add_file(json_t *list, const char *path, const char *sha256) {
  json_array_append_new(list,
                        json_pack("{s:o, s:s}", "path", lap_json_path(path), "sha256", sha256));
}

static void add_cache_files(json_t *list, const lap_inputs *inputs, lap_cache *cache) {
  for (size_t i = 0; i < inputs->train_tokens.count; ++i) {
    char hex[LAP_SHA256_HEX];
    lap_status ignored; /* it was read before */
    if (lap_cache_shard_sha256(cache, i, hex, &ignored) == LAP_OK)
      add_file(list, lap_cache_path(cache, i), hex);
  }
}

char *lap_input_list_print(const lap_config *config, const lap_inputs *inputs) {
  json_t *root = json_object(), *tokenizer = json_array(), *train = json_array();
  add_file(tokenizer, config->tokenizer, inputs->tokenizer_sha256);
  for (size_t i = 0; i < inputs->train_tokens.count; ++i)
    add_file(train, inputs->train_tokens.shard[i]->path,
             inputs->train_tokens.shard[i]->tokens_sha256);
  json_object_set_new(root, "tokenizer", tokenizer);
  json_object_set_new(root, "data.train", train);
  if (inputs->train_cache) {
    json_t *cache = json_array();
    for (size_t draw = 0; draw < lap_cache_draw_count(inputs->train_cache); ++draw)
      add_cache_files(cache, inputs, lap_cache_of_epoch(inputs->train_cache, draw));
    json_object_set_new(root, "teacher.cache", cache);
  }
  char *dumped = json_dumps(root, JSON_INDENT(1)), *text = lap_format("%s\n", dumped);
  free(dumped);
  json_decref(root);
  return text;
}

static const char *text_of(const json_t *list, size_t index, const char *key) {
  const char *text = json_string_value(json_object_get(json_array_get(list, index), key));
  return text ? text : "";
}

/* "a.h5 with SHA-256 123456789abc...", or that there is none. */
static char *describe(const json_t *list, size_t index) {
  const char *sha256 = text_of(list, index, "sha256");
  if (!*sha256) return lap_copy_string("absent");
  return lap_format("%s with SHA-256 %.*s...", text_of(list, index, "path"), SHOWN, sha256);
}

/* Where both lists have the same hashes there is none. */
static char *first_difference(const char *name, const json_t *then, const json_t *now) {
  const size_t counts[2] = {json_array_size(then), json_array_size(now)};
  for (size_t i = 0; i < counts[0] || i < counts[1]; ++i) {
    if (strcmp(text_of(then, i, "sha256"), text_of(now, i, "sha256")) == 0) continue;
    char *was = describe(then, i), *is = describe(now, i);
    char *text = lap_format("%s: file %zu was %s (of %zu), and is %s (of %zu)", name, i + 1, was,
                            counts[0], is, counts[1]);
    free(was);
    free(is);
    return text;
  }
  return NULL;
}

char *lap_input_list_difference(const char *directory, const char *now, const char *key) {
  static const char ending[] = "_sha256";
  const size_t length = strlen(key);
  if (length < sizeof ending || strcmp(key + length - (sizeof ending - 1), ending) != 0)
    return NULL;
  char *name = strndup(key, length - (sizeof ending - 1)), *difference = NULL;
  char *path = lap_format("%s/inputs.json", directory);
  lap_status ignored;
  json_t *then;
  if (lap_json_read_file(path, LIST_MAX_BYTES, &then, &ignored) == LAP_OK) {
    json_t *current = json_loads(now, JSON_REJECT_DUPLICATES, NULL);
    difference =
        first_difference(name, json_object_get(then, name), json_object_get(current, name));
    json_decref(then);
    json_decref(current);
  }
  free(path);
  free(name);
  return difference;
}
