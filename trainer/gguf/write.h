/* write: the file format of llama.cpp and the programs around it, GGUF version 3, written.
 *
 * A file is a header (magic, version, counts), key-value pairs, one info for each tensor, and the
 * data, each tensor at a multiple of 32 bytes; all little-endian. What the keys mean is the
 * caller's business. Keys and names differ, and are not checked to.
 *
 * Not collective. A file under construction belongs to one thread.
 */
#ifndef LAP_TRAINER_GGUF_WRITE_H
#define LAP_TRAINER_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { LAP_GGUF_VERSION = 3, LAP_GGUF_ALIGNMENT = 32 };

typedef struct lap_gguf lap_gguf;
/* An empty file in memory; what is added is in the file in the order in which it was added. */
lap_gguf *lap_gguf_create(void);
void lap_gguf_destroy(lap_gguf *gguf);

/* Key-value pairs. All texts and values are copied. */
void lap_gguf_add_uint32(lap_gguf *gguf, const char *key, uint32_t value);
void lap_gguf_add_float32(lap_gguf *gguf, const char *key, float value);
void lap_gguf_add_bool(lap_gguf *gguf, const char *key, bool value);
void lap_gguf_add_string(lap_gguf *gguf, const char *key, const char *value);
void lap_gguf_add_int32_array(lap_gguf *gguf, const char *key, const int32_t *values, size_t count);
void lap_gguf_add_float32_array(lap_gguf *gguf, const char *key, const float *values, size_t count);
void lap_gguf_add_string_array(lap_gguf *gguf, const char *key, const char *const *values,
                               size_t count);

/* A tensor of float32 `values` [rows, columns], row-major; a vector [columns] where rows is 0. The
 * values are not copied: they must live until the file is written. */
void lap_gguf_add_tensor(lap_gguf *gguf, const char *name, int64_t rows, int64_t columns,
                         const float *values);

/* Writes the file `path`, which appears whole or not at all. LAP_DATA with the system's reason. */
lap_code lap_gguf_write(const lap_gguf *gguf, const char *path, lap_status *status);

#endif
