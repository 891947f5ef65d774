/* scratch: a directory of a test's own, removed at its end, and small files in it. */
#ifndef LAP_TESTS_SCRATCH_H
#define LAP_TESTS_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/* A new directory under TMPDIR (/tmp without it); remove it with scratch_remove, which frees the
 * name. */
char *scratch_create(void);
void scratch_remove(char *directory);

/* "DIRECTORY/NAME" in one of sixteen buffers that are used in turn. */
const char *scratch_path(const char *directory, const char *name);

/* Writes a file and returns its path as scratch_path does. */
const char *scratch_write(const char *directory, const char *name, const void *bytes, size_t count);
/* The whole file, malloc'ed and NUL-terminated. */
char *scratch_read(const char *path, size_t *count);

/* How many names there are in a directory, "." and ".." apart; -1 where there is no such directory.
 */
int scratch_count(const char *directory);

/* No file of this process grows beyond `bytes` from now on, as on a disk that gets full; 0: any
 * may. */
void scratch_limit_files(uint64_t bytes);

#endif
