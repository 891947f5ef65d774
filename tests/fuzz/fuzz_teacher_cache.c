/* Teacher caches: HDF5, whose checksums hdf5_checksums.c makes right. Opened with the tokens that
 * the seeds are for, as a run would, and alone, as inspect would. */
#include "fuzz.h"
#include "seeds.h"
#include "teacher/cache_open.h"
#include "teacher/describe_file.h"

static void read_rows(lap_cache *cache) {
  lap_status status;
  lap_cache_rows *rows = lap_cache_rows_create(cache, SEED_TOKENS);
  if (lap_cache_read(cache, 0, 0, SEED_TOKENS, NULL, rows, &status) == LAP_OK)
    for (uint32_t i = 0; i < SEED_TOKENS * rows->k; ++i)
      FUZZ_REQUIRE(rows->ids[i] >= -1 && rows->ids[i] < SEED_VOCABULARY &&
                   rows->probability[i] >= 0);
  lap_cache_rows_destroy(rows);
}

static void open_with_tokens(const char *path) {
  lap_token_shard *shard = seed_shard();
  const lap_token_set tokens = {.shard = &shard, .count = 1, .token_count = SEED_TOKENS};
  const lap_cache_expectation expectation = {.vocab_size = SEED_VOCABULARY,
                                             .sequence_length = SEED_LENGTH,
                                             .document_mask = true,
                                             .allow_context_mismatch = true,
                                             .allow_shift = true};
  lap_cache *cache;
  lap_status status;
  if (lap_cache_open(path, &tokens, &expectation, &cache, &status) != LAP_OK) return;
  read_rows(cache);
  lap_cache_close(cache);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  const char *path = fuzz_file(bytes, count);
  lap_cache_description description;
  lap_status status;
  uint64_t sampled, empty;
  bool bad_row;
  open_with_tokens(path);
  if (lap_cache_file_describe(path, &description, &sampled, &status) == LAP_OK)
    lap_cache_file_check(path, &empty, &bad_row, NULL, &status);
}
