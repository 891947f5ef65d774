#include "trainer/config/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"
#include "trainer/config/origin.h"
#include "trainer/config/other_file.h"
#include "trainer/config/other_names.h"
#include "trainer/config/resolve.h"
#include "trainer/config/schema.h"
#include "trainer/config/value.h"
#include "trainer/config/yaml_tree.h"

typedef struct {
  lap_config *config;
  bool command_line;
  lap_status *status;
} config_loader;

/* "FILE:LINE" or "command line". */
static const char *locate(const config_loader *loader, int line, char *text, size_t size) {
  if (loader->command_line)
    snprintf(text, size, "command line");
  else
    snprintf(text, size, "%s:%d", loader->config->file, line);
  return text;
}

enum { LOCATION_SIZE = 1024, NAME_SIZE = 256 };

static lap_code unknown_key(const config_loader *loader, const char *name, int line) {
  char where[LOCATION_SIZE];
  locate(loader, line, where, sizeof where);
  const char *nearest = lap_config_by_other_name(name);
  if (!nearest) nearest = lap_config_nearest(name);
  if (nearest)
    return lap_fail(loader->status, LAP_USAGE, "%s: unknown key '%s'; did you mean '%s'?", where,
                    name, nearest);
  return lap_fail(loader->status, LAP_USAGE, "%s: unknown key '%s'", where, name);
}

static lap_code set_key(const config_loader *loader, int index, const lap_yaml_node *node,
                        int line) {
  lap_config *config = loader->config;
  size_t count;
  const lap_config_key *key = &lap_config_schema(&count)[index];
  const int earlier = config->origin[index];
  char where[LOCATION_SIZE];
  if (earlier > 0 && !loader->command_line)
    return lap_fail(loader->status, LAP_USAGE, "%s: duplicate key '%s', first given on line %d",
                    locate(loader, line, where, sizeof where), key->name, earlier);
  const int origin = loader->command_line ? LAP_ORIGIN_COMMAND_LINE : line;
  if (lap_yaml_is_null(node) && key->kind == LAP_KEY_CAP) {
    *(double *)((char *)config + key->offset) = 0;
    config->origin[index] = origin;
    return LAP_OK;
  }
  if (lap_config_set(config, key, node, loader->status) != LAP_OK)
    return lap_fail_context(loader->status, "%s: %s",
                            locate(loader, node->line, where, sizeof where), key->name);
  config->origin[index] = origin;
  return LAP_OK;
}

/* Puts a key back to its default. */
static void reset_key(lap_config *config, int index) {
  size_t count;
  const lap_config_key *key = &lap_config_schema(&count)[index];
  lap_config_clear(config, key);
  config->origin[index] = key->kind == LAP_KEY_LAYER_TYPES ? LAP_ORIGIN_DEFAULT : LAP_ORIGIN_NONE;
  if (strcmp(key->name, "schedule.warmup_steps") == 0) config->schedule.warmup_steps = -1;
  if (!key->fallback) return;
  lap_yaml_node *node = lap_yaml_scalar(key->fallback, false, 0);
  lap_status never = {0}; /* the schema's own defaults are valid: test_config */
  lap_config_set(config, key, node, &never);
  lap_yaml_destroy(node);
  config->origin[index] = LAP_ORIGIN_DEFAULT;
}

/* One of steps, tokens, epochs on the command line replaces whichever of them the file has. */
static void make_way_for(lap_config *config, const char *name) {
  static const char *const lengths[] = {"schedule.steps", "schedule.tokens", "schedule.epochs"};
  bool is_length = false;
  for (int i = 0; i < 3; ++i) is_length = is_length || strcmp(name, lengths[i]) == 0;
  for (int i = 0; is_length && i < 3; ++i) {
    const int index = lap_config_find(lengths[i]);
    if (config->origin[index] > 0) reset_key(config, index);
  }
}

