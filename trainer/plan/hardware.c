#include "trainer/plan/hardware.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "core/suggest.h"
#include "trainer/config/yaml_tree.h"

const int lap_gemm_edge[LAP_GEMM_EDGES] = {64, 256};
const int lap_gemm_depth[LAP_GEMM_DEPTHS] = {64, 256, 1024};

/* --- the schema --- */

typedef enum { OF_CHIP = 1, OF_MEASURED = 2 } file_kind;
/* Of a group there are all keys or none: files that an older doctor wrote lack it. */
typedef enum { REQUIRED, OPTIONAL, GROUP } presence;

/* `count` numbers at `offset`, a list where there are several; each greater than 0 and at most
 * `maximum` (0: any). */
typedef struct {
  const char *name;
  file_kind kind;
  size_t offset;
  int count;
  double maximum;
  presence presence;
} hardware_key;

#define FIELD(field) offsetof(lap_hardware, field)
#define UNIT(name) offsetof(lap_hardware, costs.unit[name])
#define UNIT_BFLOAT16(name) offsetof(lap_hardware, bfloat16.unit[name])

static const hardware_key schema[] = {
    {"ranks", OF_MEASURED, FIELD(ranks), 1, 1e8, REQUIRED},
    {"nodes", OF_MEASURED, FIELD(nodes), 1, 1e8, REQUIRED},
    {"cores_per_node", OF_MEASURED, FIELD(cores_per_node), 1, 1e6, REQUIRED},
    {"memory_bytes", OF_MEASURED, FIELD(memory_bytes), 1, 0, REQUIRED},
    {"cache_bytes", OF_MEASURED, FIELD(cache_bytes), 1, 0, REQUIRED},
    {"sgemm_gflops", OF_MEASURED, FIELD(sgemm_gflops), 1, 0, REQUIRED},
    {"core_share", OF_MEASURED, FIELD(core_share), 1, 1, REQUIRED},
    {"memory_bytes_per_second", OF_MEASURED, FIELD(memory_bytes_per_second), 1, 0, REQUIRED},
    {"within_node.latency_seconds", OF_MEASURED, FIELD(within_node.latency_seconds), 1, 0,
     OPTIONAL},
    {"within_node.bytes_per_second", OF_MEASURED, FIELD(within_node.bytes_per_second), 1, 0,
     OPTIONAL},
    {"between_nodes.latency_seconds", OF_MEASURED, FIELD(between_nodes.latency_seconds), 1, 0,
     OPTIONAL},
    {"between_nodes.bytes_per_second", OF_MEASURED, FIELD(between_nodes.bytes_per_second), 1, 0,
     OPTIONAL},
    {"gemm_seconds_per_flop.forward", OF_MEASURED, FIELD(costs.gemm[LAP_PRODUCT_FORWARD]),
     LAP_GEMM_SHAPES, 0, REQUIRED},
    {"gemm_seconds_per_flop.input", OF_MEASURED, FIELD(costs.gemm[LAP_PRODUCT_INPUT]),
     LAP_GEMM_SHAPES, 0, REQUIRED},
    {"gemm_seconds_per_flop.weight", OF_MEASURED, FIELD(costs.gemm[LAP_PRODUCT_WEIGHT]),
     LAP_GEMM_SHAPES, 0, REQUIRED},
    {"seconds_per_unit.attention", OF_MEASURED, UNIT(LAP_UNIT_ATTENTION), 2, 0, REQUIRED},
    {"seconds_per_unit.rmsnorm", OF_MEASURED, UNIT(LAP_UNIT_RMSNORM), 2, 0, REQUIRED},
    {"seconds_per_unit.rope", OF_MEASURED, UNIT(LAP_UNIT_ROPE), 2, 0, REQUIRED},
    {"seconds_per_unit.geglu", OF_MEASURED, UNIT(LAP_UNIT_GEGLU), 2, 0, REQUIRED},
    {"seconds_per_unit.residual", OF_MEASURED, UNIT(LAP_UNIT_RESIDUAL), 2, 0, REQUIRED},
    {"seconds_per_unit.embedding", OF_MEASURED, UNIT(LAP_UNIT_EMBEDDING), 2, 0, REQUIRED},
    {"seconds_per_unit.loss", OF_MEASURED, FIELD(costs.unit[LAP_UNIT_LOSS][1]), 1, 0, REQUIRED},
    {"seconds_per_unit.update", OF_MEASURED, FIELD(costs.update), 1, 0, REQUIRED},
    {"seconds_per_unit.clear", OF_MEASURED, FIELD(costs.clear), 1, 0, REQUIRED},
    {"seconds_per_unit.add", OF_MEASURED, FIELD(costs.add), 1, 0, REQUIRED},
    {"seconds_per_unit.data", OF_MEASURED, FIELD(costs.data), 1, 0, REQUIRED},
    {"bfloat16.gflops", OF_MEASURED, FIELD(bfloat16_gflops), 1, 0, GROUP},
    {"bfloat16.gemm_seconds_per_flop.forward", OF_MEASURED,
     FIELD(bfloat16.gemm[LAP_PRODUCT_FORWARD]), LAP_GEMM_SHAPES, 0, GROUP},
    {"bfloat16.gemm_seconds_per_flop.input", OF_MEASURED, FIELD(bfloat16.gemm[LAP_PRODUCT_INPUT]),
     LAP_GEMM_SHAPES, 0, GROUP},
    {"bfloat16.gemm_seconds_per_flop.weight", OF_MEASURED, FIELD(bfloat16.gemm[LAP_PRODUCT_WEIGHT]),
     LAP_GEMM_SHAPES, 0, GROUP},
    {"bfloat16.seconds_per_unit.attention", OF_MEASURED, UNIT_BFLOAT16(LAP_UNIT_ATTENTION), 2, 0,
     GROUP},
    {"bfloat16.seconds_per_unit.rmsnorm", OF_MEASURED, UNIT_BFLOAT16(LAP_UNIT_RMSNORM), 2, 0,
     GROUP},
    {"bfloat16.seconds_per_unit.rope", OF_MEASURED, UNIT_BFLOAT16(LAP_UNIT_ROPE), 2, 0, GROUP},
    {"bfloat16.seconds_per_unit.geglu", OF_MEASURED, UNIT_BFLOAT16(LAP_UNIT_GEGLU), 2, 0, GROUP},
    {"bfloat16.seconds_per_unit.residual", OF_MEASURED, UNIT_BFLOAT16(LAP_UNIT_RESIDUAL), 2, 0,
     GROUP},
    {"bfloat16.seconds_per_unit.embedding", OF_MEASURED, UNIT_BFLOAT16(LAP_UNIT_EMBEDDING), 2, 0,
     GROUP},
    {"bfloat16.seconds_per_unit.loss", OF_MEASURED, FIELD(bfloat16.unit[LAP_UNIT_LOSS][1]), 1, 0,
     GROUP},
    {"chip.peak_flops", OF_CHIP, FIELD(chip.peak_flops), 1, 0, REQUIRED},
    {"chip.efficiency", OF_CHIP, FIELD(chip.efficiency), 1, 1, REQUIRED},
    {"chip.hbm_bytes", OF_CHIP, FIELD(chip.hbm_bytes), 1, 0, REQUIRED},
    {"chip.hbm_bytes_per_second", OF_CHIP, FIELD(chip.hbm_bytes_per_second), 1, 0, REQUIRED},
    {"chip.ici_bytes_per_second", OF_CHIP, FIELD(chip.ici_bytes_per_second), 1, 0, REQUIRED},
    {"chip.ici_hop_seconds", OF_CHIP, FIELD(chip.ici_hop_seconds), 1, 0, REQUIRED},
    {"chip.dcn_bytes_per_second", OF_CHIP, FIELD(chip.dcn_bytes_per_second), 1, 0, OPTIONAL},
    {"chip.torus", OF_CHIP, FIELD(chip.torus), LAP_TORUS_DIMENSIONS, 65536, REQUIRED},
};
enum { KEYS = sizeof schema / sizeof *schema, NAME = KEYS };

