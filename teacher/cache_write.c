#include "teacher/cache_write.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "teacher/cache_file.h"
#include "teacher/cache_row.h"
#include "teacher/rows_digest.h"

enum {
  DEFLATE_LEVEL = 1,
  LEAST_CHUNK_ROWS = 64,
  MOST_CHUNK_ROWS = 256,
  MOST_CHUNK_SLOTS = 1 << 18,
  LEAST_VECTOR_ROWS = 1024 /* of a chunk with one number a row */
};

void lap_cache_content_create(uint64_t rows, uint32_t k, lap_cache_content *content) {
  const size_t slots = (size_t)rows * k;
  *content = (lap_cache_content){.ids = lap_allocate(slots, sizeof *content->ids),
                                 .logprob = lap_allocate(slots, sizeof *content->logprob),
                                 .tail_mass = lap_allocate(rows, sizeof *content->tail_mass),
                                 .next_logprob = lap_allocate(rows, sizeof *content->next_logprob),
                                 .entropy = lap_allocate(rows, sizeof *content->entropy)};
}

void lap_cache_content_add_draws(uint64_t rows, lap_cache_content *content) {
  content->threshold = lap_allocate(rows, sizeof *content->threshold);
  content->top_id = lap_allocate(rows, sizeof *content->top_id);
}

int64_t lap_cache_content_bytes(int64_t rows, int64_t k) {
  return rows * (k * (int64_t)(sizeof(uint32_t) + sizeof(float)) + 3 * (int64_t)sizeof(float));
}

int64_t lap_cache_file_bytes(int64_t rows, int64_t k) {
  const int64_t slot = sizeof(uint16_t) + sizeof(uint16_t);
  return rows * (k * slot + 3 * (int64_t)sizeof(float));
}

void lap_cache_content_destroy(lap_cache_content *content) {
  free(content->ids);
  free(content->logprob);
  free(content->tail_mass);
  free(content->next_logprob);
  free(content->entropy);
  free(content->threshold);
  free(content->top_id);
  *content = (lap_cache_content){0};
}

/* Training reads windows of T-1 rows in random order, so a chunk should hold whole windows, or a
 * whole number of chunks a window: the largest divisor of T-1 within bounds. T = 8192 has none;
 * then what is decoded in vain is one chunk a window. */
static uint64_t chunk_rows(const lap_cache_schema *schema, uint64_t rows) {
  const uint64_t window = schema->sequence_length - 1;
  uint64_t chosen = 2 * (uint64_t)LEAST_CHUNK_ROWS;
  if (window < LEAST_CHUNK_ROWS) {
    chosen = (LEAST_CHUNK_ROWS / 2 / window + 1) * window;
  } else {
    for (uint64_t d = LEAST_CHUNK_ROWS; d <= MOST_CHUNK_ROWS; ++d)
      if (window % d == 0) chosen = d;
  }
  const uint64_t most = MOST_CHUNK_SLOTS / schema->k + 1;
  if (chosen > most) chosen = most;
  return chosen < rows ? chosen : rows;
}

/* Chunks of vectors are a few windows too, not megabytes: a window of 127 rows out of a chunk of
 * 16384 costs more to decode than its ids and logprobs together. */
static uint64_t vector_rows(uint64_t chunk_rows, uint64_t rows) {
  const uint64_t chosen = ((LEAST_VECTOR_ROWS - 1) / chunk_rows + 1) * chunk_rows;
  return chosen < rows ? chosen : rows;
}

/* The datasets of a file under construction; rank-1 ones have k = 0. */
typedef struct {
  const lap_hdf5_file *file;
  uint64_t rows, chunk_rows;
  hid_t ids, logprob, tail_mass, next_logprob, entropy, threshold, top_id; /* -1: none */
} writer;

