#include "teacher/cache_file.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/half.h"
#include "core/memory.h"

static const char FORMAT[] = "lapidary-teacher";
enum { FORMAT_VERSION = 1, MOST_VOCAB = 1 << 24, MOST_K = 1 << 20 };
static const uint64_t MOST_ROWS = UINT64_C(1) << 30;

hid_t lap_cache_half_type(void) {
  const hid_t half = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(half, 15, 10, 5, 0, 10);
  H5Tset_size(half, 2);
  H5Tset_ebias(half, 15);
  return half;
}

static lap_code read_codec(const lap_hdf5_file *file, lap_cache_schema *schema,
                           lap_status *status) {
  char found[LAP_HDF5_TEXT];
  int64_t draws = 0, exact = 0;
  LAP_TRY(lap_hdf5_read_string(file, "codec", found, sizeof found, status));
  if (!lap_codec_find(found, &schema->codec))
    return lap_fail(status, LAP_DATA,
                    "%s: the attribute codec: expected " LAP_CODEC_NAMES ", found \"%.80s\"",
                    file->path, found);
  schema->draw_seed = -1;
  if (!lap_codec_is_drawn(schema->codec)) return LAP_OK;
  LAP_TRY(lap_hdf5_read_integer(file, "draws", 1, INT32_MAX, &draws, status));
  if (schema->codec == LAP_CODEC_STRATIFIED && lap_hdf5_has_attribute(file, "exact"))
    LAP_TRY(lap_hdf5_read_integer(file, "exact", 1, MOST_K, &exact, status));
  if (lap_hdf5_has_attribute(file, "draw_seed"))
    LAP_TRY(lap_hdf5_read_integer(file, "draw_seed", 0, INT64_MAX, &schema->draw_seed, status));
  schema->draws = (uint32_t)draws;
  schema->exact = (uint32_t)exact;
  return LAP_OK;
}

/* For `teach` alone: what other programs have under this name is none of ours. */
static void read_computed_as(const lap_hdf5_file *file, char text[LAP_COMPUTED_AS]) {
  static const char name[] = "computed_as";
  lap_status ignored;
  if (!lap_hdf5_has_attribute(file, name) ||
      lap_hdf5_read_string(file, name, text, LAP_COMPUTED_AS, &ignored) != LAP_OK)
    text[0] = '\0';
}

static lap_code read_schema(const lap_hdf5_file *file, lap_cache_schema *schema,
                            lap_status *status) {
  int64_t vocab_size, k, sequence_length, document_mask, swapped = 0;
  LAP_TRY(read_codec(file, schema, status));
  LAP_TRY(lap_hdf5_read_integer(file, "vocab_size", 1, MOST_VOCAB, &vocab_size, status));
  const int64_t most_k = vocab_size < MOST_K ? vocab_size : MOST_K;
  LAP_TRY(lap_hdf5_read_integer(file, "k", 1, most_k, &k, status));
  if (schema->exact > k)
    return lap_fail(status, LAP_DATA,
                    "%s: the attribute exact: expected at most k, %" PRId64 ", found %u",
                    file->path, k, schema->exact);
  LAP_TRY(lap_hdf5_read_integer(file, "sequence_length", 2, INT32_MAX, &sequence_length, status));
  LAP_TRY(lap_hdf5_read_integer(file, "document_mask", 0, 1, &document_mask, status));
  if (lap_hdf5_has_attribute(file, "swapped_percent"))
    LAP_TRY(lap_hdf5_read_integer(file, "swapped_percent", 1, 100, &swapped, status));
  LAP_TRY(lap_hdf5_read_sha256(file, "tokenizer_sha256", schema->tokenizer_sha256, status));
  LAP_TRY(lap_hdf5_read_string(file, "teacher", schema->teacher, sizeof schema->teacher, status));
  if (lap_hdf5_has_attribute(file, "teacher_sha256"))
    LAP_TRY(lap_hdf5_read_sha256(file, "teacher_sha256", schema->teacher_sha256, status));
  read_computed_as(file, schema->computed_as);
  schema->vocab_size = (uint32_t)vocab_size;
  schema->k = (uint32_t)k;
  schema->sequence_length = (uint32_t)sequence_length;
  schema->document_mask = document_mask == 1;
  schema->swapped_percent = (uint32_t)swapped;
  schema->has_next_logprob = lap_hdf5_has_dataset(file, "next_logprob");
  schema->has_entropy = lap_hdf5_has_dataset(file, "entropy");
  return LAP_OK;
}

