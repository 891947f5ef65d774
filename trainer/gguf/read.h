/* read: GGUF files, the format of llama.cpp, as anybody may have written them: versions 2 and 3.
 *
 * Opening reads and checks everything before the data: key-value pairs, names, shapes, and that
 * each tensor lies inside the file, at a multiple of the file's alignment, apart from the others.
 * Values are read by ranges of elements. There is no library for it: llama.cpp's own is not
 * packaged for Debian 12.
 *
 * Whatever the bytes, opening and reading end in a value or in LAP_DATA naming file and key or
 * tensor; memory stays in proportion to what is really there.
 *
 * Not collective. A file belongs to one thread.
 */
#ifndef LAP_TRAINER_GGUF_READ_H
#define LAP_TRAINER_GGUF_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef enum {
  LAP_GGUF_UNSIGNED, /* of 8 to 64 bits */
  LAP_GGUF_SIGNED,   /* of 8 to 64 bits */
  LAP_GGUF_REAL,     /* float or double */
  LAP_GGUF_BOOL,
  LAP_GGUF_TEXT,
  LAP_GGUF_ARRAY /* its elements are checked and passed over */
} lap_gguf_kind;

typedef struct {
  char *key; /* as it stands in the file: any bytes but NUL */
  lap_gguf_kind kind;
  const char *type; /* "uint32"; of an array: its elements' */
  union {
    uint64_t unsigned_value, count; /* of an array: its elements */
    int64_t signed_value;
    double real;
    bool boolean;
  };
  char *text; /* [text_bytes], followed by a NUL; NULL: none */
  size_t text_bytes;
} lap_gguf_pair;

enum { LAP_GGUF_DIMENSIONS = 4 };

typedef struct lap_gguf_file lap_gguf_file;

typedef struct {
  char *name;       /* any bytes but NUL */
  const char *type; /* "F32", "Q4_K"; NULL: a type that is not known, whose bytes are not either */
  uint32_t type_number;
  int dimensions;
  int64_t shape[LAP_GGUF_DIMENSIONS]; /* rows first, as in PyTorch; reversed in the file */
  int64_t elements;
  int64_t offset; /* of the first byte in the file */
  int64_t bytes;  /* -1: not known */
  bool plain;     /* F32, F16 or BF16: lap_gguf_read_float reads it */
  const lap_gguf_file *file;
} lap_gguf_tensor;

/* Opens and checks a file; *file is the caller's, NULL on failure. */
lap_code lap_gguf_open(const char *path, lap_gguf_file **file, lap_status *status);
void lap_gguf_close(lap_gguf_file *file);

uint32_t lap_gguf_version(const lap_gguf_file *file);
/* In the order of the file; they live as long as it is open. */
const lap_gguf_pair *lap_gguf_pairs(const lap_gguf_file *file, size_t *count);
/* The first of this name; NULL where there is none. */
const lap_gguf_pair *lap_gguf_find(const lap_gguf_file *file, const char *key);
/* In the order of their data. */
const lap_gguf_tensor *lap_gguf_tensors(const lap_gguf_file *file, size_t *count);

/* Elements [begin, begin + count) of a plain tensor, converted exactly. */
lap_code lap_gguf_read_float(const lap_gguf_tensor *tensor, int64_t begin, int64_t count,
                             float *values, lap_status *status);

#endif