static hid_t create_dataset(const writer *w, const char *name, hid_t type, uint32_t k) {
  const int rank = k > 0 ? 2 : 1;
  const hsize_t dims[2] = {w->rows, k};
  const hsize_t chunk[2] = {k > 0 ? w->chunk_rows : vector_rows(w->chunk_rows, w->rows), k};
  const hid_t space = H5Screate_simple(rank, dims, NULL), creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_obj_track_times(creation, false);
  H5Pset_chunk(creation, rank, chunk);
  H5Pset_shuffle(creation);
  H5Pset_deflate(creation, DEFLATE_LEVEL);
  H5Pset_fletcher32(creation);
  const hid_t id = H5Dcreate2(w->file->id, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  H5Pclose(creation);
  H5Sclose(space);
  return id;
}

static lap_code open_writer(const lap_hdf5_file *file, const lap_cache_schema *schema,
                            uint64_t rows, writer *w, lap_status *status) {
  *w = (writer){.file = file, .rows = rows, .chunk_rows = chunk_rows(schema, rows)};
  const hid_t id_type = schema->vocab_size <= 1 << 16 ? H5T_STD_U16LE : H5T_STD_U32LE;
  w->ids = create_dataset(w, "ids", id_type, schema->k);
  w->logprob = create_dataset(w, "logprob", H5T_IEEE_F32LE, schema->k);
  w->tail_mass = create_dataset(w, "tail_mass", H5T_IEEE_F32LE, 0);
  w->next_logprob = create_dataset(w, "next_logprob", H5T_IEEE_F32LE, 0);
  w->entropy = create_dataset(w, "entropy", H5T_IEEE_F32LE, 0);
  const bool drawn = lap_codec_is_drawn(schema->codec);
  w->threshold = drawn ? create_dataset(w, "threshold", H5T_IEEE_F32LE, 0) : -1;
  w->top_id = drawn ? create_dataset(w, "top_id", id_type, 0) : -1;
  if (drawn && (w->threshold < 0 || w->top_id < 0))
    return lap_fail(status, LAP_DATA, "%s: HDF5 cannot make the datasets", file->path);
  if (w->ids >= 0 && w->logprob >= 0 && w->tail_mass >= 0 && w->next_logprob >= 0 &&
      w->entropy >= 0)
    return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: HDF5 cannot make the datasets", file->path);
}

static bool close_writer(writer *w) {
  const hid_t datasets[] = {w->ids,     w->logprob,   w->tail_mass, w->next_logprob,
                            w->entropy, w->threshold, w->top_id};
  bool closed = true;
  for (size_t i = 0; i < sizeof datasets / sizeof *datasets; ++i)
    if (datasets[i] >= 0) closed = H5Dclose(datasets[i]) >= 0 && closed;
  return closed;
}

static bool write_rows(hid_t dataset, uint64_t row, uint64_t count, uint32_t k, hid_t type,
                       const void *data) {
  const hsize_t start[2] = {row, 0}, extent[2] = {count, k};
  const hid_t file_space = H5Dget_space(dataset);
  const hid_t memory_space = H5Screate_simple(k > 0 ? 2 : 1, extent, NULL);
  const bool written =
      H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0 &&
      H5Dwrite(dataset, type, memory_space, file_space, H5P_DEFAULT, data) >= 0;
  H5Sclose(memory_space);
  H5Sclose(file_space);
  return written;
}

/* A block of rows on its way into the file, as it will be read back. */
typedef struct {
  lap_cache_raw raw;
  float *next_logprob, *entropy, *threshold;
  uint32_t *top_id;
  int32_t *ids; /* [K], [K]: what the check of a row makes of it */
  float *probability;
  lap_duplicates seen;
} block;

static void create_block(uint32_t rows, const lap_cache_schema *schema, block *b) {
  lap_cache_raw_create(rows, schema->k, &b->raw);
  b->next_logprob = lap_allocate(rows, sizeof *b->next_logprob);
  b->entropy = lap_allocate(rows, sizeof *b->entropy);
  b->threshold = lap_allocate(rows, sizeof *b->threshold);
  b->top_id = lap_allocate(rows, sizeof *b->top_id);
  b->ids = lap_allocate(schema->k, sizeof *b->ids);
  b->probability = lap_allocate(schema->k, sizeof *b->probability);
  lap_duplicates_create(schema->vocab_size, &b->seen);
}

static void destroy_block(block *b) {
  lap_cache_raw_destroy(&b->raw);
  free(b->next_logprob);
  free(b->entropy);
  free(b->threshold);
  free(b->top_id);
  free(b->ids);
  free(b->probability);
  lap_duplicates_destroy(&b->seen);
}

static void copy_row(const lap_cache_content *content, uint64_t row, uint32_t k, bool counts,
                     block *b, uint64_t at) {
  int64_t *ids = b->raw.ids + at * k;
  float *logprob = b->raw.logprob + at * k;
  for (uint32_t i = 0; i < k; ++i) {
    logprob[i] = counts ? content->logprob[row * k + i] : -INFINITY;
    ids[i] = logprob[i] == -INFINITY ? 0 : content->ids[row * k + i];
  }
  b->raw.tail_mass[at] = counts ? content->tail_mass[row] : 0;
  b->next_logprob[at] = counts ? content->next_logprob[row] : 0;
  b->entropy[at] = counts ? content->entropy[row] : 0;
  if (!content->threshold) return;
  b->threshold[at] = counts ? content->threshold[row] : 0;
  b->top_id[at] = counts ? content->top_id[row] : 0;
}

float lap_cache_round_logprob(float logprob) { return rintf(logprob * 0x1p11f) * 0x1p-11f; }

/* Rows [row, row + count) as they will be read back. */
static void copy_rows(const lap_cache_content *content, const lap_token_shard *tokens,
                      const lap_cache_schema *schema, uint64_t row, uint64_t count, block *b) {
  const uint32_t k = schema->k;
  for (uint64_t i = 0; i < count; ++i)
    copy_row(content, row + i, k, lap_row_counts(tokens, row + i), b, i);
  for (uint64_t i = 0; i < count * k && !lap_codec_is_drawn(schema->codec); ++i)
    b->raw.logprob[i] = lap_cache_round_logprob(b->raw.logprob[i]);
}

/* Copies, rounds, and checks what comes out of the rounding. */
static lap_code fill_block(const char *path, const lap_token_shard *tokens,
                           const lap_cache_schema *schema, const lap_cache_content *content,
                           uint64_t row, uint64_t count, block *b, lap_status *status) {
  const uint32_t k = schema->k;
  copy_rows(content, tokens, schema, row, count, b);
  for (uint64_t i = 0; i < count; ++i) {
    const lap_stored_row stored = {.path = path,
                                   .row = row + i,
                                   .k = k,
                                   .drawn = lap_codec_is_drawn(schema->codec),
                                   .ids = b->raw.ids + i * k,
                                   .logprob = b->raw.logprob + i * k,
                                   .tail_mass = b->raw.tail_mass[i]};
    double mass;
    if (lap_row_counts(tokens, row + i))
      LAP_TRY(lap_stored_row_check(&stored, &b->seen, b->ids, b->probability, &mass, status));
  }
  return LAP_OK;
}

static lap_code write_block(const writer *w, uint32_t k, const block *b, uint64_t row,
                            uint64_t count, lap_status *status) {
  if (write_rows(w->ids, row, count, k, H5T_NATIVE_INT64, b->raw.ids) &&
      write_rows(w->logprob, row, count, k, H5T_NATIVE_FLOAT, b->raw.logprob) &&
      write_rows(w->tail_mass, row, count, 0, H5T_NATIVE_FLOAT, b->raw.tail_mass) &&
      write_rows(w->next_logprob, row, count, 0, H5T_NATIVE_FLOAT, b->next_logprob) &&
      write_rows(w->entropy, row, count, 0, H5T_NATIVE_FLOAT, b->entropy) &&
      (w->threshold < 0 ||
       (write_rows(w->threshold, row, count, 0, H5T_NATIVE_FLOAT, b->threshold) &&
        write_rows(w->top_id, row, count, 0, H5T_NATIVE_UINT32, b->top_id))))
    return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: HDF5 cannot take the rows from %" PRIu64 " on",
                  w->file->path, row);
}

