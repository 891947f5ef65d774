#include "trainer/inspect/tensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/cli/human.h"
#include "trainer/gguf/read.h"
#include "trainer/hf/safetensors.h"

enum {
  NAME_CHARACTERS = 100,
  TEXT_CHARACTERS = 200,
  SHOWN_TENSORS = 40,
  SHOWN_PAIRS = 60,
  SHOWN_TYPES = 8
};

/* --- tensors, whatever the file --- */

/* One tensor as it is reported, and how its values are read; nothing here is owned. */
typedef struct {
  const char *name, *type;
  int dimensions;
  const int64_t *shape;
  int64_t elements, bytes; /* -1: not known */
  bool readable;           /* its values are floats that `read` gives */
  const void *source;
} tensor_view;

typedef lap_code read_values(const void *source, int64_t begin, int64_t count, float *values,
                             lap_status *status);

/* "2048x64", "64", "scalar". */
static char *shape_text(const tensor_view *t) {
  char *text = lap_copy_string(t->dimensions ? "" : "scalar");
  for (int i = 0; i < t->dimensions; ++i) {
    char *longer = lap_format("%s%s%" PRId64, text, i ? "x" : "", t->shape[i]);
    free(text);
    text = longer;
  }
  return text;
}

static json_t *tensor_json(const tensor_view *t, const char *clean) {
  json_t *shape = json_array();
  for (int i = 0; i < t->dimensions; ++i) json_array_append_new(shape, json_integer(t->shape[i]));
  json_t *entry = json_pack("{s:s, s:s, s:o}", "name", clean, "type", t->type, "shape", shape);
  if (t->bytes >= 0) json_object_set_new(entry, "bytes", json_integer(t->bytes));
  return entry;
}

/* "F32 25, BF16 3": tensors of each type, in the order in which the types come first. */
static char *types_text(const tensor_view *tensor, size_t count) {
  const char *type[SHOWN_TYPES] = {NULL};
  size_t types = 0, of[SHOWN_TYPES] = {0}, others = 0;
  for (size_t i = 0; i < count; ++i) {
    size_t t = 0;
    while (t < types && strcmp(type[t], tensor[i].type) != 0) ++t;
    if (t == types && types < SHOWN_TYPES) type[types++] = tensor[i].type;
    if (t < types)
      ++of[t];
    else
      ++others;
  }
  char *text = NULL;
  size_t bytes;
  FILE *out = lap_open_text(&text, &bytes);
  for (size_t t = 0; t < types; ++t) fprintf(out, "%s%s %zu", t ? ", " : "", type[t], of[t]);
  if (others) fprintf(out, ", others %zu", others);
  lap_close_text(out, &text);
  return text;
}

static void report_table(const tensor_view *tensor, size_t count, lap_report *report) {
  static const char *const headers[] = {"tensor", "type", "shape"};
  lap_table *table = lap_table_create(3, headers);
  json_t *list = json_array();
  for (size_t i = 0; i < count; ++i) {
    char *clean = lap_report_clean(tensor[i].name, strlen(tensor[i].name), NAME_CHARACTERS);
    char *shape = shape_text(&tensor[i]);
    const char *const cells[] = {clean, tensor[i].type, shape};
    if (i < SHOWN_TENSORS) lap_table_add(table, cells);
    json_array_append_new(list, tensor_json(&tensor[i], clean));
    free(shape);
    free(clean);
  }
  lap_report_json_only(report, "tensors", list);
  lap_report_verbatim(report, "\n");
  lap_report_table(report, table);
  if (count > SHOWN_TENSORS)
    lap_report_note(report, "and %zu more; --json has them all", count - SHOWN_TENSORS);
}

