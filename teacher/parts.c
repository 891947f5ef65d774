#include "teacher/parts.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "dataset/windows.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "parts are memory images");

enum { MAGIC_SIZE = 16, CHECKSUM_SIZE = LAP_XXH128_HEX - 1 };
static const char MAGIC[MAGIC_SIZE] = "lapidary-part 1";

/* The start of a part's file; no padding inside. */
typedef struct {
  char magic[MAGIC_SIZE];
  uint64_t identity_size, first_row, rows, k;
} part_header;

struct lap_parts {
  char *directory, *identity;
  const lap_token_shard *tokens;
  lap_cache_schema schema;
};

lap_code lap_parts_create(const char *directory, const lap_cache_schema *schema,
                          const lap_token_shard *tokens, const char *teacher_identity,
                          lap_parts **parts, lap_status *status) {
  *parts = NULL;
  LAP_TRY(lap_file_make_directories(directory, status));
  lap_parts *created = lap_allocate(1, sizeof *created);
  *created =
      (lap_parts){.directory = lap_copy_string(directory), .tokens = tokens, .schema = *schema};
  created->identity = lap_format(
      "tokens_sha256 %s\ntokenizer_sha256 %s\ncodec %s\nvocab_size %u\nk %u\ndraws %u\n"
      "exact %u\ndraw_seed %" PRId64
      "\nswapped_percent %u\nsequence_length %u\ndocument_mask %d\nteacher %s\nteacher_sha256 "
      "%s\ncomputed_as %s\n%s\n",
      tokens->tokens_sha256, tokens->tokenizer_sha256, lap_codec_name(schema->codec),
      schema->vocab_size, schema->k, schema->draws, schema->exact, schema->draw_seed,
      schema->swapped_percent, schema->sequence_length, schema->document_mask, schema->teacher,
      schema->teacher_sha256, schema->computed_as, teacher_identity);
  *parts = created;
  return LAP_OK;
}

void lap_parts_destroy(lap_parts *parts) {
  if (!parts) return;
  free(parts->directory);
  free(parts->identity);
  free(parts);
}

/* --- which rows a part has --- */

static uint64_t window_count(const lap_parts *parts) {
  return lap_window_count(parts->tokens->token_count, parts->schema.sequence_length);
}

uint64_t lap_parts_count(const lap_parts *parts) {
  return (window_count(parts) + LAP_PART_WINDOWS - 1) / LAP_PART_WINDOWS;
}

uint32_t lap_parts_windows(const lap_parts *parts, uint64_t part, uint64_t *first_window) {
  assert(part < lap_parts_count(parts));
  *first_window = part * LAP_PART_WINDOWS;
  const uint64_t left = window_count(parts) - *first_window;
  return (uint32_t)(left < LAP_PART_WINDOWS ? left : LAP_PART_WINDOWS);
}

uint32_t lap_parts_rows(const lap_parts *parts, uint64_t part, uint64_t *first_row) {
  uint64_t first_window;
  const uint64_t windows = lap_parts_windows(parts, part, &first_window);
  const uint64_t window_rows = parts->schema.sequence_length - 1;
  *first_row = first_window * window_rows;
  const uint64_t left = parts->tokens->token_count - *first_row;
  return (uint32_t)(left < windows * window_rows ? left : windows * window_rows);
}

/* --- the file of a part --- */

/* Named by the tokens too: the parts of all shards of one `teach` share a directory. */
static char *part_path(const lap_parts *parts, uint64_t part) {
  return lap_format("%s/%.16s-%06" PRIu64 ".part", parts->directory, parts->tokens->tokens_sha256,
                    part);
}

static part_header header_of(const lap_parts *parts, uint64_t part) {
  part_header header = {.identity_size = strlen(parts->identity), .k = parts->schema.k};
  memcpy(header.magic, MAGIC, MAGIC_SIZE);
  header.rows = lap_parts_rows(parts, part, &header.first_row);
  return header;
}

static size_t content_size(const lap_parts *parts, const part_header *header) {
  const size_t columns = lap_codec_is_drawn(parts->schema.codec) ? 5 : 3;
  return sizeof(uint32_t) * header->rows * (2 * header->k + columns);
}

static size_t file_size(const lap_parts *parts, const part_header *header) {
  return sizeof *header + header->identity_size + content_size(parts, header) + CHECKSUM_SIZE;
}

static char *append(char *to, const void *bytes, size_t count) {
  memcpy(to, bytes, count);
  return to + count;
}