static lap_code write_datasets(const lap_hdf5_file *file, const lap_cache_schema *schema,
                               const lap_token_shard *tokens, const lap_cache_content *content,
                               lap_status *status) {
  writer w;
  lap_code code = open_writer(file, schema, tokens->token_count, &w, status);
  block b;
  create_block((uint32_t)w.chunk_rows, schema, &b);
  for (uint64_t row = 0; row < w.rows && code == LAP_OK; row += w.chunk_rows) {
    const uint64_t left = w.rows - row, count = left < w.chunk_rows ? left : w.chunk_rows;
    code = fill_block(file->path, tokens, schema, content, row, count, &b, status);
    if (code == LAP_OK) code = write_block(&w, schema->k, &b, row, count, status);
  }
  destroy_block(&b);
  if (!close_writer(&w) && code == LAP_OK)
    code = lap_fail(status, LAP_DATA, "%s: HDF5 cannot finish the datasets", file->path);
  return code;
}

/* One block of the digest, a chunk at a time: its ids, then its logprobs, then its tails. */
static void hash_block(const lap_cache_content *content, const lap_token_shard *tokens,
                       const lap_cache_schema *schema, uint32_t chunk, uint64_t row, uint64_t count,
                       block *b, lap_sha256_stream *stream) {
  const uint32_t k = schema->k;
  enum { IDS, LOGPROBS, TAILS, COLUMNS };
  for (int column = IDS; column < COLUMNS; ++column)
    for (uint64_t done = 0; done < count; done += chunk) {
      const uint64_t rows = count - done < chunk ? count - done : chunk;
      copy_rows(content, tokens, schema, row + done, rows, b);
      if (column == IDS) lap_sha256_add(stream, b->raw.ids, rows * k * sizeof *b->raw.ids);
      if (column == LOGPROBS)
        lap_sha256_add(stream, b->raw.logprob, rows * k * sizeof *b->raw.logprob);
      if (column == TAILS) lap_sha256_add(stream, b->raw.tail_mass, rows * sizeof(float));
    }
}