/* The facts; then the table. `kind`: what the summary begins with. */
static void report_tensors(const char *kind, const tensor_view *tensor, size_t count,
                           lap_report *report) {
  double parameters = 0, bytes = 0;
  char human[LAP_HUMAN_TEXT], size[LAP_HUMAN_TEXT];
  for (size_t i = 0; i < count; ++i) {
    parameters += tensor[i].bytes > 0 ? (double)tensor[i].elements : 0;
    bytes += tensor[i].bytes > 0 ? (double)tensor[i].bytes : 0;
  }
  char *types = types_text(tensor, count);
  lap_human_count(parameters, human);
  lap_report_summarise(report, "%s%zu tensors, %s parameters", kind, count, human);
  lap_report_fact(report, "tensor_count", json_integer((json_int_t)count), "%zu (%s)", count,
                  *types ? types : "none");
  lap_report_fact(report, "parameters", json_integer((json_int_t)parameters), "%.0f (%s)",
                  parameters, human);
  lap_report_fact(report, "data_bytes", json_integer((json_int_t)bytes), "%s",
                  lap_human_bytes(bytes, size));
  free(types);
}

/* --- their values --- */

static lap_code check_finite(const char *path, const tensor_view *t, read_values *read,
                             lap_status *status) {
  enum { VALUES = 1 << 16 };
  float *values = lap_allocate(VALUES, sizeof *values);
  lap_code code = LAP_OK;
  for (int64_t begin = 0; begin < t->elements && code == LAP_OK; begin += VALUES) {
    const int64_t left = t->elements - begin, count = left < VALUES ? left : VALUES;
    code = read(t->source, begin, count, values, status);
    for (int64_t i = 0; i < count && code == LAP_OK; ++i)
      if (!isfinite(values[i]))
        code = lap_fail(status, LAP_DATA,
                        "%s: tensor '%.200s': element %" PRId64 " is %g; weights must be finite",
                        path, t->name, begin + i, (double)values[i]);
  }
  free(values);
  return code;
}

static lap_code check_values(const lap_inspector *inspector, const char *path,
                             const tensor_view *tensor, size_t count, read_values *read,
                             lap_report *report, lap_status *status) {
  size_t passed_over = 0;
  if (!inspector->check) return LAP_OK;
  for (size_t i = 0; i < count; ++i) {
    passed_over += !tensor[i].readable;
    if (tensor[i].readable) LAP_TRY(check_finite(path, &tensor[i], read, status));
  }
  if (passed_over)
    lap_report_note(report,
                    "values of %zu tensors are not floats that lapidary reads; of them only size "
                    "and place were checked",
                    passed_over);
  return LAP_OK;
}

/* --- safetensors --- */

static lap_code read_safetensors(const void *source, int64_t begin, int64_t count, float *values,
                                 lap_status *status) {
  return lap_safetensors_read_float(source, begin, count, values, status);
}

lap_code lap_inspect_safetensors(const lap_inspector *inspector, const char *path,
                                 lap_report *report, lap_status *status) {
  lap_safetensors *file;
  LAP_TRY(lap_safetensors_open(path, &file, status));
  size_t count;
  const lap_safetensors_tensor *tensor = lap_safetensors_tensors(file, &count);
  tensor_view *view = lap_allocate((int64_t)count, sizeof *view);
  for (size_t i = 0; i < count; ++i)
    view[i] = (tensor_view){.name = tensor[i].name,
                            .type = lap_dtype_name(tensor[i].dtype),
                            .dimensions = tensor[i].dimensions,
                            .shape = tensor[i].shape,
                            .elements = tensor[i].elements,
                            .bytes = tensor[i].elements * (int64_t)lap_dtype_size(tensor[i].dtype),
                            .readable = tensor[i].dtype <= LAP_DTYPE_BF16,
                            .source = &tensor[i]};
  report_tensors("", view, count, report);
  report_table(view, count, report);
  const lap_code code =
      check_values(inspector, path, view, count, read_safetensors, report, status);
  free(view);
  lap_safetensors_close(file);
  return code;
}

/* --- GGUF --- */

static lap_code read_gguf(const void *source, int64_t begin, int64_t count, float *values,
                          lap_status *status) {
  return lap_gguf_read_float(source, begin, count, values, status);
}

