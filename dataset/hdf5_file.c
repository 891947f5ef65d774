#include "dataset/hdf5_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"

static const uint64_t LARGEST_CHUNK_BYTES = UINT64_C(1) << 30;

lap_code lap_hdf5_try_begin(const char *path, lap_sandbox_task task, const void *context,
                            size_t result_bytes, lap_sandbox_child **child, lap_status *status) {
  enum { SLOWEST_RATE = 256 << 10, LEAST_BYTES = 1 << 30, MOST_GROWTH = 16 };
  static const double least_seconds = 0.25;
  struct stat facts;
  if (stat(path, &facts) != 0)
    return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  const lap_sandbox sandbox = {.path = path,
                               .library = "HDF5",
                               .seconds = least_seconds + (double)facts.st_size / SLOWEST_RATE,
                               .bytes = LEAST_BYTES + (size_t)facts.st_size * MOST_GROWTH};
  H5open(); /* here once instead of in every child */
  *child = lap_sandbox_begin(&sandbox, task, context, result_bytes);
  return LAP_OK;
}

lap_code lap_hdf5_try(const char *path, lap_sandbox_task task, const void *context, void *result,
                      size_t result_bytes, lap_status *status) {
  lap_sandbox_child *child;
  LAP_TRY(lap_hdf5_try_begin(path, task, context, result_bytes, &child, status));
  return lap_sandbox_end(child, result, status);
}

/* HDF5 does not take the file: because of what is in it, or because the disk does not give that? */
static lap_code explain_refusal(const char *path, lap_status *status) {
  enum { BYTES = 1 << 16 };
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return lap_file_fail(path, "be opened", status);
  char *bytes = lap_allocate(BYTES, 1);
  ssize_t got;
  do got = read(descriptor, bytes, BYTES);
  while (got > 0 || (got < 0 && errno == EINTR));
  lap_code code;
  if (got < 0 && errno != EISDIR)
    code = lap_file_fail(path, "be read", status);
  else
    code = lap_fail(status, LAP_DATA, "%s: is not a whole HDF5 file (cut off or damaged?)", path);
  close(descriptor);
  free(bytes);
  return code;
}

lap_code lap_hdf5_open(const char *path, lap_hdf5_file *file, lap_status *status) {
  *file = (lap_hdf5_file){.id = H5I_INVALID_HID};
  if (access(path, R_OK) != 0) return lap_file_fail(path, "be opened", status);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  const hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access_list, false, true);
  const hid_t id = H5Fopen(path, H5F_ACC_RDONLY, access_list);
  H5Pclose(access_list);
  if (id < 0) return explain_refusal(path, status);
  *file = (lap_hdf5_file){.id = id, .path = lap_copy_string(path)};
  return LAP_OK;
}

void lap_hdf5_close(lap_hdf5_file *file) {
  if (file->path && file->id >= 0) H5Fclose(file->id);
  if (file->image) free(file->image->bytes);
  free(file->image);
  free(file->path);
  *file = (lap_hdf5_file){.id = H5I_INVALID_HID};
}

bool lap_hdf5_has_attribute(const lap_hdf5_file *file, const char *name) {
  return H5Aexists(file->id, name) > 0;
}

bool lap_hdf5_has_dataset(const lap_hdf5_file *file, const char *name) {
  return H5Lexists(file->id, name, H5P_DEFAULT) > 0;
}

/* An attribute with one item, and its type. */
typedef struct {
  hid_t id, type;
} attribute;

static void close_attribute(attribute *opened) {
  if (opened->type >= 0) H5Tclose(opened->type);
  if (opened->id >= 0) H5Aclose(opened->id);
}

static lap_code open_attribute(const lap_hdf5_file *file, const char *name, attribute *opened,
                               lap_status *status) {
  *opened = (attribute){H5I_INVALID_HID, H5I_INVALID_HID};
  if (!lap_hdf5_has_attribute(file, name))
    return lap_fail(status, LAP_DATA, "%s: the attribute %s is missing", file->path, name);
  opened->id = H5Aopen(file->id, name, H5P_DEFAULT);
  if (opened->id >= 0) opened->type = H5Aget_type(opened->id);
  const hid_t space = opened->id >= 0 ? H5Aget_space(opened->id) : H5I_INVALID_HID;
  const int64_t items = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
  if (space >= 0) H5Sclose(space);
  if (opened->type >= 0 && items == 1) return LAP_OK;
  close_attribute(opened);
  return lap_fail(status, LAP_DATA, "%s: the attribute %s: expected one value, found %" PRId64,
                  file->path, name, items);
}