/* --- reading --- */

static const char FROM_DOCTOR[] = "`lapidary doctor --json | tail -n 1` writes a whole file";

typedef struct {
  const char *file;
  lap_hardware *hardware;
  int line[KEYS + 1]; /* where each key was given; 0: not yet. The last: name */
  lap_status *status;
} reader;

static lap_code unknown_key(reader *r, const char *name, int line) {
  const char *names[KEYS + 1] = {[NAME] = "name"};
  for (int i = 0; i < KEYS; ++i) names[i] = schema[i].name;
  const char *nearest = lap_suggest(name, names, KEYS + 1);
  if (nearest)
    return lap_fail(r->status, LAP_USAGE, "%s:%d: unknown key '%s'; did you mean '%s'?", r->file,
                    line, name, nearest);
  return lap_fail(r->status, LAP_USAGE, "%s:%d: unknown key '%s'", r->file, line, name);
}

/* Whether its numbers are whole: something is divided into so many. */
static bool is_count(const hardware_key *key) {
  return key->offset == FIELD(ranks) || key->offset == FIELD(nodes) ||
         key->offset == FIELD(chip.torus);
}

static lap_code read_number(reader *r, const hardware_key *key, const lap_yaml_node *node,
                            double *number) {
  double value = 0;
  const bool read =
      node->kind == LAP_YAML_SCALAR && !node->quoted && lap_number_read_real(node->text, &value);
  const bool whole = is_count(key);
  if (read && value > 0 && (key->maximum == 0 || value <= key->maximum) &&
      (!whole || value == floor(value))) {
    *number = value;
    return LAP_OK;
  }
  char words[LAP_YAML_WORDS], most[48] = "";
  if (key->maximum > 0) snprintf(most, sizeof most, " and at most %g", key->maximum);
  return lap_fail(r->status, LAP_USAGE, "%s:%d: %s: expected %s%s%s greater than 0%s, found %s",
                  r->file, node->line, key->name, key->count > 1 ? "" : "a ",
                  whole ? "whole number" : "number", key->count > 1 ? "s" : "", most,
                  lap_yaml_describe(node, words));
}

