/* input_file: one of the user's files as a stream of bytes, unpacked where it is compressed.
 *
 * gzip and zstd are told by their first bytes, whatever the file is called; members and frames that
 * follow each other are one stream, as in the files that `cat a.gz b.gz`, pigz and pzstd make.
 * Windows of zstd have any size (--long=31: 2 GiB of memory, as far as the text is so long). "-" is
 * standard input.
 *
 * A compressed file that is cut off or damaged gives what can be unpacked and then ends; the reason
 * is kept (lap_input_damage), because whether that stops a job is the caller's business.
 */
#ifndef LAP_DATASET_INPUT_FILE_H
#define LAP_DATASET_INPUT_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct lap_input_file lap_input_file;

/* `path` must outlive the file. LAP_DATA naming the file and the system's reason (a directory is
 * refused). */
lap_code lap_input_open(const char *path, lap_input_file **file, lap_status *status);
void lap_input_close(lap_input_file *file);

/* Up to `capacity` bytes; *count 0 is the end. LAP_DATA where the file cannot be read. */
lap_code lap_input_read(lap_input_file *file, char *bytes, size_t capacity, size_t *count,
                        lap_status *status);

/* Why a compressed file ended before its end, "" where it did not. */
const char *lap_input_damage(const lap_input_file *file);

/* Bytes read of the file itself, compressed where it is: what progress can be measured by. */
uint64_t lap_input_consumed(const lap_input_file *file);

#endif