/* A key's value, or a section with its keys; `name` is dotted. */
static lap_code apply(const config_loader *loader, const char *name, const lap_yaml_node *node,
                      int line) {
  char where[LOCATION_SIZE];
  const int index = lap_config_find(name);
  if (index >= 0 && lap_yaml_is_null(node) &&
      lap_config_schema(&(size_t){0})[index].kind != LAP_KEY_CAP) {
    if (loader->command_line) reset_key(loader->config, index);
    return LAP_OK;
  }
  if (index >= 0) {
    if (loader->command_line) make_way_for(loader->config, name);
    return set_key(loader, index, node, line);
  }
  if (!lap_config_is_section(name)) return unknown_key(loader, name, line);
  if (lap_yaml_is_null(node)) return LAP_OK;
  if (node->kind != LAP_YAML_MAPPING) {
    char words[LAP_YAML_WORDS];
    return lap_fail(loader->status, LAP_USAGE, "%s: %s: expected a mapping of %s keys, found %s",
                    locate(loader, line, where, sizeof where), name, name,
                    lap_yaml_describe(node, words));
  }
  for (size_t i = 0; i < node->count; ++i) {
    char inner[NAME_SIZE];
    snprintf(inner, sizeof inner, "%s.%s", name, node->key[i]);
    LAP_TRY(apply(loader, inner, node->child[i], node->key_line[i]));
  }
  return LAP_OK;
}

static lap_code apply_text(const config_loader *loader, const char *text, size_t bytes) {
  lap_yaml_node *root;
  const char *file = loader->config->file;
  LAP_TRY(lap_yaml_parse(file, text, bytes, &root, loader->status));
  lap_code code = LAP_OK;
  if (root->kind != LAP_YAML_MAPPING)
    code =
        lap_fail(loader->status, LAP_USAGE, "%s:%d: expected a mapping of keys", file, root->line);
  const lap_other_file other = code == LAP_OK ? lap_other_file_of(root) : LAP_OTHER_NONE;
  if (other != LAP_OTHER_NONE)
    code = lap_fail(loader->status, LAP_USAGE, "%s: expected the config of a run, found %s", file,
                    other == LAP_OTHER_SUITE ? "a suite of lapidary ablate"
                                             : "a hardware file, for lapidary plan CONFIG "
                                               "--hardware");
  for (size_t i = 0; code == LAP_OK && i < root->count; ++i)
    code = apply(loader, root->key[i], root->child[i], root->key_line[i]);
  lap_yaml_destroy(root);
  return code;
}

static bool is_utf8(const char *text) {
  for (size_t length; *text; text += length)
    if ((length = lap_utf8_character(text, strlen(text))) == 0) return false;
  return true;
}

/* A value is YAML where it begins like a collection or a quoted text; otherwise it is taken as it
 * stands, so that shell words such as *.h5 need no second quoting. Nor do paths: a key of paths
 * takes {a,b}/x.h5, [x]/y.h5 and whatever exists for what they are. [a, b] is a list, which a key
 * of one text refuses. */
static bool is_yaml(const char *name, const char *value) {
  if (!strchr("[{\"'", *value)) return false;
  const int index = lap_config_find(name);
  if (index < 0) return true;
  const lap_key_kind kind = lap_config_schema(&(size_t){0})[index].kind;
  if (kind != LAP_KEY_TEXT && kind != LAP_KEY_SOURCES) return true;
  if (lap_file_exists(value)) return false;
  if (*value == '"' || *value == '\'') return true;
  const bool in_brackets = *value == '[' && value[strlen(value) - 1] == ']';
  return in_brackets && (kind == LAP_KEY_SOURCES || strchr(value, ','));
}