/* Lets HDF5 keep the chunks that one window touches, and the one it shares with the next, so that
 * reading in order decodes each chunk once. Beyond MOST_BYTES it keeps HDF5's default. */
static lap_code set_chunk_cache(const lap_hdf5_file *file, uint64_t window_rows,
                                lap_hdf5_dataset *dataset, lap_status *status) {
  enum { SLOTS = 1009, LEAST_BYTES = 1 << 20, MOST_BYTES = 16 << 20 };
  const hid_t creation = H5Dget_create_plist(dataset->id);
  hsize_t chunk[LAP_HDF5_MAX_RANK] = {1, 1};
  const bool chunked = H5Pget_layout(creation) == H5D_CHUNKED &&
                       H5Pget_chunk(creation, LAP_HDF5_MAX_RANK, chunk) > 0;
  H5Pclose(creation);
  const uint64_t columns = dataset->rank > 1 ? dataset->dims[1] : 1;
  const uint64_t across = (columns - 1) / chunk[1] + 1, down = window_rows / chunk[0] + 2;
  const uint64_t bytes = across * chunk[1] * down * chunk[0] * dataset->item_bytes;
  if (!chunked || bytes <= LEAST_BYTES || bytes > MOST_BYTES) return LAP_OK;
  const hid_t access_list = H5Pcreate(H5P_DATASET_ACCESS);
  H5Pset_chunk_cache(access_list, SLOTS, bytes, H5D_CHUNK_CACHE_W0_DEFAULT);
  const hid_t id = H5Dopen2(file->id, dataset->name, access_list);
  H5Pclose(access_list);
  if (id < 0)
    return lap_fail(status, LAP_DATA, "%s: the dataset %s cannot be opened again", file->path,
                    dataset->name);
  H5Dclose(dataset->id);
  dataset->id = id;
  return LAP_OK;
}

/* Opens a dataset with exactly `rows` rows (0: any number) and k columns (0: one dimension). */
static lap_code open_dataset(const lap_cache_file *opened, const char *name, lap_hdf5_kind kind,
                             uint64_t rows, uint32_t k, lap_hdf5_dataset *dataset,
                             lap_status *status) {
  const uint64_t most[LAP_HDF5_MAX_RANK] = {MOST_ROWS, MOST_K};
  LAP_TRY(lap_hdf5_open_dataset(&opened->file, name, kind, k > 0 ? 2 : 1, most, dataset, status));
  if (rows > 0 && dataset->dims[0] != rows)
    return lap_fail(status, LAP_DATA,
                    "%s: the dataset %s: expected as many rows as ids has, %" PRIu64
                    ", found %" PRIu64,
                    opened->file.path, name, rows, dataset->dims[0]);
  if (k > 0 && dataset->dims[1] != k)
    return lap_fail(status, LAP_DATA,
                    "%s: the dataset %s: expected %u columns (the attribute k), found %" PRIu64,
                    opened->file.path, name, k, dataset->dims[1]);
  return set_chunk_cache(&opened->file, opened->schema.sequence_length - 1, dataset, status);
}

static void find_half(lap_cache_file *opened) {
  const hid_t stored = H5Dget_type(opened->logprob.id), half = lap_cache_half_type();
  if (stored >= 0 && H5Tequal(stored, half) > 0)
    opened->half = half;
  else
    H5Tclose(half);
  if (stored >= 0) H5Tclose(stored);
}

