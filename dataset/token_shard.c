#include "dataset/token_shard.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "dataset/hdf5_file.h"

static const char FORMAT[] = "lapidary-tokens";
enum { FORMAT_VERSION = 1, BLOCK = 1 << 16 };
/* A shard lies whole in memory: 2^30 tokens are 4 GiB, far above any sensible shard. */
static const uint64_t MOST_TOKENS = UINT64_C(1) << 30;

static lap_code read_attributes(const lap_hdf5_file *file, lap_token_shard *shard,
                                lap_status *status) {
  int64_t vocab_size;
  LAP_TRY(lap_hdf5_check_format(file, FORMAT, FORMAT_VERSION, status));
  LAP_TRY(lap_hdf5_read_integer(file, "vocab_size", 1, INT32_MAX, &vocab_size, status));
  LAP_TRY(lap_hdf5_read_sha256(file, "tokenizer_sha256", shard->tokenizer_sha256, status));
  LAP_TRY(lap_hdf5_read_sha256(file, "tokens_sha256", shard->tokens_sha256, status));
  shard->vocab_size = (uint32_t)vocab_size;
  return LAP_OK;
}

/* Reads by blocks as int64, so that negative values are seen and memory stays near 4 bytes a token.
 */
static lap_code read_tokens(const lap_hdf5_dataset *dataset, lap_token_shard *shard, int64_t *block,
                            lap_status *status) {
  for (uint64_t row = 0; row < shard->token_count; row += BLOCK) {
    const uint64_t left = shard->token_count - row;
    const uint64_t count = left < BLOCK ? left : BLOCK;
    LAP_TRY(lap_hdf5_read_rows(dataset, row, count, H5T_NATIVE_INT64, block, status));
    for (uint64_t i = 0; i < count; ++i) {
      if (block[i] < 0 || block[i] >= shard->vocab_size)
        return lap_fail(status, LAP_DATA,
                        "%s: tokens[%" PRIu64 "] is %" PRId64 "; expected 0 to %u (vocab_size - 1)",
                        shard->path, row + i, block[i], shard->vocab_size - 1);
      shard->tokens[row + i] = (uint32_t)block[i];
    }
  }
  return LAP_OK;
}

static lap_code read_documents(const lap_hdf5_dataset *dataset, lap_token_shard *shard,
                               int64_t *block, lap_status *status) {
  int64_t before = 0;
  for (uint64_t row = 0; row <= shard->document_count; row += BLOCK) {
    const uint64_t left = shard->document_count + 1 - row;
    const uint64_t count = left < BLOCK ? left : BLOCK;
    LAP_TRY(lap_hdf5_read_rows(dataset, row, count, H5T_NATIVE_INT64, block, status));
    for (uint64_t i = 0; i < count; ++i) {
      if (block[i] < before || block[i] > (int64_t)shard->token_count)
        return lap_fail(status, LAP_DATA,
                        "%s: documents[%" PRIu64 "] is %" PRId64 "; expected %" PRId64
                        " (the one before) to %" PRIu64 " (the number of tokens)",
                        shard->path, row + i, block[i], before, shard->token_count);
      shard->documents[row + i] = (uint64_t)block[i];
      before = block[i];
    }
  }
  if (shard->documents[0] != 0 || (uint64_t)before != shard->token_count)
    return lap_fail(status, LAP_DATA,
                    "%s: documents: expected 0 first and %" PRIu64
                    " (the number of tokens) last, "
                    "found %" PRIu64 " and %" PRId64,
                    shard->path, shard->token_count, shard->documents[0], before);
  return LAP_OK;
}

static lap_code read_datasets(const lap_hdf5_file *file, lap_token_shard *shard,
                              lap_status *status) {
  lap_hdf5_dataset tokens = {0}, documents = {0};
  int64_t *block = lap_allocate(BLOCK, sizeof *block);
  lap_code code =
      lap_hdf5_open_dataset(file, "tokens", LAP_HDF5_INTEGER, 1, &MOST_TOKENS, &tokens, status);
  if (code != LAP_OK) goto done;
  shard->token_count = tokens.dims[0];
  shard->tokens = lap_allocate(shard->token_count, sizeof *shard->tokens);
  if ((code = read_tokens(&tokens, shard, block, status)) != LAP_OK) goto done;
  const uint64_t most_documents = shard->token_count + 1;
  code = lap_hdf5_open_dataset(file, "documents", LAP_HDF5_INTEGER, 1, &most_documents, &documents,
                               status);
  if (code != LAP_OK) goto done;
  shard->document_count = documents.dims[0] - 1;
  shard->documents = lap_allocate(shard->document_count + 1, sizeof *shard->documents);
  code = read_documents(&documents, shard, block, status);
done:
  lap_hdf5_close_dataset(&documents);
  lap_hdf5_close_dataset(&tokens);
  free(block);
  return code;
}

