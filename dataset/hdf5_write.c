#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "dataset/hdf5_file.h"

enum { CHUNK_BYTES = 1 << 20, DEFLATE_LEVEL = 4 };

/* HDF5's core driver keeps the file in memory that these callbacks hand out; when it closes the
 * file, the finished bytes stay with the image. (H5Fget_file_image of 1.10.8 is of no use: it
 * clears the open-for-writing flag without renewing the superblock's checksum.) */
static void *image_allocate(size_t size, H5FD_file_image_op_t operation, void *image) {
  (void)operation, (void)image;
  return malloc(size);
}

static void *image_copy(void *to, const void *from, size_t size, H5FD_file_image_op_t operation,
                        void *image) {
  (void)operation, (void)image;
  return memcpy(to, from, size);
}

static void *image_resize(void *bytes, size_t size, H5FD_file_image_op_t operation, void *image) {
  (void)operation;
  ((lap_hdf5_image *)image)->count = size;
  return realloc(bytes, size);
}

/* Where `path` is there already, HDF5 opens and closes it once before it makes the new file. */
static herr_t image_release(void *bytes, H5FD_file_image_op_t operation, void *kept) {
  lap_hdf5_image *image = kept;
  if (operation == H5FD_FILE_IMAGE_OP_FILE_CLOSE) {
    free(image->bytes);
    image->bytes = bytes;
  } else {
    free(bytes);
  }
  return 0;
}

static void *image_share(void *image) { return image; }

static herr_t image_unshare(void *image) {
  (void)image;
  return 0;
}

static hid_t in_memory(lap_hdf5_image *image) {
  H5FD_file_image_callbacks_t callbacks = {
      image_allocate, image_copy, image_resize, image_release, image_share, image_unshare, image};
  const hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access_list, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  H5Pset_fclose_degree(access_list, H5F_CLOSE_STRONG);
  /* Growing by single bytes makes the image end where the file does. */
  H5Pset_fapl_core(access_list, 1, false);
  H5Pset_file_image_callbacks(access_list, &callbacks);
  return access_list;
}

lap_code lap_hdf5_create(const char *path, lap_hdf5_file *file, lap_status *status) {
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  *file =
      (lap_hdf5_file){.path = lap_copy_string(path), .image = lap_allocate(1, sizeof *file->image)};
  const hid_t access_list = in_memory(file->image), creation = H5Pcreate(H5P_FILE_CREATE);
  H5Pset_obj_track_times(creation, false); /* the same content is the same bytes on any day */
  file->id = H5Fcreate(path, H5F_ACC_TRUNC, creation, access_list);
  H5Pclose(creation);
  H5Pclose(access_list);
  if (file->id >= 0) return LAP_OK;
  lap_hdf5_close(file);
  return lap_fail(status, LAP_DATA, "%s: HDF5 cannot create it in memory", path);
}

static lap_code write_attribute(const lap_hdf5_file *file, const char *name, hid_t stored_type,
                                hid_t memory_type, const void *value, lap_status *status) {
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t id = H5Acreate2(file->id, name, stored_type, space, H5P_DEFAULT, H5P_DEFAULT);
  const bool written = id >= 0 && H5Awrite(id, memory_type, value) >= 0;
  if (id >= 0) H5Aclose(id);
  H5Sclose(space);
  if (written) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: the attribute %s cannot be written", file->path, name);
}

lap_code lap_hdf5_write_string(const lap_hdf5_file *file, const char *name, const char *text,
                               lap_status *status) {
  assert(strlen(text) + 1 < LAP_HDF5_TEXT); /* the end is stored too */
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_cset(type, H5T_CSET_UTF8);
  H5Tset_size(type, strlen(text) + 1);
  const lap_code code = write_attribute(file, name, type, type, text, status);
  H5Tclose(type);
  return code;
}

lap_code lap_hdf5_write_integer(const lap_hdf5_file *file, const char *name, int64_t value,
                                lap_status *status) {
  return write_attribute(file, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value, status);
}

static hid_t creation_list(int rank, const hsize_t *dims, hid_t stored_type) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  hsize_t chunk[LAP_HDF5_MAX_RANK] = {0, rank > 1 ? dims[1] : 1};
  const hsize_t row_bytes = chunk[1] * H5Tget_size(stored_type);
  chunk[0] = row_bytes < CHUNK_BYTES ? CHUNK_BYTES / row_bytes : 1;
  if (chunk[0] > dims[0]) chunk[0] = dims[0];
  H5Pset_obj_track_times(creation, false);
  H5Pset_chunk(creation, rank, chunk);
  const bool packed = H5Tget_precision(stored_type) < 8 * H5Tget_size(stored_type);
  if (packed)
    H5Pset_nbit(creation);
  else
    H5Pset_shuffle(creation);
  H5Pset_deflate(creation, DEFLATE_LEVEL);
  H5Pset_fletcher32(creation);
  return creation;
}

lap_code lap_hdf5_write_dataset(const lap_hdf5_file *file, const char *name, int rank,
                                const uint64_t *dims, hid_t stored_type, hid_t memory_type,
                                const void *data, lap_status *status) {
  assert(rank >= 1 && rank <= LAP_HDF5_MAX_RANK);
  hsize_t extent[LAP_HDF5_MAX_RANK] = {0};
  for (int i = 0; i < rank; ++i) extent[i] = dims[i];
  const hid_t space = H5Screate_simple(rank, extent, NULL);
  const hid_t creation = creation_list(rank, extent, stored_type);
  const hid_t id =
      H5Dcreate2(file->id, name, stored_type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  bool written = id >= 0 && H5Dwrite(id, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
  if (id >= 0) written = H5Dclose(id) >= 0 && written;
  H5Pclose(creation);
  H5Sclose(space);
  if (written) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: the dataset %s cannot be written", file->path, name);
}

static lap_code publish(lap_hdf5_file *file, lap_status *status) {
  const bool finished = H5Fflush(file->id, H5F_SCOPE_GLOBAL) >= 0 && H5Fclose(file->id) >= 0;
  if (finished) file->id = H5I_INVALID_HID;
  const lap_hdf5_image *image = file->image;
  return finished && image->bytes
             ? lap_file_write_alone(file->path, image->bytes, image->count, status)
             : lap_fail(status, LAP_DATA, "%s: HDF5 cannot finish it in memory", file->path);
}

lap_code lap_hdf5_end(lap_hdf5_file *file, lap_code written, lap_status *status) {
  const lap_code code = written == LAP_OK ? publish(file, status) : written;
  lap_hdf5_close(file);
  return code;
}