static lap_code open_datasets(lap_cache_file *opened, lap_status *status) {
  const uint32_t k = opened->schema.k;
  LAP_TRY(open_dataset(opened, "ids", LAP_HDF5_INTEGER, 0, k, &opened->ids, status));
  const uint64_t rows = opened->row_count = opened->ids.dims[0];
  LAP_TRY(open_dataset(opened, "logprob", LAP_HDF5_FLOAT, rows, k, &opened->logprob, status));
  find_half(opened);
  LAP_TRY(open_dataset(opened, "tail_mass", LAP_HDF5_FLOAT, rows, 0, &opened->tail_mass, status));
  if (opened->schema.has_next_logprob)
    LAP_TRY(open_dataset(opened, "next_logprob", LAP_HDF5_FLOAT, rows, 0, &opened->next_logprob,
                         status));
  if (opened->schema.has_entropy)
    LAP_TRY(open_dataset(opened, "entropy", LAP_HDF5_FLOAT, rows, 0, &opened->entropy, status));
  return LAP_OK;
}

static lap_code open_content(lap_cache_file *opened, lap_status *status) {
  const lap_hdf5_file *file = &opened->file;
  LAP_TRY(lap_hdf5_check_format(file, FORMAT, FORMAT_VERSION, status));
  LAP_TRY(lap_hdf5_read_sha256(file, "tokens_sha256", opened->tokens_sha256, status));
  if (lap_hdf5_has_attribute(file, "rows_sha256"))
    LAP_TRY(lap_hdf5_read_sha256(file, "rows_sha256", opened->rows_sha256, status));
  LAP_TRY(read_schema(file, &opened->schema, status));
  return open_datasets(opened, status);
}

lap_code lap_cache_file_open(const char *path, lap_cache_file *file, lap_status *status) {
  *file = (lap_cache_file){0};
  LAP_TRY(lap_hdf5_open(path, &file->file, status));
  const lap_code code = open_content(file, status);
  if (code != LAP_OK) lap_cache_file_close(file);
  return code;
}

void lap_cache_file_close(lap_cache_file *file) {
  lap_hdf5_close_dataset(&file->ids);
  lap_hdf5_close_dataset(&file->logprob);
  lap_hdf5_close_dataset(&file->tail_mass);
  lap_hdf5_close_dataset(&file->next_logprob);
  lap_hdf5_close_dataset(&file->entropy);
  if (file->half > 0) H5Tclose(file->half);
  lap_hdf5_close(&file->file);
  *file = (lap_cache_file){0};
}

lap_code lap_cache_file_read(const lap_cache_file *file, uint64_t row, uint64_t count,
                             const lap_cache_raw *raw, lap_status *status) {
  LAP_TRY(lap_hdf5_read_rows(&file->ids, row, count, H5T_NATIVE_INT64, raw->ids, status));
  if (file->half > 0) {
    LAP_TRY(lap_hdf5_read_rows(&file->logprob, row, count, file->half, raw->packed, status));
    lap_float16_unpack(raw->packed, (int64_t)(count * file->schema.k), raw->logprob);
  } else {
    LAP_TRY(lap_hdf5_read_rows(&file->logprob, row, count, H5T_NATIVE_FLOAT, raw->logprob, status));
  }
  LAP_TRY(
      lap_hdf5_read_rows(&file->tail_mass, row, count, H5T_NATIVE_FLOAT, raw->tail_mass, status));
  if (raw->next_logprob)
    LAP_TRY(lap_hdf5_read_rows(&file->next_logprob, row, count, H5T_NATIVE_FLOAT, raw->next_logprob,
                               status));
  if (raw->entropy)
    LAP_TRY(lap_hdf5_read_rows(&file->entropy, row, count, H5T_NATIVE_FLOAT, raw->entropy, status));
  return LAP_OK;
}

void lap_cache_raw_create(uint32_t rows, uint32_t k, lap_cache_raw *raw) {
  const size_t slots = (size_t)rows * k;
  *raw = (lap_cache_raw){.ids = lap_allocate(slots, sizeof *raw->ids),
                         .logprob = lap_allocate(slots, sizeof *raw->logprob),
                         .tail_mass = lap_allocate(rows, sizeof *raw->tail_mass),
                         .packed = lap_allocate(slots, sizeof *raw->packed)};
}

void lap_cache_raw_destroy(lap_cache_raw *raw) {
  free(raw->ids);
  free(raw->logprob);
  free(raw->tail_mass);
  free(raw->packed);
  *raw = (lap_cache_raw){0};
}
