/* file: small files that appear whole or not at all, and the directories they live in.
 *
 * A file that another process may read, or that a kill may interrupt, is written beside its final
 * name and renamed when it is safely on disk: a reader sees the old content or the new, never half.
 * fsync is never tried twice: after a failure the kernel may have dropped the dirty pages, and a
 * second call would report success for data that is gone.
 *
 * All failures are LAP_DATA naming the path, the system's reason and, where one is known, a remedy.
 * All writers make the missing parents of what they write. Not collective: one rank writes.
 */
#ifndef LAP_CORE_FILE_H
#define LAP_CORE_FILE_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* "PATH: cannot ACTION: REASON", from errno, and what to do about it; LAP_DATA. For whoever makes a
 * system call on a file; `action` is such as "be opened" or "make the directory". */
lap_code lap_file_fail(const char *path, const char *action, lap_status *status);

/* Makes a directory and its missing parents (mkdir -p), and makes their names durable. One that
 * exists stays as it is. LAP_USAGE for ~ and what is below it, unless there is such a folder: no
 * user wants one of this name. */
lap_code lap_file_make_directories(const char *path, lap_status *status);
/* Makes the missing directories above `path`. */
lap_code lap_file_make_parents(const char *path, lap_status *status);

/* Replaces `path` by `count` bytes: temporary file in the same directory, which is made where it is
 * missing, fsync, checked close, rename, fsync of the directory. On failure the temporary file is
 * removed and `path` is as it was. A kill leaves the temporary file: see
 * lap_file_remove_temporaries. */
lap_code lap_file_write(const char *path, const void *bytes, size_t count, lap_status *status);
/* The same for a path that has one writer at a time: first removes what killed ones left. */
lap_code lap_file_write_alone(const char *path, const void *bytes, size_t count,
                              lap_status *status);

/* Reads a whole file of at most `limit` bytes into *bytes: malloc'ed, owned by the caller, followed
 * by a NUL that *count (which may be NULL) does not include. A larger file is refused before it is
 * read; anything but a regular file is refused. */
lap_code lap_file_read(const char *path, size_t limit, char **bytes, size_t *count,
                       lap_status *status);

/* Whether something is at `path`, following symbolic links. */
bool lap_file_exists(const char *path);

/* Whether a directory is at `path`, following symbolic links. */
bool lap_file_is_directory(const char *path);

/* Waits up to a minute until something is at `path`, which another process has said it has made:
 * the client of a network file system remembers for a while what was not there. Whether it came. */
bool lap_file_await(const char *path);

/* *entry is the next one of the open directory, which is at `path`; NULL at its end. On failure
 * what was listed so far is not all there is. */
lap_code lap_file_next_entry(const char *path, DIR *directory, const struct dirent **entry,
                             lap_status *status);

/* Removes a file or a directory with all it holds; symbolic links are removed, not followed. Where
 * there is nothing, nothing is done. */
lap_code lap_file_remove_tree(const char *path, lap_status *status);

/* Removes the temporary files that killed writers of `path` left beside it, as far as possible. For
 * paths with one writer at a time: one that is alive loses its file, and its rename fails. */
void lap_file_remove_temporaries(const char *path);
/* Whether there are any: a writer of `path` is alive, or was killed. */
bool lap_file_has_temporaries(const char *path);

/* --- the steps of an atomic write, for writers of large files and of directories --- */

/* Makes a new file PATH.tmp.PROCESS.N and the missing directories above it, open for writing;
 * *temporary is its name, owned by the caller. On failure no file is made and *temporary is NULL.
 */
lap_code lap_file_open_temporary(const char *path, int *descriptor, char **temporary,
                                 lap_status *status);
/* Writes all bytes to an open descriptor, through short writes and interrupted calls. `path` is for
 * the message. */
lap_code lap_file_write_all(int descriptor, const char *path, const void *bytes, size_t count,
                            lap_status *status);
/* fsync, once, then a checked close; the descriptor is closed in every case. */
lap_code lap_file_sync_and_close(int descriptor, const char *path, lap_status *status);
/* Ends what lap_file_open_temporary began, and frees `temporary`. Where `written`, the outcome of
 * writing, is LAP_OK: lap_file_sync_and_close, then lap_file_publish. After any failure the
 * descriptor is closed, and the temporary file removed. The first failure is returned; messages
 * name `path`. */
lap_code lap_file_end_temporary(int descriptor, char *temporary, const char *path, lap_code written,
                                lap_status *status);

/* Makes the name of `path`, which has just been made, durable: fsync of the directory above it. */
lap_code lap_file_sync_name(const char *path, lap_status *status);
/* Renames a file or directory whose content is on disk, then makes the new name durable. An empty
 * directory at `path` is replaced by a directory; one with files in it is a failure. */
lap_code lap_file_publish(const char *temporary, const char *path, lap_status *status);

#endif
