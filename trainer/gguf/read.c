#include "trainer/gguf/read.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/half.h"
#include "core/lfs_pointer.h"
#include "core/memory.h"

enum {
  OLDEST_VERSION = 2,
  NEWEST_VERSION = 3,
  DEFAULT_ALIGNMENT = 32,
  LARGEST_ALIGNMENT = 1 << 20,
  LARGEST_NAME = 65535,
  SMALLEST_PAIR = 8 + 1 + 4 + 1,      /* bytes: a key of one byte, its type, a bool */
  SMALLEST_TENSOR = 8 + 1 + 4 + 4 + 8 /* a name of one byte, no dimensions, type, offset */
};

struct lap_gguf_file {
  char *path;
  FILE *stream;
  int64_t bytes; /* of the file */
  uint32_t version;
  lap_gguf_pair *pair; /* [pair_count] */
  size_t pair_count;
  lap_gguf_tensor *tensor; /* [tensor_count] */
  size_t tensor_count;
};

/* --- values behind each other, in the memory form of x86-64, which is the format's --- */

static int64_t bytes_left(const lap_gguf_file *file) { return file->bytes - ftello(file->stream); }

static lap_code take(lap_gguf_file *file, void *bytes, size_t count, lap_status *status) {
  if (fread(bytes, 1, count, file->stream) == count) return LAP_OK;
  if (ferror(file->stream)) return lap_file_fail(file->path, "be read", status);
  return lap_fail(status, LAP_DATA, "%s: ends in the middle of its header; is it the whole file?",
                  file->path);
}

static lap_code skip(lap_gguf_file *file, uint64_t count, lap_status *status) {
  if (count > (uint64_t)bytes_left(file))
    return lap_fail(status, LAP_DATA,
                    "%s: %" PRIu64 " bytes are announced where %" PRId64
                    " are left; is it the whole file?",
                    file->path, count, bytes_left(file));
  if (fseeko(file->stream, (off_t)count, SEEK_CUR) != 0)
    return lap_file_fail(file->path, "be read", status);
  return LAP_OK;
}

static lap_code take_uint32(lap_gguf_file *file, uint32_t *value, lap_status *status) {
  return take(file, value, sizeof *value, status);
}

static lap_code take_uint64(lap_gguf_file *file, uint64_t *value, lap_status *status) {
  return take(file, value, sizeof *value, status);
}

/* A string: malloc'ed, followed by a NUL. */
static lap_code take_text(lap_gguf_file *file, char **text, size_t *bytes, lap_status *status) {
  uint64_t length;
  LAP_TRY(take_uint64(file, &length, status));
  if (length > (uint64_t)bytes_left(file))
    return lap_fail(status, LAP_DATA,
                    "%s: a string of %" PRIu64 " bytes is announced where %" PRId64
                    " bytes are left; is it the whole file?",
                    file->path, length, bytes_left(file));
  *text = lap_allocate((int64_t)length + 1, 1);
  *bytes = (size_t)length;
  const lap_code code = take(file, *text, *bytes, status);
  if (code == LAP_OK) return LAP_OK;
  free(*text);
  *text = NULL;
  return code;
}

/* The name of a key or tensor. */
static lap_code take_name(lap_gguf_file *file, char **name, lap_status *status) {
  size_t bytes;
  LAP_TRY(take_text(file, name, &bytes, status));
  if (bytes > 0 && bytes <= LARGEST_NAME && !memchr(*name, 0, bytes)) return LAP_OK;
  return lap_fail(
      status, LAP_DATA, "%s: has a key or name of %zu bytes%s; expected 1 to %d, no NUL among them",
      file->path, bytes, bytes <= LARGEST_NAME && bytes ? ", with a NUL" : "", LARGEST_NAME);
}

/* --- key-value pairs --- */

enum { TYPE_TEXT = 8, TYPE_ARRAY = 9 };