static void report_pair(const lap_gguf_pair *pair, const char *key, lap_report *report) {
  char *clean;
  switch (pair->kind) {
    case LAP_GGUF_UNSIGNED:
      lap_report_fact(report, key, json_integer((json_int_t)pair->unsigned_value), "%" PRIu64,
                      pair->unsigned_value);
      break;
    case LAP_GGUF_SIGNED:
      lap_report_fact(report, key, json_integer(pair->signed_value), "%" PRId64,
                      pair->signed_value);
      break;
    case LAP_GGUF_REAL:
      /* JSON has no infinities. */
      lap_report_fact(report, key, isfinite(pair->real) ? json_real(pair->real) : json_null(),
                      "%.*g", strcmp(pair->type, "float32") ? 15 : 7, pair->real);
      break;
    case LAP_GGUF_BOOL:
      lap_report_fact(report, key, json_boolean(pair->boolean), "%s",
                      pair->boolean ? "true" : "false");
      break;
    case LAP_GGUF_TEXT:
      clean = lap_report_clean(pair->text, pair->text_bytes, TEXT_CHARACTERS);
      lap_report_text(report, key, clean);
      free(clean);
      break;
    case LAP_GGUF_ARRAY:
      lap_report_fact(report, key,
                      json_pack("{s:I, s:s}", "count", (json_int_t)pair->count, "type", pair->type),
                      "%" PRIu64 " of %s", pair->count, pair->type);
      break;
  }
}

static void report_pairs(const lap_gguf_file *file, lap_report *report) {
  size_t count;
  const lap_gguf_pair *pair = lap_gguf_pairs(file, &count);
  lap_report_section(report, "keys");
  for (size_t i = 0; i < count && i < SHOWN_PAIRS; ++i) {
    char *key = lap_report_clean(pair[i].key, strlen(pair[i].key), NAME_CHARACTERS);
    report_pair(&pair[i], key, report);
    free(key);
  }
  lap_report_end_section(report);
  if (count > SHOWN_PAIRS) lap_report_note(report, "and %zu more keys", count - SHOWN_PAIRS);
}

/* "gemma2, ": what general.architecture says. */
static char *architecture_of(const lap_gguf_file *file) {
  const lap_gguf_pair *pair = lap_gguf_find(file, "general.architecture");
  if (!pair || pair->kind != LAP_GGUF_TEXT) return lap_copy_string("");
  char *clean = lap_report_clean(pair->text, pair->text_bytes, TEXT_CHARACTERS);
  char *text = lap_format("%s, ", clean);
  free(clean);
  return text;
}

static lap_code inspect_gguf(const lap_inspector *inspector, const char *path,
                             const lap_gguf_file *file, lap_report *report, lap_status *status) {
  size_t count;
  const lap_gguf_tensor *tensor = lap_gguf_tensors(file, &count);
  tensor_view *view = lap_allocate((int64_t)count, sizeof *view);
  char(*unknown)[32] = lap_allocate((int64_t)count, sizeof *unknown);
  for (size_t i = 0; i < count; ++i) {
    snprintf(unknown[i], sizeof unknown[i], "type %" PRIu32, tensor[i].type_number);
    view[i] = (tensor_view){.name = tensor[i].name,
                            .type = tensor[i].type ? tensor[i].type : unknown[i],
                            .dimensions = tensor[i].dimensions,
                            .shape = tensor[i].shape,
                            .elements = tensor[i].elements,
                            .bytes = tensor[i].bytes,
                            .readable = tensor[i].plain,
                            .source = &tensor[i]};
  }
  char *architecture = architecture_of(file);
  lap_report_count(report, "gguf_version", lap_gguf_version(file));
  report_tensors(architecture, view, count, report);
  report_pairs(file, report);
  report_table(view, count, report);
  const lap_code code = check_values(inspector, path, view, count, read_gguf, report, status);
  free(architecture);
  free(unknown);
  free(view);
  return code;
}

lap_code lap_inspect_gguf(const lap_inspector *inspector, const char *path, lap_report *report,
                          lap_status *status) {
  lap_gguf_file *file;
  LAP_TRY(lap_gguf_open(path, &file, status));
  const lap_code code = inspect_gguf(inspector, path, file, report, status);
  lap_gguf_close(file);
  return code;
}