lap_code lap_token_shard_measure(const char *path, uint64_t *token_count, uint64_t *document_count,
                                 lap_status *status) {
  lap_hdf5_file file;
  lap_hdf5_dataset tokens = {0}, documents = {0};
  LAP_TRY(lap_hdf5_open(path, &file, status));
  lap_code code = lap_hdf5_check_format(&file, FORMAT, FORMAT_VERSION, status);
  if (code == LAP_OK)
    code =
        lap_hdf5_open_dataset(&file, "tokens", LAP_HDF5_INTEGER, 1, &MOST_TOKENS, &tokens, status);
  const uint64_t most_documents = MOST_TOKENS + 1;
  if (code == LAP_OK)
    code = lap_hdf5_open_dataset(&file, "documents", LAP_HDF5_INTEGER, 1, &most_documents,
                                 &documents, status);
  if (code == LAP_OK) {
    *token_count = tokens.dims[0];
    *document_count = documents.dims[0] - 1;
  }
  lap_hdf5_close_dataset(&documents);
  lap_hdf5_close_dataset(&tokens);
  lap_hdf5_close(&file);
  return code;
}

static lap_code check_hash(const lap_token_shard *shard, lap_status *status) {
  char found[LAP_SHA256_HEX];
  lap_tokens_sha256(shard->tokens, shard->token_count, found);
  if (strcmp(found, shard->tokens_sha256) == 0) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: the tokens do not match tokens_sha256: expected %s, found %s; the file is "
                  "damaged or was edited",
                  shard->path, shard->tokens_sha256, found);
}

static lap_code read_shard(const char *path, lap_token_shard **shard, lap_status *status) {
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_open(path, &file, status));
  lap_token_shard *opened = lap_allocate(1, sizeof *opened);
  opened->path = lap_copy_string(path);
  lap_code code = read_attributes(&file, opened, status);
  if (code == LAP_OK) code = read_datasets(&file, opened, status);
  lap_hdf5_close(&file);
  if (code == LAP_OK) code = check_hash(opened, status);
  if (code == LAP_OK)
    *shard = opened;
  else
    lap_token_shard_close(opened);
  return code;
}

static lap_code try_shard(const void *path, void *result, lap_status *status) {
  (void)result;
  lap_token_shard *shard;
  return read_shard(path, &shard, status);
}

lap_code lap_token_shard_open(const char *path, lap_token_shard **shard, lap_status *status) {
  *shard = NULL;
  LAP_TRY(lap_hdf5_try(path, try_shard, path, NULL, 0, status));
  return read_shard(path, shard, status);
}

void lap_token_shard_close(lap_token_shard *shard) {
  if (!shard) return;
  free(shard->path);
  free(shard->tokens);
  free(shard->documents);
  free(shard);
}

static lap_code write_content(const lap_hdf5_file *file, const lap_token_shard *shard,
                              lap_status *status) {
  LAP_TRY(lap_hdf5_write_string(file, "format", FORMAT, status));
  LAP_TRY(lap_hdf5_write_integer(file, "format_version", FORMAT_VERSION, status));
  LAP_TRY(lap_hdf5_write_integer(file, "vocab_size", shard->vocab_size, status));
  LAP_TRY(lap_hdf5_write_string(file, "tokenizer_sha256", shard->tokenizer_sha256, status));
  LAP_TRY(lap_hdf5_write_string(file, "tokens_sha256", shard->tokens_sha256, status));
  const hid_t token_type = shard->vocab_size <= 1 << 16 ? H5T_STD_U16LE : H5T_STD_U32LE;
  LAP_TRY(lap_hdf5_write_dataset(file, "tokens", 1, &shard->token_count, token_type,
                                 H5T_NATIVE_UINT32, shard->tokens, status));
  const uint64_t offsets = shard->document_count + 1;
  return lap_hdf5_write_dataset(file, "documents", 1, &offsets, H5T_STD_U64LE, H5T_NATIVE_UINT64,
                                shard->documents, status);
}

lap_code lap_token_shard_write(const char *path, const uint32_t *tokens, uint64_t token_count,
                               const uint64_t *documents, uint64_t document_count,
                               uint32_t vocab_size, const char *tokenizer_sha256,
                               lap_status *status) {
  assert(token_count > 0 && token_count <= MOST_TOKENS && strlen(tokenizer_sha256) == 64);
  assert(documents[0] == 0 && documents[document_count] == token_count);
  lap_token_shard content = {.token_count = token_count,
                             .document_count = document_count,
                             .vocab_size = vocab_size,
                             .tokens = (uint32_t *)tokens,
                             .documents = (uint64_t *)documents};
  memcpy(content.tokenizer_sha256, tokenizer_sha256, LAP_SHA256_HEX);
  lap_tokens_sha256(tokens, token_count, content.tokens_sha256);
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_create(path, &file, status));
  return lap_hdf5_end(&file, write_content(&file, &content, status), status);
}