/* The stored text in `buffer` of LAP_HDF5_TEXT bytes; false where it cannot be read or is too long.
 */
static bool read_variable_text(const attribute *opened, hid_t memory_type, char *buffer) {
  char *text = NULL;
  if (H5Tset_size(memory_type, H5T_VARIABLE) < 0) return false;
  if (H5Aread(opened->id, memory_type, &text) < 0) return false;
  const size_t bytes = text ? strnlen(text, LAP_HDF5_TEXT) : 0;
  if (bytes > 0 && bytes < LAP_HDF5_TEXT) memcpy(buffer, text, bytes);
  H5free_memory(text);
  return bytes < LAP_HDF5_TEXT;
}

static bool read_fixed_text(const attribute *opened, hid_t memory_type, char *buffer) {
  const size_t bytes = H5Tget_size(opened->type);
  if (bytes >= LAP_HDF5_TEXT || H5Tset_size(memory_type, bytes + 1) < 0) return false;
  return H5Aread(opened->id, memory_type, buffer) >= 0;
}

static bool read_text(const attribute *opened, char *buffer) {
  const hid_t memory_type = H5Tcopy(H5T_C_S1);
  H5Tset_cset(memory_type, H5Tget_cset(opened->type));
  memset(buffer, 0, LAP_HDF5_TEXT);
  const bool read = H5Tis_variable_str(opened->type) > 0
                        ? read_variable_text(opened, memory_type, buffer)
                        : read_fixed_text(opened, memory_type, buffer);
  H5Tclose(memory_type);
  return read;
}

lap_code lap_hdf5_read_string(const lap_hdf5_file *file, const char *name, char *text, size_t size,
                              lap_status *status) {
  assert(size > 0 && size <= LAP_HDF5_TEXT);
  attribute opened;
  LAP_TRY(open_attribute(file, name, &opened, status));
  const bool is_string = H5Tget_class(opened.type) == H5T_STRING;
  char *buffer = lap_allocate(LAP_HDF5_TEXT, 1);
  const bool read = is_string && read_text(&opened, buffer);
  close_attribute(&opened);
  lap_code code = LAP_OK;
  if (!is_string)
    code = lap_fail(status, LAP_DATA, "%s: the attribute %s is not a string", file->path, name);
  else if (!read || strlen(buffer) >= size)
    code = lap_fail(status, LAP_DATA,
                    "%s: the attribute %s: expected a string of at most %zu bytes that can be read",
                    file->path, name, size - 1);
  for (const char *at = buffer; code == LAP_OK && *at; ++at)
    if ((unsigned char)*at < 0x20 || *at == 0x7F)
      code = lap_fail(status, LAP_DATA, "%s: the attribute %s holds control characters", file->path,
                      name);
  if (code == LAP_OK) memcpy(text, buffer, strlen(buffer) + 1);
  free(buffer);
  return code;
}

lap_code lap_hdf5_read_sha256(const lap_hdf5_file *file, const char *name, char *text,
                              lap_status *status) {
  char found[LAP_HDF5_TEXT];
  LAP_TRY(lap_hdf5_read_string(file, name, found, sizeof found, status));
  if (strlen(found) != LAP_SHA256_HEX - 1 ||
      strspn(found, "0123456789abcdef") != LAP_SHA256_HEX - 1)
    return lap_fail(status, LAP_DATA,
                    "%s: the attribute %s: expected 64 lower-case hex digits, found \"%.80s\"",
                    file->path, name, found);
  memcpy(text, found, LAP_SHA256_HEX);
  return LAP_OK;
}

lap_code lap_hdf5_read_integer(const lap_hdf5_file *file, const char *name, int64_t minimum,
                               int64_t maximum, int64_t *value, lap_status *status) {
  attribute opened;
  LAP_TRY(open_attribute(file, name, &opened, status));
  int64_t found = 0;
  bool read = false;
  if (H5Tget_class(opened.type) == H5T_INTEGER) {
    read = H5Aread(opened.id, H5T_NATIVE_INT64, &found) >= 0;
  } else if (H5Tget_class(opened.type) == H5T_ENUM && H5Tget_size(opened.type) == 1) {
    /* What h5py makes of a Python bool: an enum of one byte, FALSE 0 and TRUE 1. */
    int8_t byte = 0;
    read = H5Aread(opened.id, opened.type, &byte) >= 0;
    found = byte; /* NOLINT(bugprone-signed-char-misuse): a number, no character */
  }
  close_attribute(&opened);
  if (!read)
    return lap_fail(status, LAP_DATA, "%s: the attribute %s is not an integer", file->path, name);
  if (found < minimum || found > maximum)
    return lap_fail(status, LAP_DATA,
                    "%s: the attribute %s: expected %" PRId64 " to %" PRId64 ", found %" PRId64,
                    file->path, name, minimum, maximum, found);
  *value = found;
  return LAP_OK;
}