static const struct {
  const char *name;
  lap_gguf_kind kind;
  size_t size; /* bytes; 0: by itself */
} value_types[] = {{"uint8", LAP_GGUF_UNSIGNED, 1},  {"int8", LAP_GGUF_SIGNED, 1},
                   {"uint16", LAP_GGUF_UNSIGNED, 2}, {"int16", LAP_GGUF_SIGNED, 2},
                   {"uint32", LAP_GGUF_UNSIGNED, 4}, {"int32", LAP_GGUF_SIGNED, 4},
                   {"float32", LAP_GGUF_REAL, 4},    {"bool", LAP_GGUF_BOOL, 1},
                   {"string", LAP_GGUF_TEXT, 0},     {"array", LAP_GGUF_ARRAY, 0},
                   {"uint64", LAP_GGUF_UNSIGNED, 8}, {"int64", LAP_GGUF_SIGNED, 8},
                   {"float64", LAP_GGUF_REAL, 8}};
enum { VALUE_TYPES = sizeof value_types / sizeof *value_types };

static lap_code take_type(lap_gguf_file *file, const char *key, uint32_t *type,
                          lap_status *status) {
  LAP_TRY(take_uint32(file, type, status));
  if (*type < VALUE_TYPES) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: key '%.200s': has a value of type %" PRIu32 "; expected 0 to %d", file->path,
                  key, *type, VALUE_TYPES - 1);
}

static lap_code skip_array(lap_gguf_file *file, lap_gguf_pair *pair, lap_status *status) {
  uint32_t type;
  LAP_TRY(take_type(file, pair->key, &type, status));
  LAP_TRY(take_uint64(file, &pair->count, status));
  pair->type = value_types[type].name;
  if (type == TYPE_ARRAY)
    return lap_fail(status, LAP_DATA,
                    "%s: key '%.200s': is an array of arrays, which the format "
                    "does not use",
                    file->path, pair->key);
  const size_t least = type == TYPE_TEXT ? sizeof(uint64_t) : value_types[type].size;
  if (pair->count > (uint64_t)bytes_left(file) / least)
    return lap_fail(status, LAP_DATA,
                    "%s: key '%.200s': %" PRIu64 " elements are announced where %" PRId64
                    " bytes are left; is it the whole file?",
                    file->path, pair->key, pair->count, bytes_left(file));
  if (type != TYPE_TEXT) return skip(file, pair->count * least, status);
  for (uint64_t i = 0; i < pair->count; ++i) {
    uint64_t length;
    LAP_TRY(take_uint64(file, &length, status));
    LAP_TRY(skip(file, length, status));
  }
  return LAP_OK;
}

static int64_t widen_signed(uint64_t bits, size_t size) {
  const int unused = 64 - 8 * (int)size;
  return (int64_t)(bits << unused) >> unused;
}

static lap_code take_value(lap_gguf_file *file, uint32_t type, lap_gguf_pair *pair,
                           lap_status *status) {
  uint64_t bits = 0;
  float single;
  const size_t size = value_types[type].size;
  LAP_TRY(take(file, &bits, size, status));
  switch (pair->kind) {
    case LAP_GGUF_SIGNED:
      pair->signed_value = widen_signed(bits, size);
      break;
    case LAP_GGUF_REAL:
      memcpy(&single, &bits, sizeof single);
      memcpy(&pair->real, &bits, sizeof pair->real);
      if (size == sizeof single) pair->real = single;
      break;
    case LAP_GGUF_BOOL:
      if (bits > 1)
        return lap_fail(status, LAP_DATA, "%s: key '%.200s': a bool is %" PRIu64, file->path,
                        pair->key, bits);
      pair->boolean = bits == 1;
      break;
    default:
      pair->unsigned_value = bits;
  }
  return LAP_OK;
}

static lap_code take_pair(lap_gguf_file *file, lap_status *status) {
  lap_gguf_pair *pair = &file->pair[file->pair_count++];
  uint32_t type;
  LAP_TRY(take_name(file, &pair->key, status));
  LAP_TRY(take_type(file, pair->key, &type, status));
  pair->kind = value_types[type].kind;
  pair->type = value_types[type].name;
  if (type == TYPE_ARRAY) return skip_array(file, pair, status);
  if (type == TYPE_TEXT) return take_text(file, &pair->text, &pair->text_bytes, status);
  return take_value(file, type, pair, status);
}

