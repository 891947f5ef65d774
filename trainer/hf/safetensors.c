#include "trainer/hf/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/half.h"
#include "core/json.h"
#include "core/lfs_pointer.h"
#include "core/memory.h"

enum { LENGTH_BYTES = 8, LARGEST_HEADER = 100000000 };

struct lap_safetensors {
  char *path;
  int descriptor;
  int64_t bytes;                  /* of the file */
  json_t *header;                 /* owns the tensors' names */
  lap_safetensors_tensor *tensor; /* [count], by name */
  size_t count;
};

static const struct {
  const char *name;
  size_t size;
} dtypes[LAP_DTYPES] = {
    [LAP_DTYPE_F64] = {"F64", 8},         [LAP_DTYPE_F32] = {"F32", 4},
    [LAP_DTYPE_F16] = {"F16", 2},         [LAP_DTYPE_BF16] = {"BF16", 2},
    [LAP_DTYPE_I64] = {"I64", 8},         [LAP_DTYPE_I32] = {"I32", 4},
    [LAP_DTYPE_I16] = {"I16", 2},         [LAP_DTYPE_I8] = {"I8", 1},
    [LAP_DTYPE_U64] = {"U64", 8},         [LAP_DTYPE_U32] = {"U32", 4},
    [LAP_DTYPE_U16] = {"U16", 2},         [LAP_DTYPE_U8] = {"U8", 1},
    [LAP_DTYPE_BOOL] = {"BOOL", 1},       [LAP_DTYPE_F8_E4M3] = {"F8_E4M3", 1},
    [LAP_DTYPE_F8_E5M2] = {"F8_E5M2", 1}, [LAP_DTYPE_F8_E8M0] = {"F8_E8M0", 1},
    [LAP_DTYPE_C64] = {"C64", 8},
};

const char *lap_dtype_name(lap_dtype dtype) { return dtypes[dtype].name; }
size_t lap_dtype_size(lap_dtype dtype) { return dtypes[dtype].size; }

/* --- the header --- */

