/* safetensors files: the header, and the first and last values of each tensor. */
#include "fuzz.h"
#include "trainer/hf/safetensors.h"

enum { SHOWN = 64 };

static void read_values(const lap_safetensors_tensor *tensor, int64_t begin, int64_t count) {
  lap_status status;
  float floats[SHOWN];
  double doubles[SHOWN];
  int32_t integers[SHOWN];
  lap_safetensors_read_float(tensor, begin, count, floats, &status);
  lap_safetensors_read_double(tensor, begin, count, doubles, &status);
  lap_safetensors_read_int32(tensor, begin, count, integers, &status);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  lap_safetensors *file;
  lap_status status;
  if (lap_safetensors_open(fuzz_file(bytes, count), &file, &status) != LAP_OK) return;
  size_t tensors;
  const lap_safetensors_tensor *tensor = lap_safetensors_tensors(file, &tensors);
  for (size_t i = 0; i < tensors; ++i) {
    const int64_t elements = tensor[i].elements, shown = elements < SHOWN ? elements : SHOWN;
    FUZZ_REQUIRE(lap_safetensors_find(file, tensor[i].name) == &tensor[i]);
    FUZZ_REQUIRE(tensor[i].offset + elements * (int64_t)lap_dtype_size(tensor[i].dtype) <=
                 (int64_t)count);
    read_values(&tensor[i], 0, shown);
    read_values(&tensor[i], elements - shown, shown);
  }
  lap_safetensors_close(file);
}