/* --- tensors --- */

/* Types by number, with elements and bytes of a block; those that llama.cpp has given up are left
 * out. */
static const struct {
  const char *name;
  int block, bytes;
} tensor_types[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},      [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},
    [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},      [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},  [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},  [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},   [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},
};
enum { TENSOR_TYPES = sizeof tensor_types / sizeof *tensor_types, F32 = 0, F16 = 1, BF16 = 30 };

static lap_code take_shape(lap_gguf_file *file, lap_gguf_tensor *t, lap_status *status) {
  uint32_t dimensions;
  LAP_TRY(take_uint32(file, &dimensions, status));
  if (dimensions > LAP_GGUF_DIMENSIONS)
    return lap_fail(status, LAP_DATA,
                    "%s: tensor '%.200s': has %" PRIu32 " dimensions; expected at most %d",
                    file->path, t->name, dimensions, LAP_GGUF_DIMENSIONS);
  t->dimensions = (int)dimensions;
  t->elements = 1;
  for (int i = t->dimensions - 1; i >= 0; --i) {
    uint64_t size;
    LAP_TRY(take_uint64(file, &size, status));
    if (size > INT64_MAX || __builtin_mul_overflow(t->elements, (int64_t)size, &t->elements))
      return lap_fail(status, LAP_DATA,
                      "%s: tensor '%.200s': its shape has more elements than can be counted",
                      file->path, t->name);
    t->shape[i] = (int64_t)size;
  }
  return LAP_OK;
}

/* Bytes of the tensor: -1 where its type is not known. */
static lap_code measure(lap_gguf_tensor *t, lap_status *status) {
  t->bytes = -1;
  if (t->type_number >= TENSOR_TYPES || !tensor_types[t->type_number].name) return LAP_OK;
  const int64_t block = tensor_types[t->type_number].block;
  const int64_t row = t->dimensions ? t->shape[t->dimensions - 1] : 1;
  t->type = tensor_types[t->type_number].name;
  t->plain = t->type_number == F32 || t->type_number == F16 || t->type_number == BF16;
  if (row % block != 0)
    return lap_fail(status, LAP_DATA,
                    "%s: tensor '%.200s': has rows of %" PRId64
                    " elements; %s needs a multiple of "
                    "%" PRId64,
                    t->file->path, t->name, row, t->type, block);
  if (__builtin_mul_overflow(t->elements / block, (int64_t)tensor_types[t->type_number].bytes,
                             &t->bytes))
    return lap_fail(status, LAP_DATA,
                    "%s: tensor '%.200s': its shape has more elements than can be counted",
                    t->file->path, t->name);
  return LAP_OK;
}

static lap_code take_tensor(lap_gguf_file *file, lap_status *status) {
  lap_gguf_tensor *t = &file->tensor[file->tensor_count++];
  uint64_t offset;
  t->file = file;
  LAP_TRY(take_name(file, &t->name, status));
  LAP_TRY(take_shape(file, t, status));
  LAP_TRY(take_uint32(file, &t->type_number, status));
  LAP_TRY(take_uint64(file, &offset, status));
  LAP_TRY(measure(t, status));
  if (offset > (uint64_t)file->bytes)
    return lap_fail(status, LAP_DATA,
                    "%s: tensor '%.200s': begins at byte %" PRIu64
                    " of the data; the file has %" PRId64 " bytes in all; is it the whole file?",
                    file->path, t->name, offset, file->bytes);
  t->offset = (int64_t)offset;
  return LAP_OK;
}

static int by_offset(const void *a, const void *b) {
  const lap_gguf_tensor *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return (x->bytes > 0) - (y->bytes > 0); /* empty tensors stand before what follows them */
}