static lap_code read_at(const lap_safetensors *file, int64_t offset, void *bytes, size_t count,
                        lap_status *status) {
  char *next = bytes;
  while (count > 0) {
    const ssize_t got = pread(file->descriptor, next, count, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return lap_fail(status, LAP_DATA, "%s: cannot be read: %s", file->path, strerror(errno));
    if (got == 0)
      return lap_fail(status, LAP_DATA, "%s: became shorter while it was read", file->path);
    next += got;
    offset += got;
    count -= (size_t)got;
  }
  return LAP_OK;
}

static bool find_dtype(const char *name, lap_dtype *dtype) {
  for (int i = 0; i < LAP_DTYPES; ++i)
    if (strcmp(dtypes[i].name, name) == 0) {
      *dtype = (lap_dtype)i;
      return true;
    }
  return false;
}

static lap_code parse_shape(const json_t *shape, lap_safetensors_tensor *tensor,
                            lap_status *status) {
  if (!json_is_array(shape) || json_array_size(shape) > LAP_SAFETENSORS_DIMENSIONS)
    return lap_fail(status, LAP_DATA, "expected a shape of at most %d dimensions",
                    LAP_SAFETENSORS_DIMENSIONS);
  tensor->dimensions = (int)json_array_size(shape);
  tensor->elements = 1;
  for (int i = 0; i < tensor->dimensions; ++i) {
    const json_t *size = json_array_get(shape, (size_t)i);
    tensor->shape[i] = json_integer_value(size);
    if (!json_is_integer(size) || tensor->shape[i] < 0)
      return lap_fail(status, LAP_DATA, "dimension %d of its shape is not a count", i);
    if (__builtin_mul_overflow(tensor->elements, tensor->shape[i], &tensor->elements))
      return lap_fail(status, LAP_DATA, "its shape has more elements than can be counted");
  }
  return LAP_OK;
}

/* The byte range [begin, end) within the data, which has `data_bytes`; offset becomes begin. */
static lap_code parse_offsets(const json_t *offsets, int64_t data_bytes,
                              lap_safetensors_tensor *tensor, lap_status *status) {
  const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
    return lap_fail(status, LAP_DATA, "expected data_offsets of two integers");
  const int64_t begin = json_integer_value(first), end = json_integer_value(last);
  if (begin < 0 || end < begin || end > data_bytes)
    return lap_fail(status, LAP_DATA,
                    "its data_offsets are [%" PRId64 ", %" PRId64 "]; the file has %" PRId64
                    " bytes of data",
                    begin, end, data_bytes);
  int64_t bytes;
  if (__builtin_mul_overflow(tensor->elements, (int64_t)lap_dtype_size(tensor->dtype), &bytes) ||
      bytes != end - begin)
    return lap_fail(status, LAP_DATA,
                    "its data_offsets span %" PRId64 " bytes; %" PRId64
                    " elements of %s do not have that size",
                    end - begin, tensor->elements, lap_dtype_name(tensor->dtype));
  tensor->offset = begin;
  return LAP_OK;
}

static lap_code parse_tensor(const json_t *entry, int64_t data_bytes,
                             lap_safetensors_tensor *tensor, lap_status *status) {
  const json_t *shape = json_object_get(entry, "shape");
  const json_t *offsets = json_object_get(entry, "data_offsets");
  const char *dtype = json_string_value(json_object_get(entry, "dtype"));
  if (!dtype || !shape || !offsets || json_object_size(entry) != 3)
    return lap_fail(status, LAP_DATA, "expected exactly dtype, shape and data_offsets");
  if (!find_dtype(dtype, &tensor->dtype))
    return lap_fail(status, LAP_DATA,
                    "unknown dtype '%.20s'; known are F64, F32, F16, BF16, I64, I32, I16, I8, U64, "
                    "U32, U16, U8, BOOL, F8_E4M3, F8_E5M2, F8_E8M0 and C64",
                    dtype);
  LAP_TRY(parse_shape(shape, tensor, status));
  return parse_offsets(offsets, data_bytes, tensor, status);
}

static lap_code check_metadata(const json_t *metadata, lap_status *status) {
  const char *key;
  json_t *value;
  bool texts = json_is_object(metadata);
  json_object_foreach((json_t *)metadata, key, value) texts = texts && json_is_string(value);
  if (texts) return LAP_OK;
  return lap_fail(status, LAP_DATA, "expected an object of strings");
}

static int by_offset(const void *a, const void *b) {
  const lap_safetensors_tensor *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return (x->elements > 0) - (y->elements > 0); /* empty tensors stand before what follows them */
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const lap_safetensors_tensor *)a)->name,
                ((const lap_safetensors_tensor *)b)->name);
}

/* Each byte of the data belongs to exactly one tensor. Turns offsets in the data into offsets in
 * the file. */
static lap_code check_cover(lap_safetensors *file, int64_t data_begin, lap_status *status) {
  int64_t next = 0;
  qsort(file->tensor, file->count, sizeof *file->tensor, by_offset);
  for (size_t i = 0; i < file->count; ++i) {
    lap_safetensors_tensor *tensor = &file->tensor[i];
    if (tensor->offset != next)
      return lap_fail(status, LAP_DATA,
                      "%s: tensor '%.200s' begins at byte %" PRId64
                      " of the data; expected %" PRId64 ", where the tensor before it ends",
                      file->path, tensor->name, tensor->offset, next);
    next += tensor->elements * (int64_t)lap_dtype_size(tensor->dtype);
    tensor->offset += data_begin;
  }
  if (next == file->bytes - data_begin) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: has %" PRId64 " bytes of data, of which its tensors own %" PRId64
                  "; is it "
                  "the whole file?",
                  file->path, file->bytes - data_begin, next);
}

static lap_code parse_header(lap_safetensors *file, int64_t data_begin, lap_status *status) {
  const char *name;
  json_t *entry;
  file->tensor = lap_allocate(json_object_size(file->header), sizeof *file->tensor);
  json_object_foreach(file->header, name, entry) {
    lap_code code;
    if (strcmp(name, "__metadata__") == 0) {
      code = check_metadata(entry, status);
    } else {
      lap_safetensors_tensor *tensor = &file->tensor[file->count++];
      *tensor = (lap_safetensors_tensor){.name = name, .file = file};
      code = parse_tensor(entry, file->bytes - data_begin, tensor, status);
    }
    if (code != LAP_OK) return lap_fail_context(status, "%s: tensor '%.200s'", file->path, name);
  }
  LAP_TRY(check_cover(file, data_begin, status));
  qsort(file->tensor, file->count, sizeof *file->tensor, by_name);
  return LAP_OK;
}