static lap_code read_key(reader *r, const hardware_key *key, const lap_yaml_node *node) {
  double *field = (double *)((char *)r->hardware + key->offset);
  if (key->count == 1) return read_number(r, key, node, field);
  if (node->kind != LAP_YAML_LIST || node->count != (size_t)key->count) {
    char words[LAP_YAML_WORDS];
    return lap_fail(r->status, LAP_USAGE, "%s:%d: %s: expected a list of %d numbers, found %s",
                    r->file, node->line, key->name, key->count, lap_yaml_describe(node, words));
  }
  for (int i = 0; i < key->count; ++i) LAP_TRY(read_number(r, key, node->child[i], field + i));
  return LAP_OK;
}

static lap_code read_name(reader *r, const lap_yaml_node *node) {
  if (node->kind != LAP_YAML_SCALAR || !*node->text) {
    char words[LAP_YAML_WORDS];
    return lap_fail(r->status, LAP_USAGE, "%s:%d: name: expected a text, found %s", r->file,
                    node->line, lap_yaml_describe(node, words));
  }
  r->hardware->name = lap_copy_string(node->text);
  return LAP_OK;
}

static bool is_section(const char *name) {
  const size_t length = strlen(name);
  for (int i = 0; i < KEYS; ++i)
    if (!strncmp(schema[i].name, name, length) && schema[i].name[length] == '.') return true;
  return false;
}

static int find_key(const char *name) {
  if (!strcmp(name, "name")) return NAME;
  for (int i = 0; i < KEYS; ++i)
    if (!strcmp(schema[i].name, name)) return i;
  return -1;
}

static lap_code read_entry(reader *r, const char *name, const lap_yaml_node *node, int line) {
  const int index = find_key(name);
  if (index >= 0) {
    if (r->line[index])
      return lap_fail(r->status, LAP_USAGE, "%s:%d: duplicate key '%s', first given on line %d",
                      r->file, line, name, r->line[index]);
    r->line[index] = line;
    return index == NAME ? read_name(r, node) : read_key(r, &schema[index], node);
  }
  if (!is_section(name)) return unknown_key(r, name, line);
  if (node->kind != LAP_YAML_MAPPING) {
    char words[LAP_YAML_WORDS];
    return lap_fail(r->status, LAP_USAGE, "%s:%d: %s: expected a mapping of %s keys, found %s",
                    r->file, line, name, name, lap_yaml_describe(node, words));
  }
  for (size_t i = 0; i < node->count; ++i) {
    char inner[256];
    snprintf(inner, sizeof inner, "%s.%s", name, node->key[i]);
    LAP_TRY(read_entry(r, inner, node->child[i], node->key_line[i]));
  }
  return LAP_OK;
}

