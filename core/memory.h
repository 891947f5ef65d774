/* memory: allocation that cannot fail quietly.
 *
 * Running out of memory is fatal with a message and exit code 2 (the config asked for more than the
 * machine has; `lapidary plan` says how much a config needs): no code path in lapidary can do
 * anything useful without the memory it asked for, and unwinding would need memory too.
 */
#ifndef LAP_CORE_MEMORY_H
#define LAP_CORE_MEMORY_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { LAP_ALIGNMENT = 64 };

/* Zeroed memory for `count` >= 0 items of `size` bytes; never NULL (count 0 gives one item). Where
 * the system has no more, the process ends with a message. */
void *lap_allocate(int64_t count, size_t size);
/* As realloc for `count` items of `size` bytes; never NULL; new bytes are not initialised. */
void *lap_reallocate(void *block, int64_t count, size_t size);
char *lap_copy_string(const char *text);
/* printf into a new string, owned by the caller. */
char *lap_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *lap_format_list(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

/* A stream that becomes a string: open_memstream, and what closes it. lap_close_text, of the same
 * `text`, sets *text, owned by the caller, and *bytes. */
FILE *lap_open_text(char **text, size_t *bytes);
void lap_close_text(FILE *stream, char *const *text);

/* Zeroed, LAP_ALIGNMENT-aligned memory for large arrays, from 4 MiB on on huge pages where the
 * system gives any (docs/performance.md#huge-pages); released with lap_release_aligned. */
void *lap_allocate_aligned(int64_t count, size_t size);
void lap_release_aligned(void *block);

#endif