static lap_code parse_json(lap_safetensors *file, const char *text, size_t bytes,
                           lap_status *status) {
  json_error_t error;
  /* The format allows no blanks before the brace. */
  if (bytes == 0 || *text != '{')
    return lap_fail(status, LAP_DATA, "%s: its header does not begin with {: no safetensors file",
                    file->path);
  const size_t values = lap_json_values(text, bytes);
  if (values > LAP_JSON_MOST_VALUES)
    return lap_fail(status, LAP_DATA,
                    "%s: its header has %zu values; expected at most %d, as many as 200,000 "
                    "tensors have",
                    file->path, values, LAP_JSON_MOST_VALUES);
  file->header = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
  if (file->header) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: its header is not valid: %s (byte %d)", file->path,
                  error.text, error.position);
}

static lap_code refuse_lfs_pointer(const lap_safetensors *file, lap_status *status) {
  char head[64];
  const size_t bytes = file->bytes < (int64_t)sizeof head ? (size_t)file->bytes : sizeof head;
  LAP_TRY(read_at(file, 0, head, bytes, status));
  const lap_code code = lap_refuse_lfs_pointer(head, bytes, status);
  return code == LAP_OK ? code : lap_fail_context(status, "%s", file->path);
}

static lap_code read_header(lap_safetensors *file, lap_status *status) {
  unsigned char length[LENGTH_BYTES];
  if (file->bytes < LENGTH_BYTES)
    return lap_fail(status, LAP_DATA, "%s: is %" PRId64 " bytes long: no safetensors file",
                    file->path, file->bytes);
  LAP_TRY(read_at(file, 0, length, sizeof length, status));
  LAP_TRY(refuse_lfs_pointer(file, status));
  uint64_t bytes = 0;
  for (int i = LENGTH_BYTES - 1; i >= 0; --i) bytes = bytes << 8 | length[i];
  if (bytes > LARGEST_HEADER || (int64_t)bytes > file->bytes - LENGTH_BYTES)
    return lap_fail(status, LAP_DATA,
                    "%s: its first 8 bytes announce a header of %" PRIu64
                    " bytes; the file has %" PRId64 " and a header at most %d: no safetensors file",
                    file->path, bytes, file->bytes, LARGEST_HEADER);
  char *text = lap_allocate(bytes, 1);
  lap_code code = read_at(file, LENGTH_BYTES, text, bytes, status);
  if (code == LAP_OK) code = parse_json(file, text, bytes, status);
  free(text);
  if (code != LAP_OK) return code;
  return parse_header(file, LENGTH_BYTES + (int64_t)bytes, status);
}

lap_code lap_safetensors_open(const char *path, lap_safetensors **file, lap_status *status) {
  *file = NULL;
  /* O_NONBLOCK: a named pipe without a writer is refused below instead of waited for. */
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  lap_safetensors *opened = lap_allocate(1, sizeof *opened);
  opened->path = lap_copy_string(path);
  opened->descriptor = descriptor;
  struct stat facts;
  lap_code code;
  if (fstat(descriptor, &facts) != 0) {
    code = lap_fail(status, LAP_DATA, "%s: cannot be examined: %s", path, strerror(errno));
  } else if (!S_ISREG(facts.st_mode)) {
    code = lap_fail(status, LAP_DATA, "%s: expected a regular file", path);
  } else {
    opened->bytes = facts.st_size;
    code = read_header(opened, status);
  }
  if (code != LAP_OK)
    lap_safetensors_close(opened);
  else
    *file = opened;
  return code;
}

void lap_safetensors_close(lap_safetensors *file) {
  if (!file) return;
  close(file->descriptor);
  json_decref(file->header);
  free(file->tensor);
  free(file->path);
  free(file);
}

const char *lap_safetensors_path(const lap_safetensors *file) { return file->path; }