static lap_code find_alignment(const lap_gguf_file *file, int64_t *alignment, lap_status *status) {
  const lap_gguf_pair *pair = lap_gguf_find(file, "general.alignment");
  *alignment = DEFAULT_ALIGNMENT;
  if (!pair) return LAP_OK;
  const uint64_t value = pair->kind == LAP_GGUF_UNSIGNED ? pair->unsigned_value : 0;
  if (value == 0 || value > LARGEST_ALIGNMENT || (value & (value - 1)) != 0)
    return lap_fail(status, LAP_DATA,
                    "%s: general.alignment: expected a power of two up to %d, as uint32",
                    file->path, LARGEST_ALIGNMENT);
  *alignment = (int64_t)value;
  return LAP_OK;
}

/* Each tensor inside the file and apart from the others. Turns offsets in the data into offsets in
 * the file. */
static lap_code place_tensors(lap_gguf_file *file, lap_status *status) {
  int64_t alignment, next;
  LAP_TRY(find_alignment(file, &alignment, status));
  const int64_t begin = (ftello(file->stream) + alignment - 1) / alignment * alignment;
  if (file->tensor_count) qsort(file->tensor, file->tensor_count, sizeof *file->tensor, by_offset);
  next = begin;
  for (size_t i = 0; i < file->tensor_count; ++i) {
    lap_gguf_tensor *t = &file->tensor[i];
    if (t->offset % alignment != 0)
      return lap_fail(status, LAP_DATA,
                      "%s: tensor '%.200s': begins at byte %" PRId64
                      " of the data; expected a multiple of %" PRId64,
                      file->path, t->name, t->offset, alignment);
    t->offset += begin;
    if (t->offset < next)
      return lap_fail(status, LAP_DATA, "%s: tensor '%.200s': begins inside the tensor before it",
                      file->path, t->name);
    if (t->bytes > 0 && t->bytes > file->bytes - t->offset)
      return lap_fail(status, LAP_DATA,
                      "%s: tensor '%.200s': has %" PRId64 " bytes, of which the file has %" PRId64
                      "; is it the whole file?",
                      file->path, t->name, t->bytes,
                      file->bytes > t->offset ? file->bytes - t->offset : 0);
    next = t->offset + (t->bytes > 0 ? t->bytes : 0);
  }
  return LAP_OK;
}

/* --- the file --- */

static lap_code check_version(const lap_gguf_file *file, lap_status *status) {
  if (file->version >= OLDEST_VERSION && file->version <= NEWEST_VERSION) return LAP_OK;
  const uint32_t turned = __builtin_bswap32(file->version);
  if (turned >= OLDEST_VERSION && turned <= NEWEST_VERSION)
    return lap_fail(status, LAP_DATA, "%s: is a big-endian GGUF file; lapidary reads little-endian",
                    file->path);
  return lap_fail(status, LAP_DATA, "%s: is GGUF of version %" PRIu32 "; lapidary reads %d and %d",
                  file->path, file->version, OLDEST_VERSION, NEWEST_VERSION);
}

static lap_code check_count(const lap_gguf_file *file, const char *what, uint64_t count,
                            int64_t smallest, lap_status *status) {
  if (count <= (uint64_t)(bytes_left(file) / smallest)) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: announces %" PRIu64 " %s; the file has %" PRId64
                  " bytes; is it the whole file?",
                  file->path, count, what, file->bytes);
}

static lap_code take_magic(lap_gguf_file *file, lap_status *status) {
  static const char magic[4] = {'G', 'G', 'U', 'F'};
  char head[64];
  const size_t bytes = fread(head, 1, sizeof head, file->stream);
  if (lap_refuse_lfs_pointer(head, bytes, status) != LAP_OK)
    return lap_fail_context(status, "%s", file->path);
  rewind(file->stream);
  LAP_TRY(take(file, head, sizeof magic, status));
  if (memcmp(head, magic, sizeof magic) == 0) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: does not begin with GGUF", file->path);
}

