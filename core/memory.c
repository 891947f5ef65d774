#include "core/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/status.h"

enum {
  HUGE_PAGE = 2 << 20, /* of x86-64, and of ARM with pages of 4 KiB; elsewhere only an alignment */
  LARGE = 2 * HUGE_PAGE,
};

/* Without what exit() runs, which frees what other threads still use. */
static _Noreturn void out_of_memory(int64_t count, size_t size) {
  fprintf(stderr,
          "lapidary: out of memory: %" PRId64
          " items of %zu bytes were asked for; use a smaller model or "
          "micro-batch, or fewer ranks on this node\n",
          count, size);
  fflush(NULL);
  _exit(LAP_USAGE);
}

/* Bytes of all items, `more` of them unused. Too many for an address count as out of memory. */
static size_t bytes_of(int64_t count, size_t size, size_t more) {
  assert(count >= 0);
  if (size && (uint64_t)count > (SIZE_MAX - more) / size) out_of_memory(count, size);
  return (size_t)count * size;
}

void *lap_allocate(int64_t count, size_t size) {
  const size_t bytes = bytes_of(count, size, 0);
  void *block = calloc(bytes > 0 ? bytes : 1, 1);
  if (!block) out_of_memory(count, size);
  return block;
}

void *lap_reallocate(void *block, int64_t count, size_t size) {
  const size_t bytes = bytes_of(count, size, 0);
  void *grown = realloc(block, bytes > 0 ? bytes : 1);
  if (!grown) out_of_memory(count, size);
  return grown;
}

char *lap_copy_string(const char *text) {
  const size_t bytes = strlen(text) + 1;
  return memcpy(lap_allocate((int64_t)bytes, 1), text, bytes);
}

char *lap_format_list(const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int length = vsnprintf(NULL, 0, format, arguments);
  char *text = lap_allocate(length > 0 ? length + 1 : 1, 1);
  vsnprintf(text, (size_t)length + 1, format, again);
  va_end(again);
  return text;
}

char *lap_format(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = lap_format_list(format, arguments);
  va_end(arguments);
  return text;
}

FILE *lap_open_text(char **text, size_t *bytes) {
  FILE *stream = open_memstream(text, bytes);
  if (!stream) out_of_memory(1, BUFSIZ);
  return stream;
}

/* A stream that could not grow says so here, or when it was written to. glibc cuts the text to its
 * length in the end; where it cannot, fclose succeeds and there is no text. */
void lap_close_text(FILE *stream, char *const *text) {
  const bool is_whole = !ferror(stream);
  if (fclose(stream) != 0 || !is_whole || !*text) out_of_memory(1, BUFSIZ);
}

/* Rows of a matrix lie on as many small pages, each of which a processor has to look up. A refusal
 * does not matter. The end that fills no page stays as it is, so that no memory is wasted. */
static void ask_for_huge_pages(void *block, size_t bytes) {
#ifdef MADV_HUGEPAGE
  (void)madvise(block, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#else
  (void)block;
  (void)bytes;
#endif
}

void *lap_allocate_aligned(int64_t count, size_t size) {
  const size_t alignment = bytes_of(count, size, HUGE_PAGE) < LARGE ? LAP_ALIGNMENT : HUGE_PAGE;
  const size_t bytes =
      (bytes_of(count, size, 2 * alignment) + LAP_ALIGNMENT) / LAP_ALIGNMENT * LAP_ALIGNMENT;
  /* aligned_alloc wants a multiple of the alignment; what lies behind `bytes` is never touched. */
  void *block = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!block) out_of_memory(count, size);
  if (alignment == HUGE_PAGE) ask_for_huge_pages(block, bytes);
  memset(block, 0, bytes);
  return block;
}

void lap_release_aligned(void *block) { free(block); }