const lap_safetensors_tensor *lap_safetensors_tensors(const lap_safetensors *file, size_t *count) {
  *count = file->count;
  return file->tensor;
}

const lap_safetensors_tensor *lap_safetensors_find(const lap_safetensors *file, const char *name) {
  const lap_safetensors_tensor key = {.name = name};
  return bsearch(&key, file->tensor, file->count, sizeof *file->tensor, by_name);
}

enum { SHAPE_TEXT = 21 * LAP_SAFETENSORS_DIMENSIONS + 4 };

static const char *print_shape(int dimensions, const int64_t *shape, char text[SHAPE_TEXT]) {
  size_t length = (size_t)snprintf(text, SHAPE_TEXT, "[");
  for (int i = 0; i < dimensions; ++i)
    length +=
        (size_t)snprintf(text + length, SHAPE_TEXT - length, "%s%" PRId64, i ? ", " : "", shape[i]);
  snprintf(text + length, SHAPE_TEXT - length, "]");
  return text;
}

lap_code lap_safetensors_check_shape(const lap_safetensors_tensor *tensor, int dimensions,
                                     const int64_t *shape, lap_status *status) {
  bool equal = tensor->dimensions == dimensions;
  for (int i = 0; equal && i < dimensions; ++i) equal = tensor->shape[i] == shape[i];
  if (equal) return LAP_OK;
  char expected[SHAPE_TEXT], found[SHAPE_TEXT];
  return lap_fail(status, LAP_DATA, "%s: tensor '%.200s': expected shape %s, found %s",
                  tensor->file->path, tensor->name, print_shape(dimensions, shape, expected),
                  print_shape(tensor->dimensions, tensor->shape, found));
}

/* --- values --- */

enum { CHUNK_ELEMENTS = 8192, LARGEST_ELEMENT = 8 };

static bool is_real(lap_dtype dtype) {
  return dtype == LAP_DTYPE_F64 || dtype == LAP_DTYPE_F32 || dtype == LAP_DTYPE_F16 ||
         dtype == LAP_DTYPE_BF16;
}

static bool is_integer(lap_dtype dtype) { return dtype >= LAP_DTYPE_I64 && dtype <= LAP_DTYPE_U8; }

/* What int64_t cannot hold becomes the largest that it can. */
static int64_t integer_at(lap_dtype dtype, const unsigned char *bytes) {
  int64_t wide;
  uint64_t wide_unsigned;
  int32_t word;
  uint32_t word_unsigned;
  int16_t half;
  uint16_t half_unsigned;
  switch (dtype) {
    case LAP_DTYPE_I64:
      memcpy(&wide, bytes, sizeof wide);
      return wide;
    case LAP_DTYPE_I32:
      memcpy(&word, bytes, sizeof word);
      return word;
    case LAP_DTYPE_I16:
      memcpy(&half, bytes, sizeof half);
      return half;
    case LAP_DTYPE_U64:
      memcpy(&wide_unsigned, bytes, sizeof wide_unsigned);
      return wide_unsigned > INT64_MAX ? INT64_MAX : (int64_t)wide_unsigned;
    case LAP_DTYPE_U32:
      memcpy(&word_unsigned, bytes, sizeof word_unsigned);
      return word_unsigned;
    case LAP_DTYPE_U16:
      memcpy(&half_unsigned, bytes, sizeof half_unsigned);
      return half_unsigned;
    case LAP_DTYPE_I8:
      return (int8_t)*bytes; /* NOLINT(clang-analyzer-core.uninitialized.UndefReturn): was read */
    default:
      return *bytes; /* NOLINT(clang-analyzer-core.uninitialized.UndefReturn): was read */
  }
}

/* Elements as they lie in the file. */
static lap_code read_elements(const lap_safetensors_tensor *tensor, int64_t begin, int64_t count,
                              void *elements, lap_status *status) {
  const int64_t size = (int64_t)lap_dtype_size(tensor->dtype);
  return read_at(tensor->file, tensor->offset + begin * size, elements, (size_t)(count * size),
                 status);
}

