/* GGUF files: keys, tensors, and the first and last values of each plain tensor. */
#include <string.h>

#include "fuzz.h"
#include "trainer/gguf/read.h"

enum { SHOWN = 64 };

static void read_values(const lap_gguf_tensor *tensor) {
  lap_status status;
  float values[SHOWN];
  const int64_t elements = tensor->elements, shown = elements < SHOWN ? elements : SHOWN;
  FUZZ_REQUIRE(lap_gguf_read_float(tensor, 0, shown, values, &status) == LAP_OK);
  FUZZ_REQUIRE(lap_gguf_read_float(tensor, elements - shown, shown, values, &status) == LAP_OK);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  lap_gguf_file *file;
  lap_status status;
  if (lap_gguf_open(fuzz_file(bytes, count), &file, &status) != LAP_OK) return;
  size_t pairs, tensors;
  const lap_gguf_pair *pair = lap_gguf_pairs(file, &pairs);
  for (size_t i = 0; i < pairs; ++i) {
    FUZZ_REQUIRE(strlen(pair[i].key) > 0);
    if (pair[i].kind == LAP_GGUF_TEXT) FUZZ_REQUIRE(pair[i].text[pair[i].text_bytes] == 0);
  }
  const lap_gguf_tensor *tensor = lap_gguf_tensors(file, &tensors);
  int64_t next = 0;
  for (size_t i = 0; i < tensors; ++i) {
    FUZZ_REQUIRE(tensor[i].offset >= next);
    next = tensor[i].offset + (tensor[i].bytes > 0 ? tensor[i].bytes : 0);
    FUZZ_REQUIRE(tensor[i].bytes <= 0 || next <= (int64_t)count);
    if (tensor[i].plain) read_values(&tensor[i]);
  }
  lap_gguf_close(file);
}
