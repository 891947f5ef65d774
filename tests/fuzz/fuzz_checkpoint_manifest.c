/* Manifests of checkpoints. Their checksums would refuse whatever was changed, so the harness seals
 * what it is given: the text, and where that is JSON with a list of numbers, the same with their
 * hash set right. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "fuzz.h"
#include "trainer/checkpoint/manifest.h"

static void check_pieces(const lap_checkpoint_pieces *pieces) {
  for (int i = 0; i < pieces->pieces; ++i) {
    const lap_checkpoint_piece *piece = &pieces->piece[i];
    const lap_checkpoint_tensor *tensor = &pieces->tensor[piece->tensor];
    FUZZ_REQUIRE(piece->begin >= 0 && piece->begin < piece->end &&
                 piece->end <= tensor->rows * tensor->columns);
    FUZZ_REQUIRE(piece->offset >= 0 &&
                 piece->offset + (piece->end - piece->begin) * (int64_t)sizeof(float) <=
                     pieces->file[piece->file].bytes);
  }
}

static void parse_sealed(const char *text, size_t bytes) {
  uint8_t digest[LAP_SHA256_SIZE];
  char hex[LAP_SHA256_HEX];
  lap_sha256(text, bytes, digest);
  lap_sha256_hex(digest, hex);
  char *seal = lap_format("  \"manifest_sha256\": \"%s\"\n}\n", hex);
  const size_t seal_bytes = strlen(seal);
  char *sealed = lap_allocate(bytes + seal_bytes, 1);
  memcpy(sealed, text, bytes);
  memcpy(sealed + bytes, seal, seal_bytes);
  lap_checkpoint *checkpoint;
  lap_status status;
  if (lap_manifest_parse("fuzz", sealed, bytes + seal_bytes, &checkpoint, &status) == LAP_OK) {
    check_pieces(checkpoint->pieces);
    lap_checkpoint_close(checkpoint);
  }
  free(sealed);
  free(seal);
}

/* The members of a manifest without the last two lines. */
static void parse_with_numbers(json_t *root) {
  lap_numbers *numbers;
  lap_status status;
  if (lap_numbers_from_json(json_object_get(root, "numbers"), "fuzz", &numbers, &status) != LAP_OK)
    return;
  char hex[LAP_SHA256_HEX];
  lap_numbers_sha256(numbers, hex);
  lap_numbers_destroy(numbers);
  json_object_set_new(root, "numbers_sha256", json_string(hex));
  char *text = json_dumps(root, 0);
  text[strlen(text) - 1] = ','; /* in place of the last brace */
  parse_sealed(text, strlen(text));
  free(text);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  parse_sealed((const char *)bytes, count);
  char *whole = lap_allocate(count + sizeof "\"end\": 0}", 1);
  memcpy(whole, bytes, count);
  memcpy(whole + count, "\"end\": 0}", sizeof "\"end\": 0}");
  json_t *root = json_loads(whole, 0, NULL);
  free(whole);
  json_object_del(root, "end");
  if (json_object_get(root, "numbers")) parse_with_numbers(root);
  json_decref(root);
}