lap_code lap_hdf5_check_format(const lap_hdf5_file *file, const char *format, int64_t version,
                               lap_status *status) {
  char found[LAP_HDF5_TEXT];
  int64_t found_version;
  LAP_TRY(lap_hdf5_read_string(file, "format", found, sizeof found, status));
  if (strcmp(found, format) != 0)
    return lap_fail(status, LAP_DATA, "%s: the attribute format: expected \"%s\", found \"%.80s\"",
                    file->path, format, found);
  LAP_TRY(
      lap_hdf5_read_integer(file, "format_version", INT64_MIN, INT64_MAX, &found_version, status));
  if (found_version != version)
    return lap_fail(status, LAP_DATA,
                    "%s: format_version: this lapidary reads %" PRId64 ", found %" PRId64,
                    file->path, version, found_version);
  return LAP_OK;
}

static lap_code check_link(const lap_hdf5_file *file, const char *name, lap_status *status) {
  H5L_info_t link;
  if (!lap_hdf5_has_dataset(file, name) || H5Lget_info(file->id, name, &link, H5P_DEFAULT) < 0)
    return lap_fail(status, LAP_DATA, "%s: the dataset %s is missing", file->path, name);
  if (link.type != H5L_TYPE_HARD)
    return lap_fail(status, LAP_DATA,
                    "%s: %s is a soft or external link; copy the data into the file", file->path,
                    name);
  return LAP_OK;
}

static lap_code check_type(lap_hdf5_dataset *dataset, lap_hdf5_kind kind, lap_status *status) {
  const hid_t type = H5Dget_type(dataset->id);
  const H5T_class_t expected = kind == LAP_HDF5_INTEGER ? H5T_INTEGER : H5T_FLOAT;
  const bool fits = type >= 0 && H5Tget_class(type) == expected && H5Tget_size(type) <= 16;
  if (fits) dataset->item_bytes = H5Tget_size(type);
  if (type >= 0) H5Tclose(type);
  if (fits) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: the dataset %s: expected a plain %s type", dataset->path,
                  dataset->name, kind == LAP_HDF5_INTEGER ? "integer" : "float");
}

static lap_code check_dims(lap_hdf5_dataset *dataset, int rank, const uint64_t *most,
                           lap_status *status) {
  const hid_t space = H5Dget_space(dataset->id);
  const int found = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
  hsize_t dims[LAP_HDF5_MAX_RANK] = {0};
  if (found == rank) H5Sget_simple_extent_dims(space, dims, NULL);
  if (space >= 0) H5Sclose(space);
  if (found != rank)
    return lap_fail(status, LAP_DATA, "%s: the dataset %s: expected %d dimension%s, found %d",
                    dataset->path, dataset->name, rank, rank == 1 ? "" : "s", found);
  dataset->rank = rank;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] < 1 || dims[i] > most[i])
      return lap_fail(status, LAP_DATA,
                      "%s: the dataset %s: dimension %d: expected 1 to %" PRIu64 ", found %" PRIu64,
                      dataset->path, dataset->name, i, most[i], (uint64_t)dims[i]);
    dataset->dims[i] = dims[i];
  }
  return LAP_OK;
}

static lap_code check_storage(const lap_hdf5_dataset *dataset, lap_status *status) {
  const hid_t creation = H5Dget_create_plist(dataset->id);
  const H5D_layout_t layout = creation >= 0 ? H5Pget_layout(creation) : H5D_LAYOUT_ERROR;
  const bool inside =
      (layout == H5D_COMPACT || layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED) &&
      H5Pget_external_count(creation) == 0;
  uint64_t chunk_bytes = dataset->item_bytes;
  if (inside && layout == H5D_CHUNKED) {
    hsize_t chunk[LAP_HDF5_MAX_RANK] = {1, 1};
    H5Pget_chunk(creation, LAP_HDF5_MAX_RANK, chunk);
    /* Each is below 2^32 by HDF5's format, the product with 16 bytes an item may not be. */
    chunk_bytes =
        chunk[0] > LARGEST_CHUNK_BYTES / chunk[1] ? UINT64_MAX : chunk[0] * chunk[1] * chunk_bytes;
  }
  if (creation >= 0) H5Pclose(creation);
  if (!inside)
    return lap_fail(status, LAP_DATA,
                    "%s: the dataset %s is stored outside of the file; copy the data into it",
                    dataset->path, dataset->name);
  if (chunk_bytes > LARGEST_CHUNK_BYTES)
    return lap_fail(status, LAP_DATA,
                    "%s: the dataset %s has chunks of more than %" PRIu64 " bytes", dataset->path,
                    dataset->name, LARGEST_CHUNK_BYTES);
  return LAP_OK;
}