static lap_code apply_override(const config_loader *loader, const char *override) {
  const char *equals = strchr(override, '=');
  if (!equals || equals == override || equals - override >= NAME_SIZE)
    return lap_fail(loader->status, LAP_USAGE, "command line: expected KEY=VALUE, found '%s'",
                    override);
  char name[NAME_SIZE];
  snprintf(name, sizeof name, "%.*s", (int)(equals - override), override);
  const char *value = equals + 1;
  if (!*value)
    return lap_fail(loader->status, LAP_USAGE,
                    "command line: %s: the value is empty; an unset shell variable? null gives the "
                    "default",
                    name);
  if (!is_utf8(value)) /* the config that is written down could not be read */
    return lap_fail(loader->status, LAP_USAGE, "command line: %s: the value is not text in UTF-8",
                    name);
  lap_yaml_node *node;
  if (is_yaml(name, value)) {
    char where[LOCATION_SIZE];
    snprintf(where, sizeof where, "command line: %s: value", name);
    LAP_TRY(lap_yaml_parse(where, value, strlen(value), &node, loader->status));
  } else {
    node = lap_yaml_scalar(value, false, 1);
  }
  const lap_code code = apply(loader, name, node, 1);
  lap_yaml_destroy(node);
  return code;
}

static lap_config *config_create(const char *name) {
  size_t count;
  lap_config_schema(&count);
  lap_config *config = lap_allocate(1, sizeof *config);
  config->file = lap_copy_string(name);
  config->origin = lap_allocate(count, sizeof *config->origin);
  for (size_t i = 0; i < count; ++i) reset_key(config, (int)i);
  return config;
}

void lap_config_destroy(lap_config *config) {
  if (!config) return;
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  for (size_t i = 0; i < count; ++i) lap_config_clear(config, &schema[i]);
  free(config->file);
  free(config->origin);
  free(config);
}

lap_code lap_config_parse(const char *name, const char *text, size_t bytes,
                          const char *const *overrides, size_t override_count, lap_config **config,
                          lap_status *status) {
  *config = config_create(name);
  config_loader loader = {.config = *config, .status = status};
  lap_code code = apply_text(&loader, text, bytes);
  loader.command_line = true;
  for (size_t i = 0; code == LAP_OK && i < override_count; ++i)
    code = apply_override(&loader, overrides[i]);
  if (code == LAP_OK) code = lap_config_resolve(*config, status);
  if (code != LAP_OK) {
    lap_config_destroy(*config);
    *config = NULL;
  }
  return code;
}

lap_code lap_config_load(const char *path, const char *const *overrides, size_t override_count,
                         lap_config **config, lap_status *status) {
  *config = NULL;
  if (!path)
    return lap_config_parse("command line", "", 0, overrides, override_count, config, status);
  char *text;
  size_t bytes;
  /* A config that cannot be read is a mistake on the command line, not in the data. */
  if (lap_file_read(path, LAP_YAML_MAX_BYTES, &text, &bytes, status) != LAP_OK)
    return status->code = LAP_USAGE;
  const lap_code code =
      lap_config_parse(path, text, bytes, overrides, override_count, config, status);
  free(text);
  return code;
}

lap_code lap_config_for_model(const char *name, const lap_gemma2_config *model, lap_config **config,
                              lap_status *status) {
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  lap_config *made = config_create(name);
  made->model = *model;
  made->layer_type_count = model->num_hidden_layers;
  for (size_t i = 0; i < count; ++i)
    if (strncmp(schema[i].name, "model.", strlen("model.")) == 0)
      made->origin[i] = LAP_ORIGIN_DEFAULT;
  const lap_code code = lap_config_resolve(made, status);
  if (code != LAP_OK) lap_config_destroy(made);
  *config = code == LAP_OK ? made : NULL;
  return code;
}

const char *lap_config_key_meant(const char *name) {
  size_t count;
  const lap_config_key *schema = lap_config_schema(&count);
  if (lap_config_find(name) >= 0 || lap_config_is_section(name)) return name;
  const char *dot = strrchr(name, '.'), *own = dot ? dot + 1 : name;
  for (size_t i = 0; i < count; ++i)
    if (strcmp(lap_config_own_name(&schema[i]), own) == 0) return schema[i].name;
  return lap_config_by_other_name(name);
}

const char *lap_config_key_suggest(const char *name) {
  const char *meant = lap_config_key_meant(name);
  return meant ? meant : lap_config_nearest(name);
}
