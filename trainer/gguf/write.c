#include "trainer/gguf/write.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"

/* The type numbers of the format, as far as they are written. */
enum {
  VALUE_UINT32 = 4,
  VALUE_INT32 = 5,
  VALUE_FLOAT32 = 6,
  VALUE_BOOL = 7,
  VALUE_STRING = 8,
  VALUE_ARRAY = 9,
  TENSOR_FLOAT32 = 0,
};

typedef struct {
  char *bytes;
  size_t count, capacity;
} buffer;

typedef struct {
  const float *values;
  size_t bytes;
} tensor_data;

struct lap_gguf {
  buffer pairs, infos;
  uint64_t pair_count, tensor_count;
  tensor_data *tensors;
  uint64_t data_bytes; /* of all tensors, each padded */
};

static const char zeros[LAP_GGUF_ALIGNMENT];

static uint64_t padded(uint64_t bytes) {
  return (bytes + LAP_GGUF_ALIGNMENT - 1) / LAP_GGUF_ALIGNMENT * LAP_GGUF_ALIGNMENT;
}

/* --- putting values behind each other, in the memory form of x86-64, which is the format's --- */

static void put(buffer *to, const void *bytes, size_t count) {
  if (count == 0) return;
  if (count > to->capacity - to->count) {
    to->capacity = 2 * (to->count + count);
    to->bytes = lap_reallocate(to->bytes, to->capacity, 1);
  }
  memcpy(to->bytes + to->count, bytes, count);
  to->count += count;
}

static void put_uint32(buffer *to, uint32_t value) { put(to, &value, sizeof value); }
static void put_uint64(buffer *to, uint64_t value) { put(to, &value, sizeof value); }

static void put_string(buffer *to, const char *text) {
  const size_t length = strlen(text);
  put_uint64(to, length);
  put(to, text, length);
}

/* --- key-value pairs --- */

static void begin_pair(lap_gguf *gguf, const char *key, uint32_t type) {
  put_string(&gguf->pairs, key);
  put_uint32(&gguf->pairs, type);
  ++gguf->pair_count;
}

static void begin_array(lap_gguf *gguf, const char *key, uint32_t type, size_t count) {
  begin_pair(gguf, key, VALUE_ARRAY);
  put_uint32(&gguf->pairs, type);
  put_uint64(&gguf->pairs, count);
}

void lap_gguf_add_uint32(lap_gguf *gguf, const char *key, uint32_t value) {
  begin_pair(gguf, key, VALUE_UINT32);
  put_uint32(&gguf->pairs, value);
}

void lap_gguf_add_float32(lap_gguf *gguf, const char *key, float value) {
  begin_pair(gguf, key, VALUE_FLOAT32);
  put(&gguf->pairs, &value, sizeof value);
}

void lap_gguf_add_bool(lap_gguf *gguf, const char *key, bool value) {
  begin_pair(gguf, key, VALUE_BOOL);
  put(&gguf->pairs, &(char){value}, 1);
}

void lap_gguf_add_string(lap_gguf *gguf, const char *key, const char *value) {
  begin_pair(gguf, key, VALUE_STRING);
  put_string(&gguf->pairs, value);
}

void lap_gguf_add_int32_array(lap_gguf *gguf, const char *key, const int32_t *values,
                              size_t count) {
  begin_array(gguf, key, VALUE_INT32, count);
  put(&gguf->pairs, values, count * sizeof *values);
}

void lap_gguf_add_float32_array(lap_gguf *gguf, const char *key, const float *values,
                                size_t count) {
  begin_array(gguf, key, VALUE_FLOAT32, count);
  put(&gguf->pairs, values, count * sizeof *values);
}

void lap_gguf_add_string_array(lap_gguf *gguf, const char *key, const char *const *values,
                               size_t count) {
  begin_array(gguf, key, VALUE_STRING, count);
  for (size_t i = 0; i < count; ++i) put_string(&gguf->pairs, values[i]);
}

/* --- tensors --- */

void lap_gguf_add_tensor(lap_gguf *gguf, const char *name, int64_t rows, int64_t columns,
                         const float *values) {
  put_string(&gguf->infos, name);
  put_uint32(&gguf->infos, rows ? 2 : 1);
  put_uint64(&gguf->infos, (uint64_t)columns); /* the dimension that varies fastest comes first */
  if (rows) put_uint64(&gguf->infos, (uint64_t)rows);
  put_uint32(&gguf->infos, TENSOR_FLOAT32);
  put_uint64(&gguf->infos, gguf->data_bytes);

  const size_t bytes = (size_t)(rows ? rows * columns : columns) * sizeof *values;
  gguf->tensors = lap_reallocate(gguf->tensors, gguf->tensor_count + 1, sizeof *gguf->tensors);
  gguf->tensors[gguf->tensor_count++] = (tensor_data){values, bytes};
  gguf->data_bytes += padded(bytes);
}

/* --- the file --- */

lap_gguf *lap_gguf_create(void) { return lap_allocate(1, sizeof(lap_gguf)); }

void lap_gguf_destroy(lap_gguf *gguf) {
  if (!gguf) return;
  free(gguf->pairs.bytes);
  free(gguf->infos.bytes);
  free(gguf->tensors);
  free(gguf);
}

/* Everything before the data, padded. */
static buffer make_header(const lap_gguf *gguf) {
  buffer header = {0};
  put(&header, "GGUF", 4);
  put_uint32(&header, LAP_GGUF_VERSION);
  put_uint64(&header, gguf->tensor_count);
  put_uint64(&header, gguf->pair_count);
  put(&header, gguf->pairs.bytes, gguf->pairs.count);
  put(&header, gguf->infos.bytes, gguf->infos.count);
  put(&header, zeros, (size_t)(padded(header.count) - header.count));
  return header;
}

static lap_code write_to(const lap_gguf *gguf, int descriptor, const char *path,
                         lap_status *status) {
  buffer header = make_header(gguf);
  lap_code code = lap_file_write_all(descriptor, path, header.bytes, header.count, status);
  free(header.bytes);
  for (uint64_t i = 0; i < gguf->tensor_count && code == LAP_OK; ++i) {
    const tensor_data *tensor = &gguf->tensors[i];
    code = lap_file_write_all(descriptor, path, tensor->values, tensor->bytes, status);
    if (code == LAP_OK)
      code = lap_file_write_all(descriptor, path, zeros,
                                (size_t)(padded(tensor->bytes) - tensor->bytes), status);
  }
  return code;
}

lap_code lap_gguf_write(const lap_gguf *gguf, const char *path, lap_status *status) {
  int descriptor;
  char *temporary;
  LAP_TRY(lap_file_open_temporary(path, &descriptor, &temporary, status));
  const lap_code code = write_to(gguf, descriptor, path, status);
  return lap_file_end_temporary(descriptor, temporary, path, code, status);
}
