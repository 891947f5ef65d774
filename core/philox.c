#include "core/philox.h"

#include <Random123/philox.h>
#include <string.h>

#include "core/hash.h"

lap_random lap_philox(uint64_t seed, lap_purpose purpose, uint64_t stream, uint64_t index) {
  /* The 128-bit counter holds stream and index whole; the 64-bit key holds the seed, the purpose
   * mixed into its high half by an odd multiplier, which keeps distinct purposes distinct. */
  const uint64_t key = seed ^ ((uint64_t)purpose * UINT64_C(0x9E3779B97F4A7C15));
  philox4x32_ctr_t counter = {
      {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
  philox4x32_key_t words = {{(uint32_t)key, (uint32_t)(key >> 32)}};
  const philox4x32_ctr_t drawn = philox4x32(counter, words);
  lap_random random;
  memcpy(random.word, drawn.v, sizeof random.word);
  return random;
}

double lap_uniform(lap_random random) {
  const uint64_t bits = ((uint64_t)random.word[0] << 32 | random.word[1]) >> 11;
  return (double)bits * 0x1p-53;
}

uint64_t lap_stream_of_name(const char *name) {
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(name, strlen(name), digest);
  uint64_t stream = 0;
  for (int i = 0; i < 8; ++i) stream = stream << 8 | digest[i];
  return stream;
}
