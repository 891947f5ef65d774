/* safetensors_write: the header as JSON, padded so that the data is aligned, then the tensors as
 * they lie in memory. */
#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/hf/safetensors.h"

enum { LENGTH_BYTES = 8, ALIGNMENT = 8 };

static int64_t bytes_of(const lap_safetensors_source *tensor) {
  int64_t bytes = (int64_t)lap_dtype_size(tensor->dtype);
  for (int i = 0; i < tensor->dimensions; ++i) bytes *= tensor->shape[i];
  return bytes;
}

static int by_position(const void *a, const void *b) {
  const lap_safetensors_source *x = *(const lap_safetensors_source *const *)a;
  const lap_safetensors_source *y = *(const lap_safetensors_source *const *)b;
  const size_t x_size = lap_dtype_size(x->dtype), y_size = lap_dtype_size(y->dtype);
  if (x_size != y_size) return x_size > y_size ? -1 : 1;
  return strcmp(x->name, y->name);
}

static json_t *describe(const lap_safetensors_source *tensor, int64_t begin) {
  json_t *shape = json_array();
  for (int i = 0; i < tensor->dimensions; ++i)
    json_array_append_new(shape, json_integer(tensor->shape[i]));
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", lap_dtype_name(tensor->dtype), "shape", shape,
                   "data_offsets", (json_int_t)begin, (json_int_t)begin + bytes_of(tensor));
}

/* The length in 8 bytes, the JSON, and blanks up to a multiple of 8; owned by the caller. */
static char *make_header(const lap_safetensors_source *const *ordered, size_t count,
                         size_t *header_bytes) {
  json_t *object = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
  int64_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    const int refused = json_object_set_new(object, ordered[i]->name, describe(ordered[i], offset));
    assert(refused == 0); /* a name that is not UTF-8 */
    offset += bytes_of(ordered[i]);
  }
  assert(json_object_size(object) == count + 1); /* names differ */
  char *text = json_dumps(object, JSON_COMPACT);
  assert(text);
  const size_t length = strlen(text), padded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  char *header = lap_allocate(LENGTH_BYTES + padded, 1);
  for (int i = 0; i < LENGTH_BYTES; ++i) header[i] = (char)(padded >> 8 * i & 0xff);
  memset(header + LENGTH_BYTES, ' ', padded);
  memcpy(header + LENGTH_BYTES, text, length);
  *header_bytes = LENGTH_BYTES + padded;
  free(text);
  json_decref(object);
  return header;
}

static lap_code write_to(int descriptor, const char *path,
                         const lap_safetensors_source *const *ordered, size_t count,
                         lap_status *status) {
  size_t header_bytes;
  char *header = make_header(ordered, count, &header_bytes);
  lap_code code = lap_file_write_all(descriptor, path, header, header_bytes, status);
  for (size_t i = 0; i < count && code == LAP_OK; ++i)
    code = lap_file_write_all(descriptor, path, ordered[i]->values, (size_t)bytes_of(ordered[i]),
                              status);
  free(header);
  return code;
}

lap_code lap_safetensors_write(const char *path, const lap_safetensors_source *tensors,
                               size_t count, lap_status *status) {
  int descriptor;
  char *temporary;
  LAP_TRY(lap_file_open_temporary(path, &descriptor, &temporary, status));
  const lap_safetensors_source **ordered = lap_allocate(count, sizeof *ordered);
  for (size_t i = 0; i < count; ++i) ordered[i] = &tensors[i];
  qsort(ordered, count, sizeof *ordered, by_position);
  const lap_code code = write_to(descriptor, path, ordered, count, status);
  free(ordered);
  return lap_file_end_temporary(descriptor, temporary, path, code, status);
}