static lap_code write_rows_digest(const lap_hdf5_file *file, const lap_cache_schema *schema,
                                  const lap_token_shard *tokens, const lap_cache_content *content,
                                  lap_status *status) {
  const uint64_t total = tokens->token_count, most = lap_rows_digest_block(schema->k);
  const uint32_t chunk = (uint32_t)chunk_rows(schema, total);
  block b;
  create_block(chunk, schema, &b);
  lap_sha256_stream *stream = lap_rows_digest_create(tokens->tokens_sha256);
  for (uint64_t row = 0; row < total; row += most)
    hash_block(content, tokens, schema, chunk, row, total - row < most ? total - row : most, &b,
               stream);
  destroy_block(&b);
  uint8_t digest[LAP_SHA256_SIZE];
  char hex[LAP_SHA256_HEX];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
  return lap_hdf5_write_string(file, "rows_sha256", hex, status);
}

static lap_code write_attributes(const lap_hdf5_file *file, const lap_cache_schema *schema,
                                 const lap_token_shard *tokens, lap_status *status) {
  LAP_TRY(lap_hdf5_write_string(file, "format", "lapidary-teacher", status));
  LAP_TRY(lap_hdf5_write_integer(file, "format_version", 1, status));
  LAP_TRY(lap_hdf5_write_string(file, "codec", lap_codec_name(schema->codec), status));
  LAP_TRY(lap_hdf5_write_integer(file, "vocab_size", schema->vocab_size, status));
  LAP_TRY(lap_hdf5_write_integer(file, "k", schema->k, status));
  if (lap_codec_is_drawn(schema->codec))
    LAP_TRY(lap_hdf5_write_integer(file, "draws", schema->draws, status));
  if (schema->exact > 0) LAP_TRY(lap_hdf5_write_integer(file, "exact", schema->exact, status));
  if (lap_codec_is_drawn(schema->codec) && schema->draw_seed >= 0)
    LAP_TRY(lap_hdf5_write_integer(file, "draw_seed", schema->draw_seed, status));
  if (schema->swapped_percent > 0)
    LAP_TRY(lap_hdf5_write_integer(file, "swapped_percent", schema->swapped_percent, status));
  LAP_TRY(lap_hdf5_write_integer(file, "sequence_length", schema->sequence_length, status));
  LAP_TRY(lap_hdf5_write_integer(file, "document_mask", schema->document_mask, status));
  LAP_TRY(lap_hdf5_write_string(file, "tokens_sha256", tokens->tokens_sha256, status));
  LAP_TRY(lap_hdf5_write_string(file, "tokenizer_sha256", tokens->tokenizer_sha256, status));
  LAP_TRY(lap_hdf5_write_string(file, "teacher", schema->teacher, status));
  if (schema->teacher_sha256[0])
    LAP_TRY(lap_hdf5_write_string(file, "teacher_sha256", schema->teacher_sha256, status));
  if (schema->computed_as[0] == '\0') return LAP_OK;
  return lap_hdf5_write_string(file, "computed_as", schema->computed_as, status);
}

lap_code lap_cache_write(const char *path, const lap_cache_schema *schema,
                         const lap_token_shard *tokens, const lap_cache_content *content,
                         lap_status *status) {
  assert(schema->k >= 1 && schema->k <= schema->vocab_size && schema->sequence_length >= 2);
  assert(lap_codec_is_drawn(schema->codec) == (schema->draws > 0));
  assert(lap_codec_is_drawn(schema->codec) == (content->threshold && content->top_id));
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_create(path, &file, status));
  lap_code code = write_attributes(&file, schema, tokens, status);
  if (code == LAP_OK) code = write_datasets(&file, schema, tokens, content, status);
  /* Rows out of place are not what the digest gives its word for. */
  if (code == LAP_OK && schema->swapped_percent == 0)
    code = write_rows_digest(&file, schema, tokens, content, status);
  return lap_hdf5_end(&file, code, status);
}

lap_code lap_cache_measure(const lap_cache_schema *schema, const lap_token_shard *tokens,
                           const lap_cache_content *content, uint64_t *bytes, lap_status *status) {
  static const char *const names[] = {"ids",     "logprob",   "tail_mass", "next_logprob",
                                      "entropy", "threshold", "top_id"};
  lap_hdf5_file file;
  *bytes = 0;
  LAP_TRY(lap_hdf5_create("rows to be measured", &file, status));
  const lap_code code = write_datasets(&file, schema, tokens, content, status);
  for (size_t i = 0; i < sizeof names / sizeof *names && code == LAP_OK; ++i) {
    if (!lap_hdf5_has_dataset(&file, names[i])) continue;
    const hid_t dataset = H5Dopen2(file.id, names[i], H5P_DEFAULT);
    *bytes += H5Dget_storage_size(dataset);
    H5Dclose(dataset);
  }
  lap_hdf5_close(&file);
  return code;
}