/* Filters that this HDF5 lacks: h5py's own lzf, and those of plugins. */
static lap_code check_filters(const lap_hdf5_dataset *dataset, lap_status *status) {
  const hid_t creation = H5Dget_create_plist(dataset->id);
  const int count = creation >= 0 ? H5Pget_nfilters(creation) : 0;
  lap_code code = LAP_OK;
  for (int i = 0; i < count && code == LAP_OK; ++i) {
    unsigned flags, values[1];
    size_t value_count = 0;
    char name[32] = "";
    const H5Z_filter_t filter = H5Pget_filter2(creation, (unsigned)i, &flags, &value_count, values,
                                               sizeof name, name, NULL);
    if (filter >= 0 && H5Zfilter_avail(filter) <= 0)
      code = lap_fail(status, LAP_DATA,
                      "%s: the dataset %s is compressed by filter %d (%.31s), which this HDF5 does "
                      "not have; write it with gzip, or uncompressed",
                      dataset->path, dataset->name, (int)filter, name[0] ? name : "no name");
  }
  if (creation >= 0) H5Pclose(creation);
  return code;
}

lap_code lap_hdf5_open_dataset(const lap_hdf5_file *file, const char *name, lap_hdf5_kind kind,
                               int rank, const uint64_t *most, lap_hdf5_dataset *dataset,
                               lap_status *status) {
  assert(rank >= 1 && rank <= LAP_HDF5_MAX_RANK);
  *dataset = (lap_hdf5_dataset){.id = H5I_INVALID_HID, .path = file->path};
  snprintf(dataset->name, sizeof dataset->name, "%s", name);
  LAP_TRY(check_link(file, name, status));
  dataset->id = H5Dopen2(file->id, name, H5P_DEFAULT);
  if (dataset->id < 0)
    return lap_fail(status, LAP_DATA,
                    "%s: %s is damaged, not a dataset, or in a format newer than HDF5 %d.%d (h5py: "
                    "leave libver out)",
                    file->path, name, H5_VERS_MAJOR, H5_VERS_MINOR);
  lap_code code = check_type(dataset, kind, status);
  if (code == LAP_OK) code = check_dims(dataset, rank, most, status);
  if (code == LAP_OK) code = check_storage(dataset, status);
  if (code == LAP_OK) code = check_filters(dataset, status);
  if (code != LAP_OK) lap_hdf5_close_dataset(dataset);
  return code;
}

void lap_hdf5_close_dataset(lap_hdf5_dataset *dataset) {
  if (dataset->path && dataset->id >= 0) H5Dclose(dataset->id);
  *dataset = (lap_hdf5_dataset){.id = H5I_INVALID_HID};
}

lap_code lap_hdf5_read_rows(const lap_hdf5_dataset *dataset, uint64_t row, uint64_t count,
                            hid_t memory_type, void *buffer, lap_status *status) {
  assert(row <= dataset->dims[0] && count <= dataset->dims[0] - row);
  if (count == 0) return LAP_OK;
  const hsize_t start[LAP_HDF5_MAX_RANK] = {row, 0};
  const hsize_t extent[LAP_HDF5_MAX_RANK] = {count, dataset->dims[1]};
  const hid_t file_space = H5Dget_space(dataset->id);
  const hid_t memory_space = H5Screate_simple(dataset->rank, extent, NULL);
  const bool read =
      H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0 &&
      H5Dread(dataset->id, memory_type, memory_space, file_space, H5P_DEFAULT, buffer) >= 0;
  H5Sclose(memory_space);
  H5Sclose(file_space);
  if (read) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: the dataset %s: rows %" PRIu64 " to %" PRIu64
                  " cannot be read (damaged, or compressed by a filter that is not here)",
                  dataset->path, dataset->name, row, row + count - 1);
}
