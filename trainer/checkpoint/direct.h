/* direct: the bytes of a payload to and from the disk, around the page cache (O_DIRECT); private to
 * this folder.
 *
 * A payload is written once and read back once, beside training. Through the page cache both cost a
 * copy by the kernel and memory that training has better uses for; and what is read back might come
 * from memory, not from the disk. Where a file system does not let us go around the cache, or no
 * longer does halfway through a file, everything goes through it instead.
 *
 * Bytes go in blocks at multiples of their size: LAP_DIRECT_BLOCK, or the whole of a smaller file.
 * Not collective, no MPI call. Failures are LAP_DATA naming the path. `path` is borrowed, and so is
 * the descriptor.
 */
#ifndef LAP_TRAINER_CHECKPOINT_DIRECT_H
#define LAP_TRAINER_CHECKPOINT_DIRECT_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { LAP_DIRECT_BLOCK = 1 << 20 }; /* larger ones are no faster on the disks that we have seen */

typedef struct lap_direct_writer lap_direct_writer;
typedef struct lap_direct_reader lap_direct_reader;

/* Writes what follows from the start of an open file that nothing was written to. A file that
 * becomes larger than `file_bytes` is written in smaller blocks than it could be. */
lap_direct_writer *lap_direct_writer_create(int descriptor, const char *path, int64_t file_bytes);
/* Appends `count` bytes. After a failure only destroying is left to do. */
lap_code lap_direct_write(lap_direct_writer *writer, const void *bytes, size_t count,
                          lap_status *status);
/* Writes what the last block holds. The file is as long as what was appended. Does not sync. */
lap_code lap_direct_writer_finish(lap_direct_writer *writer, lap_status *status);
void lap_direct_writer_destroy(lap_direct_writer *writer);

lap_direct_reader *lap_direct_reader_create(int descriptor, const char *path, int64_t file_bytes);
/* Some of the bytes from `offset` on, at most `most`: a pointer to them, valid until the next call,
 * and in *count how many; *count is 0 at the end of the file. For reading in order: what is before
 * `offset` may be read again, at the cost of a block. */
lap_code lap_direct_read(lap_direct_reader *reader, int64_t offset, int64_t most,
                         const char **bytes, size_t *count, lap_status *status);
void lap_direct_reader_destroy(lap_direct_reader *reader);

#endif
