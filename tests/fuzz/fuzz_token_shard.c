/* Token shards: HDF5, whose checksums hdf5_checksums.c makes right. */
#include "dataset/token_shard.h"
#include "fuzz.h"

void fuzz_one(const uint8_t *bytes, size_t count) {
  lap_token_shard *shard;
  lap_status status;
  if (lap_token_shard_open(fuzz_file(bytes, count), &shard, &status) != LAP_OK) return;
  for (uint64_t i = 0; i < shard->token_count; ++i)
    FUZZ_REQUIRE(shard->tokens[i] < shard->vocab_size);
  for (uint64_t i = 0; i < shard->document_count; ++i)
    FUZZ_REQUIRE(shard->documents[i] <= shard->documents[i + 1]);
  lap_token_shard_close(shard);
}
