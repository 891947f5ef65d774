/* safetensors: the file format in which Hugging Face keeps tensors.
 *
 * A file is an 8-byte little-endian header length, a JSON header that gives each tensor's dtype,
 * shape and byte range, and the data: row-major, little-endian, each byte owned by exactly one
 * tensor. Opening reads and checks the header alone; values are read by ranges of elements, so that
 * a model larger than memory can be read piece by piece. Tensors are found by name and know their
 * file, so that a caller need not care which of several files holds a tensor.
 *
 * Whatever the bytes, opening and reading end in a value or in LAP_DATA naming file and tensor;
 * memory stays in proportion to the header that is really there: at most 100 MB, the format's own
 * limit, and 2 Mi values.
 *
 * Not collective. A file belongs to one thread.
 */
#ifndef LAP_TRAINER_HF_SAFETENSORS_H
#define LAP_TRAINER_HF_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef enum {
  LAP_DTYPE_F64,
  LAP_DTYPE_F32,
  LAP_DTYPE_F16,
  LAP_DTYPE_BF16,
  LAP_DTYPE_I64,
  LAP_DTYPE_I32,
  LAP_DTYPE_I16,
  LAP_DTYPE_I8,
  LAP_DTYPE_U64,
  LAP_DTYPE_U32,
  LAP_DTYPE_U16,
  LAP_DTYPE_U8,
  LAP_DTYPE_BOOL,
  LAP_DTYPE_F8_E4M3, /* from here on: known by size, their values are not read */
  LAP_DTYPE_F8_E5M2,
  LAP_DTYPE_F8_E8M0,
  LAP_DTYPE_C64,
  LAP_DTYPES
} lap_dtype;

const char *lap_dtype_name(lap_dtype dtype); /* as in the header: "F32" */
size_t lap_dtype_size(lap_dtype dtype);      /* bytes of an element */

enum { LAP_SAFETENSORS_DIMENSIONS = 8 };

typedef struct lap_safetensors lap_safetensors;

typedef struct {
  const char *name;
  lap_dtype dtype;
  int dimensions; /* 0: a scalar, one element */
  int64_t shape[LAP_SAFETENSORS_DIMENSIONS];
  int64_t elements;
  int64_t offset; /* of the first byte in the file */
  const lap_safetensors *file;
} lap_safetensors_tensor;

/* Opens and checks a file; *file is the caller's, NULL on failure. */
lap_code lap_safetensors_open(const char *path, lap_safetensors **file, lap_status *status);
void lap_safetensors_close(lap_safetensors *file);

const char *lap_safetensors_path(const lap_safetensors *file);
/* All tensors in byte order of their names; they live as long as the file is open. */
const lap_safetensors_tensor *lap_safetensors_tensors(const lap_safetensors *file, size_t *count);
/* NULL where there is no such tensor. */
const lap_safetensors_tensor *lap_safetensors_find(const lap_safetensors *file, const char *name);

/* LAP_DATA naming both shapes unless the tensor has shape [dimensions]. */
lap_code lap_safetensors_check_shape(const lap_safetensors_tensor *tensor, int dimensions,
                                     const int64_t *shape, lap_status *status);

/* Elements [begin, begin + count) of a tensor, converted. To float: from F32, F16 and BF16 exactly,
 * from F64 rounded once; to double: exactly from all four; to int32: from the integer types, a
 * value that does not fit is refused. LAP_DATA for another dtype, or where the file cannot be read.
 */
lap_code lap_safetensors_read_float(const lap_safetensors_tensor *tensor, int64_t begin,
                                    int64_t count, float *values, lap_status *status);
lap_code lap_safetensors_read_double(const lap_safetensors_tensor *tensor, int64_t begin,
                                     int64_t count, double *values, lap_status *status);
lap_code lap_safetensors_read_int32(const lap_safetensors_tensor *tensor, int64_t begin,
                                    int64_t count, int32_t *values, lap_status *status);

/* A tensor to be written; nothing here is owned. */
typedef struct {
  const char *name; /* UTF-8 */
  lap_dtype dtype;
  int dimensions;
  int64_t shape[LAP_SAFETENSORS_DIMENSIONS];
  const void *values; /* in the memory form of dtype */
} lap_safetensors_source;

/* Writes tensors [count], whose names differ, as the file `path`: larger dtypes first, so that all
 * are aligned, then by name. The file appears whole or not at all. LAP_DATA with the system's
 * reason. */
lap_code lap_safetensors_write(const char *path, const lap_safetensors_source *tensors,
                               size_t count, lap_status *status);

#endif
