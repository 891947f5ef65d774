#include "core/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"

static void out_of_memory(size_t count, size_t size) {
  fprintf(stderr,
          "lapidary: out of memory: %zu items of %zu bytes were asked for; use a smaller model or "
          "micro-batch, or fewer ranks on this node\n",
          count, size);
  exit(LAP_USAGE);
}

void *lap_allocate(size_t count, size_t size) {
  void *block = calloc(count ? count : 1, size ? size : 1);
  if (!block) out_of_memory(count, size);
  return block;
}

void *lap_reallocate(void *block, size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) out_of_memory(count, size);
  const size_t bytes = count * size;
  void *grown = realloc(block, bytes > 0 ? bytes : 1);
  if (!grown) out_of_memory(count, size);
  return grown;
}

char *lap_copy_string(const char *text) {
  const size_t bytes = strlen(text) + 1;
  return memcpy(lap_allocate(bytes, 1), text, bytes);
}

char *lap_format(const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  const int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  char *text = lap_allocate((size_t)(length > 0 ? length : 0) + 1, 1);
  vsnprintf(text, (size_t)length + 1, format, again);
  va_end(again);
  return text;
}

void *lap_allocate_aligned(size_t count, size_t size) {
  if (size && count > (SIZE_MAX - LAP_ALIGNMENT) / size) out_of_memory(count, size);
  const size_t bytes = (count * size + LAP_ALIGNMENT) / LAP_ALIGNMENT * LAP_ALIGNMENT;
  void *block = aligned_alloc(LAP_ALIGNMENT, bytes);
  if (!block) out_of_memory(count, size);
  memset(block, 0, bytes);
  return block;
}

void lap_release_aligned(void *block) { free(block); }