/* Every key of its kind, and none of the other; of the group, all or none. */
static lap_code check_presence(reader *r) {
  if (!r->line[NAME]) return lap_fail(r->status, LAP_USAGE, "%s: name is missing", r->file);
  r->hardware->is_chip = r->line[find_key("chip.peak_flops")] > 0;
  const file_kind kind = r->hardware->is_chip ? OF_CHIP : OF_MEASURED;
  bool grouped = false;
  for (int i = 0; i < KEYS; ++i) grouped |= r->line[i] && schema[i].presence == GROUP;
  for (int i = 0; i < KEYS; ++i) {
    if (r->line[i] && schema[i].kind != kind)
      return lap_fail(
          r->status, LAP_USAGE,
          "%s:%d: %s does not go with chip.peak_flops: a hardware file is of a chip, or "
          "measured on CPUs",
          r->file, r->line[i], schema[i].name);
    const bool needed = schema[i].presence == REQUIRED || (schema[i].presence == GROUP && grouped);
    if (!r->line[i] && schema[i].kind == kind && needed)
      return lap_fail(r->status, LAP_USAGE, "%s: %s is missing; %s", r->file, schema[i].name,
                      kind == OF_CHIP ? "configs/hardware has whole files of chips" : FROM_DOCTOR);
  }
  const lap_link *links[] = {&r->hardware->within_node, &r->hardware->between_nodes};
  for (int i = 0; i < 2; ++i)
    if ((links[i]->latency_seconds > 0) != (links[i]->bytes_per_second > 0))
      return lap_fail(r->status, LAP_USAGE,
                      "%s: %s: latency_seconds and bytes_per_second go together", r->file,
                      i ? "between_nodes" : "within_node");
  return LAP_OK;
}

/* What else of ours the text is, by a key that it needs and no hardware file has; or NULL. */
static const char *other_file(const lap_yaml_node *root) {
  for (size_t i = 0; i < root->count; ++i) {
    if (!strcmp(root->key[i], "arms")) return "a suite of lapidary ablate";
    if (!strcmp(root->key[i], "model")) return "the config of a run";
  }
  return NULL;
}

static lap_code read_root(reader *r, const lap_yaml_node *root) {
  if (root->kind != LAP_YAML_MAPPING)
    return lap_fail(r->status, LAP_USAGE, "%s:%d: expected a mapping of keys", r->file, root->line);
  const char *other = other_file(root);
  if (other)
    return lap_fail(r->status, LAP_USAGE, "%s: expected a hardware file, found %s; %s", r->file,
                    other, FROM_DOCTOR);
  for (size_t i = 0; i < root->count; ++i)
    LAP_TRY(read_entry(r, root->key[i], root->child[i], root->key_line[i]));
  return check_presence(r);
}

/* Of doctor, whose output begins with how many ranks share how many cores. */
static bool has_findings(const char *text, size_t bytes) {
  static const char begin[] = "ok    cores ";
  return bytes >= sizeof begin - 1 && !memcmp(text, begin, sizeof begin - 1);
}

lap_code lap_hardware_parse(const char *name, const char *text, size_t bytes,
                            lap_hardware *hardware, lap_status *status) {
  *hardware = (lap_hardware){0};
  lap_yaml_node *root;
  if (has_findings(text, bytes))
    return lap_fail(status, LAP_USAGE,
                    "%s: has all that doctor printed, of which the last line alone is a hardware "
                    "file; %s",
                    name, FROM_DOCTOR);
  LAP_TRY(lap_yaml_parse(name, text, bytes, &root, status));
  reader r = {.file = name, .hardware = hardware, .status = status};
  const lap_code code = read_root(&r, root);
  lap_yaml_destroy(root);
  if (code != LAP_OK) lap_hardware_release(hardware);
  return code;
}