lap_code lap_parts_write(const lap_parts *parts, uint64_t part, const lap_cache_content *rows,
                         lap_status *status) {
  const part_header header = header_of(parts, part);
  const size_t size = file_size(parts, &header), slots = header.rows * header.k;
  char *image = lap_allocate(size, 1), *at = image;
  at = append(at, &header, sizeof header);
  at = append(at, parts->identity, header.identity_size);
  at = append(at, rows->ids, slots * sizeof *rows->ids);
  at = append(at, rows->logprob, slots * sizeof *rows->logprob);
  at = append(at, rows->tail_mass, header.rows * sizeof *rows->tail_mass);
  at = append(at, rows->next_logprob, header.rows * sizeof *rows->next_logprob);
  at = append(at, rows->entropy, header.rows * sizeof *rows->entropy);
  if (lap_codec_is_drawn(parts->schema.codec)) {
    at = append(at, rows->threshold, header.rows * sizeof *rows->threshold);
    at = append(at, rows->top_id, header.rows * sizeof *rows->top_id);
  }
  char checksum[LAP_XXH128_HEX];
  lap_xxh128_hex(image, (size_t)(at - image), checksum);
  append(at, checksum, CHECKSUM_SIZE);
  char *path = part_path(parts, part);
  const lap_code code = lap_file_write_alone(path, image, size, status);
  free(path);
  free(image);
  return code;
}

/* The bytes of a regular file of exactly `size` bytes, or NULL. */
static char *read_exactly(const char *path, size_t size) {
  char *image;
  size_t count;
  lap_status ignored;
  if (lap_file_read(path, size, &image, &count, &ignored) == LAP_OK && count == size) return image;
  free(image); /* NULL where it could not be read */
  return NULL;
}

/* The whole file of a part whose every byte is as it was written, or NULL. */
static char *load(const lap_parts *parts, uint64_t part) {
  const part_header header = header_of(parts, part);
  const size_t size = file_size(parts, &header), summed = size - CHECKSUM_SIZE;
  char *path = part_path(parts, part);
  char *image = read_exactly(path, size);
  free(path);
  if (!image) return NULL;
  char checksum[LAP_XXH128_HEX];
  lap_xxh128_hex(image, summed, checksum);
  if (memcmp(image, &header, sizeof header) == 0 &&
      memcmp(image + sizeof header, parts->identity, header.identity_size) == 0 &&
      memcmp(image + summed, checksum, CHECKSUM_SIZE) == 0)
    return image;
  free(image);
  return NULL;
}

bool lap_parts_have(const lap_parts *parts, uint64_t part) {
  char *image = load(parts, part);
  free(image);
  return image != NULL;
}

/* --- all parts of a shard --- */

static const char *extract(const char *from, void *to, size_t count) {
  memcpy(to, from, count);
  return from + count;
}

static void unpack(const lap_parts *parts, uint64_t part, const char *image,
                   lap_cache_content *content) {
  const part_header header = header_of(parts, part);
  const size_t row = header.first_row, slot = row * header.k, slots = header.rows * header.k;
  const char *at = image + sizeof header + header.identity_size;
  at = extract(at, content->ids + slot, slots * sizeof *content->ids);
  at = extract(at, content->logprob + slot, slots * sizeof *content->logprob);
  at = extract(at, content->tail_mass + row, header.rows * sizeof *content->tail_mass);
  at = extract(at, content->next_logprob + row, header.rows * sizeof *content->next_logprob);
  at = extract(at, content->entropy + row, header.rows * sizeof *content->entropy);
  if (!lap_codec_is_drawn(parts->schema.codec)) return;
  at = extract(at, content->threshold + row, header.rows * sizeof *content->threshold);
  extract(at, content->top_id + row, header.rows * sizeof *content->top_id);
}

void lap_parts_await(const lap_parts *parts) {
  bool found = true;
  for (uint64_t part = 0; found && part < lap_parts_count(parts); ++part) {
    char *path = part_path(parts, part);
    found = lap_file_await(path);
    free(path);
  }
}

lap_code lap_parts_assemble(const lap_parts *parts, lap_cache_content *content,
                            lap_status *status) {
  const uint64_t rows = parts->tokens->token_count;
  lap_cache_content_create(rows, parts->schema.k, content);
  if (lap_codec_is_drawn(parts->schema.codec)) lap_cache_content_add_draws(rows, content);
  for (uint64_t part = 0; part < lap_parts_count(parts); ++part) {
    char *image = load(parts, part);
    if (!image) {
      lap_cache_content_destroy(content);
      char *path = part_path(parts, part);
      const lap_code code = lap_fail(status, LAP_DATA,
                                     "%s: missing, damaged or of another teacher; run teach again: "
                                     "it makes the parts that are missing",
                                     path);
      free(path);
      return code;
    }
    unpack(parts, part, image, content);
    free(image);
  }
  return LAP_OK;
}

static lap_code remove_file(const char *path, lap_status *status) {
  if (unlink(path) == 0 || errno == ENOENT) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: cannot be removed: %s", path, strerror(errno));
}

lap_code lap_parts_remove(const lap_parts *parts, lap_status *status) {
  lap_code code = LAP_OK;
  for (uint64_t part = 0; part < lap_parts_count(parts) && code == LAP_OK; ++part) {
    char *path = part_path(parts, part);
    code = remove_file(path, status);
    free(path);
  }
  if (code == LAP_OK && rmdir(parts->directory) != 0 && errno != ENOTEMPTY && errno != EEXIST &&
      errno != ENOENT)
    code =
        lap_fail(status, LAP_DATA, "%s: cannot be removed: %s", parts->directory, strerror(errno));
  return code;
}