/* At most CHUNK_ELEMENTS of F32, F16 or BF16, exactly. */
static lap_code read_narrow(const lap_safetensors_tensor *tensor, int64_t begin, int64_t count,
                            float *values, lap_status *status) {
  if (tensor->dtype == LAP_DTYPE_F32) return read_elements(tensor, begin, count, values, status);
  uint16_t packed[CHUNK_ELEMENTS];
  LAP_TRY(read_elements(tensor, begin, count, packed, status));
  if (tensor->dtype == LAP_DTYPE_F16)
    lap_float16_unpack(packed, count, values);
  else
    lap_bfloat16_unpack(packed, count, values);
  return LAP_OK;
}

static lap_code wrong_kind(const lap_safetensors_tensor *tensor, const char *expected,
                           lap_status *status) {
  return lap_fail(status, LAP_DATA, "%s: tensor '%.200s': expected %s, found dtype %s",
                  tensor->file->path, tensor->name, expected, lap_dtype_name(tensor->dtype));
}

static int64_t chunk_of(int64_t rest) { return rest < CHUNK_ELEMENTS ? rest : CHUNK_ELEMENTS; }

lap_code lap_safetensors_read_float(const lap_safetensors_tensor *tensor, int64_t begin,
                                    int64_t count, float *values, lap_status *status) {
  assert(begin >= 0 && count >= 0 && begin + count <= tensor->elements);
  if (!is_real(tensor->dtype)) return wrong_kind(tensor, "floating-point numbers", status);
  if (tensor->dtype == LAP_DTYPE_F32) /* as it lies there: what is most of a model's gigabytes */
    return read_elements(tensor, begin, count, values, status);
  double wide[CHUNK_ELEMENTS];
  for (int64_t done = 0; done < count; done += chunk_of(count - done)) {
    const int64_t chunk = chunk_of(count - done);
    if (tensor->dtype != LAP_DTYPE_F64) {
      LAP_TRY(read_narrow(tensor, begin + done, chunk, values + done, status));
      continue;
    }
    LAP_TRY(read_elements(tensor, begin + done, chunk, wide, status));
    for (int64_t i = 0; i < chunk; ++i) values[done + i] = (float)wide[i];
  }
  return LAP_OK;
}

lap_code lap_safetensors_read_double(const lap_safetensors_tensor *tensor, int64_t begin,
                                     int64_t count, double *values, lap_status *status) {
  assert(begin >= 0 && count >= 0 && begin + count <= tensor->elements);
  if (!is_real(tensor->dtype)) return wrong_kind(tensor, "floating-point numbers", status);
  if (tensor->dtype == LAP_DTYPE_F64) return read_elements(tensor, begin, count, values, status);
  float narrow[CHUNK_ELEMENTS];
  for (int64_t done = 0; done < count; done += chunk_of(count - done)) {
    const int64_t chunk = chunk_of(count - done);
    LAP_TRY(read_narrow(tensor, begin + done, chunk, narrow, status));
    for (int64_t i = 0; i < chunk; ++i) values[done + i] = (double)narrow[i];
  }
  return LAP_OK;
}

lap_code lap_safetensors_read_int32(const lap_safetensors_tensor *tensor, int64_t begin,
                                    int64_t count, int32_t *values, lap_status *status) {
  assert(begin >= 0 && count >= 0 && begin + count <= tensor->elements);
  if (!is_integer(tensor->dtype)) return wrong_kind(tensor, "integers", status);
  unsigned char bytes[CHUNK_ELEMENTS * LARGEST_ELEMENT];
  for (int64_t done = 0; done < count; done += chunk_of(count - done)) {
    const int64_t chunk = chunk_of(count - done);
    LAP_TRY(read_elements(tensor, begin + done, chunk, bytes, status));
    for (int64_t i = 0; i < chunk; ++i) {
      const int64_t value =
          integer_at(tensor->dtype, bytes + (size_t)i * lap_dtype_size(tensor->dtype));
      if (value < INT32_MIN || value > INT32_MAX)
        return lap_fail(status, LAP_DATA,
                        "%s: tensor '%.200s': element %" PRId64 " is %" PRId64
                        ", which does not fit 32 bits",
                        tensor->file->path, tensor->name, begin + done + i, value);
      values[done + i] = (int32_t)value;
    }
  }
  return LAP_OK;
}
