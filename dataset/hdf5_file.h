/* hdf5_file: HDF5 files read with suspicion and written whole: token shards, caches, losses by
 * document.
 *
 * Reading: a file may come from any program or from an attacker, and HDF5 1.10 crashes and loops on
 * some: what is to be read of a file is read in a child process first (lap_hdf5_try), for the
 * result or to know that it can be done. HDF5's own error printing is switched off; links are hard
 * or refused; types, rank and dims are bounded before anything is read or allocated; integers come
 * back as int64, because HDF5 clips silently when it narrows (-1 would become token 0). File locks
 * are not taken: files appear by rename and are never changed.
 *
 * Writing: the file is built in memory (libver latest: checksummed metadata), its datasets chunked
 * with fletcher32 and compressed, then published as a whole (core/file.h). Disk errors are thus
 * ours to report; HDF5 1.10 does not survive them. No times are stored: the bytes of a file are a
 * function of what was written.
 *
 * One thread of the process calls these functions.
 */
#ifndef LAP_DATASET_HDF5_FILE_H
#define LAP_DATASET_HDF5_FILE_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sandbox.h"
#include "core/status.h"

/* How the names of our HDF5 files end: what a folder of them stands for (core/paths.h). */
#define LAP_HDF5_SUFFIX ".h5"

enum { LAP_HDF5_TEXT = 4097, LAP_HDF5_MAX_RANK = 2 };

/* The bytes of a file that is being written; HDF5 hands them over when it closes the file. */
typedef struct {
  void *bytes;
  size_t count;
} lap_hdf5_image;

typedef struct {
  hid_t id;
  char *path;
  lap_hdf5_image *image; /* of lap_hdf5_create */
} lap_hdf5_file;

typedef enum { LAP_HDF5_INTEGER, LAP_HDF5_FLOAT } lap_hdf5_kind;

typedef struct {
  hid_t id;
  const char *path; /* of its file, which must outlive it */
  char name[64];
  int rank;
  uint64_t dims[LAP_HDF5_MAX_RANK];
  size_t item_bytes; /* of one stored item */
} lap_hdf5_dataset;

/* Reading. LAP_DATA naming file and attribute or dataset, expected and found. */

/* Runs a task that reads the file at `path`, from lap_hdf5_open to lap_hdf5_close, in a child
 * (core/sandbox.h), within what reading a file of its size may cost: a quarter of a second, and a
 * second for 256 KiB (which compression can make 256 MiB), of processor time; 1 GiB, and 16 times
 * its size, of memory. LAP_DATA also where there is no file. */
lap_code lap_hdf5_try(const char *path, lap_sandbox_task task, const void *context, void *result,
                      size_t result_bytes, lap_status *status);
/* The first part of that: the child begins; lap_sandbox_end waits for it. */
lap_code lap_hdf5_try_begin(const char *path, lap_sandbox_task task, const void *context,
                            size_t result_bytes, lap_sandbox_child **child, lap_status *status);

lap_code lap_hdf5_open(const char *path, lap_hdf5_file *file, lap_status *status);
/* Also drops a file of lap_hdf5_create that is not to appear. Closing twice is fine. */
void lap_hdf5_close(lap_hdf5_file *file);

bool lap_hdf5_has_attribute(const lap_hdf5_file *file, const char *name);
bool lap_hdf5_has_dataset(const lap_hdf5_file *file, const char *name);

/* A root attribute of one string, fixed or variable length, ASCII or UTF-8, without control
 * characters, shorter than `size` (at most LAP_HDF5_TEXT) bytes. */
lap_code lap_hdf5_read_string(const lap_hdf5_file *file, const char *name, char *text, size_t size,
                              lap_status *status);
/* As read_string, for one SHA-256 in lower-case hex (text[65]). */
lap_code lap_hdf5_read_sha256(const lap_hdf5_file *file, const char *name, char *text,
                              lap_status *status);
/* A root attribute of one integer of any type within [minimum, maximum]. */
lap_code lap_hdf5_read_integer(const lap_hdf5_file *file, const char *name, int64_t minimum,
                               int64_t maximum, int64_t *value, lap_status *status);
/* format == `format` and format_version == `version`; both values are shown where not. */
lap_code lap_hdf5_check_format(const lap_hdf5_file *file, const char *format, int64_t version,
                               lap_status *status);

/* Opens a dataset of `kind` and `rank` (1 or 2) with dims[i] in [1, most[i]]. Refuses soft and
 * external links, external and virtual storage, other classes (variable-length ones among them),
 * chunks above 1 GiB and filters that this HDF5 lacks. */
lap_code lap_hdf5_open_dataset(const lap_hdf5_file *file, const char *name, lap_hdf5_kind kind,
                               int rank, const uint64_t *most, lap_hdf5_dataset *dataset,
                               lap_status *status);
void lap_hdf5_close_dataset(lap_hdf5_dataset *dataset);

/* Rows [row, row + count), whole in their second dimension, converted by HDF5 to `memory_type`
 * (H5T_NATIVE_INT64, H5T_NATIVE_FLOAT, ...). */
lap_code lap_hdf5_read_rows(const lap_hdf5_dataset *dataset, uint64_t row, uint64_t count,
                            hid_t memory_type, void *buffer, lap_status *status);

/* Writing: lap_hdf5_create, then writes, then lap_hdf5_end. `path` is the final name. Failures are
 * LAP_DATA (disk, memory). */

lap_code lap_hdf5_create(const char *path, lap_hdf5_file *file, lap_status *status);
/* `text`: at most LAP_HDF5_TEXT - 2 bytes, without control characters, or no reader takes it. */
lap_code lap_hdf5_write_string(const lap_hdf5_file *file, const char *name, const char *text,
                               lap_status *status);
lap_code lap_hdf5_write_integer(const lap_hdf5_file *file, const char *name, int64_t value,
                                lap_status *status);
/* Writes all of `data` as a dataset of `stored_type` in chunks of about 1 MiB: shuffle and deflate,
 * or, where stored_type has fewer bits than its size, HDF5's n-bit packing and deflate; then
 * fletcher32. */
lap_code lap_hdf5_write_dataset(const lap_hdf5_file *file, const char *name, int rank,
                                const uint64_t *dims, hid_t stored_type, hid_t memory_type,
                                const void *data, lap_status *status);
/* Ends what lap_hdf5_create began. Where `written`, the outcome of writing, is LAP_OK, the file
 * appears as a whole under its name (lap_file_write_alone); otherwise nothing does, and that is
 * returned. Closes the file, whatever the outcome. */
lap_code lap_hdf5_end(lap_hdf5_file *file, lap_code written, lap_status *status);

#endif