lap_code lap_hardware_load(const char *path, lap_hardware *hardware, lap_status *status) {
  *hardware = (lap_hardware){0};
  char *text;
  size_t bytes;
  if (lap_file_read(path, LAP_YAML_MAX_BYTES, &text, &bytes, status) != LAP_OK)
    return status->code = LAP_USAGE;
  const lap_code code = lap_hardware_parse(path, text, bytes, hardware, status);
  free(text);
  return code;
}

void lap_hardware_release(lap_hardware *hardware) {
  free(hardware->name);
  *hardware = (lap_hardware){0};
}

/* --- writing --- */

static json_t *numbers(const double *values, int count) {
  if (count == 1) return json_real(*values);
  json_t *list = json_array();
  for (int i = 0; i < count; ++i) json_array_append_new(list, json_real(values[i]));
  return list;
}

/* The object that a dotted name leads to, made where it is not there; *name becomes its last part.
 */
static json_t *section_of(json_t *object, const char **name) {
  for (const char *dot; (dot = strchr(*name, '.')); *name = dot + 1) {
    char *part = lap_format("%.*s", (int)(dot - *name), *name);
    json_t *section = json_object_get(object, part);
    if (!section) json_object_set_new(object, part, section = json_object());
    free(part);
    object = section;
  }
  return object;
}

json_t *lap_hardware_to_json(const lap_hardware *hardware) {
  json_t *object = json_pack("{s:s}", "name", hardware->name);
  for (int i = 0; i < KEYS; ++i) {
    const double *values = (const double *)((const char *)hardware + schema[i].offset);
    if (schema[i].kind != (hardware->is_chip ? OF_CHIP : OF_MEASURED)) continue;
    if (schema[i].presence == OPTIONAL && *values == 0) continue;
    if (schema[i].presence == GROUP && hardware->bfloat16_gflops == 0) continue;
    const char *name = schema[i].name;
    json_t *section = section_of(object, &name);
    json_object_set_new(section, name, numbers(values, schema[i].count));
  }
  return object;
}

lap_hardware lap_hardware_in(const lap_hardware *hardware, lap_matmul_precision precision) {
  lap_hardware in = *hardware;
  if (precision != LAP_MATMUL_BFLOAT16 || hardware->bfloat16_gflops == 0) return in;
  memcpy(in.costs.gemm, in.bfloat16.gemm, sizeof in.costs.gemm);
  memcpy(in.costs.unit, in.bfloat16.unit, sizeof in.costs.unit);
  in.sgemm_gflops = in.bfloat16_gflops;
  return in;
}

int lap_hardware_ranks_per_node(const lap_hardware *hardware) {
  return (int)ceil(hardware->ranks / hardware->nodes);
}

/* --- the grid --- */

/* Where 1/size lies between the reciprocals of two sizes: 0 at the first, 1 at the second. */
static double between(double size, int first, int second) {
  return (1 / size - 1.0 / first) / (1.0 / second - 1.0 / first);
}

double lap_gemm_seconds(const lap_unit_costs *costs, lap_product product, double m, double n,
                        double k) {
  const double pm = between(m, lap_gemm_edge[0], lap_gemm_edge[1]);
  const double pn = between(n, lap_gemm_edge[0], lap_gemm_edge[1]);
  const int deep = k > lap_gemm_depth[1];
  const double pk = between(k, lap_gemm_depth[deep], lap_gemm_depth[deep + 1]);
  double per_flop = 0, least = 0;
  for (int i = 0; i < LAP_GEMM_EDGES; ++i)
    for (int j = 0; j < LAP_GEMM_EDGES; ++j)
      for (int d = deep; d < deep + 2; ++d) {
        const double cost = costs->gemm[product][(i * LAP_GEMM_EDGES + j) * LAP_GEMM_DEPTHS + d];
        if (least == 0 || cost < least) least = cost;
        per_flop += (i ? pm : 1 - pm) * (j ? pn : 1 - pn) * (d > deep ? pk : 1 - pk) * cost;
      }
  /* Beyond the grid noise in it must not make a product cheaper than all that were measured. */
  return 2 * m * n * k * (per_flop > 0.9 * least ? per_flop : 0.9 * least);
}
