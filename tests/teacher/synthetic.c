#include "tests/teacher/synthetic.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "dataset/special_ids.h"
#include "teacher/cache_row.h"
#include "tests/scratch.h"

enum { DOCUMENT = 40 };
static const char TOKENIZER[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

static uint32_t mix(uint64_t x) {
  x = (x + UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 29) * UINT64_C(0x94D049BB133111EB);
  return (uint32_t)(x >> 33);
}

static void must(lap_code code, const lap_status *status) {
  if (code == LAP_OK) return;
  fprintf(stderr, "%s\n", status->message);
  abort();
}

static void write_tokens(const synthetic *made, int shard, uint64_t rows) {
  const uint64_t documents = (rows + DOCUMENT - 1) / DOCUMENT;
  uint32_t *tokens = lap_allocate(rows, sizeof *tokens);
  uint64_t *starts = lap_allocate(documents + 1, sizeof *starts);
  for (uint64_t i = 0; i < rows; ++i) {
    const uint64_t at = i % DOCUMENT;
    tokens[i] = at == 0 ? LAP_BOS
                : at == DOCUMENT - 1
                    ? LAP_EOS
                    : 4 + mix(i + 1000003u * (uint64_t)shard) % (SYNTHETIC_VOCAB - 4);
  }
  for (uint64_t d = 0; d <= documents; ++d) starts[d] = d < documents ? d * DOCUMENT : rows;
  char name[64];
  snprintf(name, sizeof name, "tokens-%05d.h5", shard);
  lap_status status = {0};
  must(lap_token_shard_write(scratch_path(made->directory, name), tokens, rows, starts, documents,
                             SYNTHETIC_VOCAB, TOKENIZER, &status),
       &status);
  free(tokens);
  free(starts);
}

void synthetic_create(synthetic *made, int shards, uint64_t rows) {
  *made = (synthetic){.directory = scratch_create()};
  for (int i = 0; i < shards; ++i) write_tokens(made, i, rows);
  lap_status status = {0};
  must(lap_token_set_open(scratch_path(made->directory, "tokens-*.h5"), &made->tokens, &status),
       &status);
  made->schema = (lap_cache_schema){.codec = LAP_CODEC_TOPK,
                                    .vocab_size = SYNTHETIC_VOCAB,
                                    .k = SYNTHETIC_K,
                                    .sequence_length = SYNTHETIC_LENGTH,
                                    .document_mask = true,
                                    .teacher = "synthetic"};
  made->expectation = (lap_cache_expectation){
      .vocab_size = SYNTHETIC_VOCAB, .sequence_length = SYNTHETIC_LENGTH, .document_mask = true};
}

void synthetic_destroy(synthetic *made) {
  lap_token_set_close(&made->tokens);
  scratch_remove(made->directory);
}

/* Different ids, the first the next token; decreasing masses 0.5 and 0.4 over the others. */
static void fill_row(uint64_t row, uint32_t next, lap_cache_content *content) {
  uint32_t *ids = content->ids + row * SYNTHETIC_K;
  float *logprob = content->logprob + row * SYNTHETIC_K;
  const uint32_t step = 1 + mix(row) % 13;
  for (uint32_t j = 0; j < SYNTHETIC_K; ++j) {
    ids[j] = (next + j * step) % SYNTHETIC_VOCAB;
    const double mass = j == 0 ? 0.5 : 0.4 * (double)(SYNTHETIC_K - j) / 28.0;
    logprob[j] = (float)log(mass);
  }
  content->tail_mass[row] = 0.1f;
  content->next_logprob[row] = logprob[0];
  content->entropy[row] = 2.5f + (float)(row % 16) / 16;
}

void synthetic_content(const synthetic *made, size_t s, lap_cache_content *content) {
  const lap_token_shard *tokens = made->tokens.shard[s];
  lap_cache_content_create(tokens->token_count, SYNTHETIC_K, content);
  for (uint64_t i = 0; i < tokens->token_count; ++i) {
    if (lap_row_counts(tokens, i)) {
      fill_row(i, tokens->tokens[i + 1], content);
      continue;
    }
    for (int j = 0; j < SYNTHETIC_K; ++j) content->logprob[i * SYNTHETIC_K + (uint64_t)j] = NAN;
    content->tail_mass[i] = content->next_logprob[i] = content->entropy[i] = NAN;
  }
}

const char *synthetic_write(const synthetic *made, size_t s, const char *name,
                            const lap_cache_content *content) {
  const char *path = scratch_path(made->directory, name);
  lap_status status = {0};
  must(lap_cache_write(path, &made->schema, made->tokens.shard[s], content, &status), &status);
  return path;
}

const char *synthetic_write_all(const synthetic *made) {
  for (size_t s = 0; s < made->tokens.count; ++s) {
    lap_cache_content content;
    synthetic_content(made, s, &content);
    char name[64];
    snprintf(name, sizeof name, "cache-%05zu.h5", s);
    synthetic_write(made, s, name, &content);
    lap_cache_content_destroy(&content);
  }
  return scratch_path(made->directory, "cache-*.h5");
}

uint64_t synthetic_row(const synthetic *made, size_t s) {
  uint64_t row = made->tokens.shard[s]->token_count / 2;
  while (!lap_row_counts(made->tokens.shard[s], row)) ++row;
  return row;
}

/* --- the other program --- */

void plain_create(const synthetic *made, size_t s, plain_cache *plain) {
  const lap_token_shard *tokens = made->tokens.shard[s];
  const uint64_t rows = tokens->token_count, slots = rows * SYNTHETIC_K;
  *plain = (plain_cache){.format = "lapidary-teacher",
                         .format_version = 1,
                         .codec = "topk",
                         .tokens_sha256 = tokens->tokens_sha256,
                         .tokenizer_sha256 = tokens->tokenizer_sha256,
                         .teacher = "another program",
                         .vocab_size = SYNTHETIC_VOCAB,
                         .k = SYNTHETIC_K,
                         .sequence_length = SYNTHETIC_LENGTH,
                         .document_mask = 1,
                         .without = "",
                         .id_type = H5T_STD_I64LE,
                         .logprob_type = H5T_IEEE_F64LE,
                         .tail_type = H5T_IEEE_F64LE,
                         .rows = rows,
                         .columns = SYNTHETIC_K,
                         .logprob_columns = SYNTHETIC_K};
  plain->ids = lap_allocate(slots, sizeof *plain->ids);
  plain->logprob = lap_allocate(slots, sizeof *plain->logprob);
  plain->tail_mass = lap_allocate(rows, sizeof *plain->tail_mass);
  lap_cache_content content;
  synthetic_content(made, s, &content);
  for (uint64_t i = 0; i < slots; ++i) {
    plain->ids[i] = content.ids[i];
    plain->logprob[i] = (double)content.logprob[i];
  }
  for (uint64_t i = 0; i < rows; ++i) plain->tail_mass[i] = (double)content.tail_mass[i];
  lap_cache_content_destroy(&content);
}

void plain_destroy(plain_cache *plain) {
  free(plain->ids);
  free(plain->logprob);
  free(plain->tail_mass);
  free(plain->next_logprob);
  free(plain->entropy);
}

static void write_text(hid_t file, const char *name, const char *text, const plain_cache *plain) {
  if (!text || strcmp(plain->without, name) == 0) return;
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_size(type, H5T_VARIABLE);
  const hid_t id = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  if (H5Awrite(id, type, &text) < 0) abort();
  H5Aclose(id);
  H5Sclose(space);
  H5Tclose(type);
}

static void write_number(hid_t file, const char *name, int64_t value, const plain_cache *plain) {
  if (strcmp(plain->without, name) == 0) return;
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t id = H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
  if (H5Awrite(id, H5T_NATIVE_INT64, &value) < 0) abort();
  H5Aclose(id);
  H5Sclose(space);
}

static void write_data(hid_t file, const char *name, uint64_t columns, hid_t stored, hid_t memory,
                       const void *data, const plain_cache *plain) {
  if (!data || strcmp(plain->without, name) == 0) return;
  const hsize_t dims[2] = {plain->rows, columns};
  const hsize_t chunk[2] = {plain->chunk_rows, plain->chunk_columns};
  const int rank = columns > 0 ? 2 : 1;
  const hid_t space = H5Screate_simple(rank, dims, NULL), creation = H5Pcreate(H5P_DATASET_CREATE);
  if (rank == 2 && plain->chunk_rows > 0) H5Pset_chunk(creation, rank, chunk);
  const hid_t id = H5Dcreate2(file, name, stored, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  if (H5Dwrite(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) abort();
  H5Dclose(id);
  H5Pclose(creation);
  H5Sclose(space);
}

void plain_scale_to_one(plain_cache *plain) {
  for (uint64_t i = 0; i < plain->rows; ++i) {
    for (uint64_t slot = 0; slot < plain->columns; ++slot)
      plain->logprob[i * plain->columns + slot] -= log(1 - plain->tail_mass[i]);
    plain->tail_mass[i] = 0;
  }
}

void plain_write(const char *path, const plain_cache *plain) {
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  assert(file >= 0);
  write_text(file, "format", plain->format, plain);
  write_number(file, "format_version", plain->format_version, plain);
  write_text(file, "codec", plain->codec, plain);
  write_number(file, "vocab_size", plain->vocab_size, plain);
  write_number(file, "k", plain->k, plain);
  if (plain->draws > 0) write_number(file, "draws", plain->draws, plain);
  write_number(file, "sequence_length", plain->sequence_length, plain);
  write_number(file, "document_mask", plain->document_mask, plain);
  write_text(file, "tokens_sha256", plain->tokens_sha256, plain);
  write_text(file, "tokenizer_sha256", plain->tokenizer_sha256, plain);
  write_text(file, "teacher", plain->teacher, plain);
  write_text(file, "teacher_sha256", plain->teacher_sha256, plain);
  if (plain->rows_sha256) write_text(file, "rows_sha256", plain->rows_sha256, plain);
  write_data(file, "ids", plain->columns, plain->id_type, H5T_NATIVE_INT64, plain->ids, plain);
  write_data(file, "logprob", plain->logprob_columns, plain->logprob_type, H5T_NATIVE_DOUBLE,
             plain->logprob, plain);
  write_data(file, "tail_mass", 0, plain->tail_type, H5T_NATIVE_DOUBLE, plain->tail_mass, plain);
  write_data(file, "next_logprob", 0, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, plain->next_logprob,
             plain);
  write_data(file, "entropy", 0, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, plain->entropy, plain);
  H5Fclose(file);
}