static lap_code read_header(lap_gguf_file *file, lap_status *status) {
  uint64_t tensors, pairs;
  LAP_TRY(take_magic(file, status));
  LAP_TRY(take_uint32(file, &file->version, status));
  LAP_TRY(check_version(file, status));
  LAP_TRY(take_uint64(file, &tensors, status));
  LAP_TRY(take_uint64(file, &pairs, status));
  LAP_TRY(check_count(file, "keys", pairs, SMALLEST_PAIR, status));
  LAP_TRY(check_count(file, "tensors", tensors, SMALLEST_TENSOR, status));
  file->pair = lap_allocate((int64_t)pairs, sizeof *file->pair);
  file->tensor = lap_allocate((int64_t)tensors, sizeof *file->tensor);
  for (uint64_t i = 0; i < pairs; ++i) LAP_TRY(take_pair(file, status));
  for (uint64_t i = 0; i < tensors; ++i) LAP_TRY(take_tensor(file, status));
  return place_tensors(file, status);
}

static lap_code open_stream(lap_gguf_file *file, lap_status *status) {
  /* O_NONBLOCK: a named pipe without a writer is refused below instead of waited for. */
  const int descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return lap_file_fail(file->path, "be opened", status);
  file->stream = fdopen(descriptor, "r");
  struct stat facts;
  if (fstat(descriptor, &facts) != 0) return lap_file_fail(file->path, "be examined", status);
  if (!S_ISREG(facts.st_mode))
    return lap_fail(status, LAP_DATA, "%s: expected a regular file", file->path);
  file->bytes = facts.st_size;
  return LAP_OK;
}

lap_code lap_gguf_open(const char *path, lap_gguf_file **file, lap_status *status) {
  *file = NULL;
  lap_gguf_file *opened = lap_allocate(1, sizeof *opened);
  opened->path = lap_copy_string(path);
  lap_code code = open_stream(opened, status);
  if (code == LAP_OK) code = read_header(opened, status);
  if (code == LAP_OK)
    *file = opened;
  else
    lap_gguf_close(opened);
  return code;
}

void lap_gguf_close(lap_gguf_file *file) {
  if (!file) return;
  for (size_t i = 0; i < file->pair_count; ++i) {
    free(file->pair[i].key);
    free(file->pair[i].text);
  }
  for (size_t i = 0; i < file->tensor_count; ++i) free(file->tensor[i].name);
  free(file->pair);
  free(file->tensor);
  if (file->stream) (void)fclose(file->stream);
  free(file->path);
  free(file);
}

uint32_t lap_gguf_version(const lap_gguf_file *file) { return file->version; }

const lap_gguf_pair *lap_gguf_pairs(const lap_gguf_file *file, size_t *count) {
  *count = file->pair_count;
  return file->pair;
}

const lap_gguf_pair *lap_gguf_find(const lap_gguf_file *file, const char *key) {
  for (size_t i = 0; i < file->pair_count; ++i)
    if (strcmp(file->pair[i].key, key) == 0) return &file->pair[i];
  return NULL;
}

const lap_gguf_tensor *lap_gguf_tensors(const lap_gguf_file *file, size_t *count) {
  *count = file->tensor_count;
  return file->tensor;
}

/* --- values --- */

lap_code lap_gguf_read_float(const lap_gguf_tensor *tensor, int64_t begin, int64_t count,
                             float *values, lap_status *status) {
  assert(tensor->plain && begin >= 0 && count >= 0 && begin + count <= tensor->elements);
  FILE *stream = tensor->file->stream;
  const int64_t size = tensor_types[tensor->type_number].bytes;
  uint16_t *packed = size == sizeof *packed ? lap_allocate(count, sizeof *packed) : NULL;
  void *to = packed ? (void *)packed : values;
  lap_code code = LAP_OK;
  if (fseeko(stream, tensor->offset + begin * size, SEEK_SET) != 0 ||
      fread(to, (size_t)size, (size_t)count, stream) != (size_t)count)
    code = lap_fail(status, LAP_DATA, "%s: tensor '%.200s': cannot be read: %s", tensor->file->path,
                    tensor->name, ferror(stream) ? strerror(errno) : "the file became shorter");
  else if (tensor->type_number == F16)
    lap_float16_unpack(packed, count, values);
  else if (tensor->type_number == BF16)
    lap_bfloat16_unpack(packed, count, values);
  free(packed);
  return code;
}
