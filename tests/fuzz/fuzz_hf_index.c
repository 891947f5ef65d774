/* model.safetensors.index.json of a Hugging Face directory, whose two files of weights are as
 * make_seeds writes them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "fuzz.h"
#include "seed_weights.h"
#include "trainer/hf/weights.h"

static char directory[256];

static void remove_directory(void) {
  lap_status status;
  lap_file_remove_tree(directory, &status);
}

static char *path_of(const char *name) { return lap_format("%s/%s", directory, name); }

static void prepare(const lap_parameters *parameters) {
  snprintf(directory, sizeof directory, "%s.directory", fuzz_file(NULL, 0));
  FUZZ_REQUIRE(mkdir(directory, 0700) == 0 && atexit(remove_directory) == 0);
  for (int part = 0; part < SEED_PARTS; ++part) {
    char name[SEED_PART_NAME];
    char *path = path_of(seed_part_name(part, name));
    lap_status status;
    FUZZ_REQUIRE(seed_part_write(path, parameters, part, &status) == LAP_OK);
    free(path);
  }
}

/* Into the same file each time: replacing it as lap_file_write does would bring it to disk. */
static void write_index(const uint8_t *bytes, size_t count) {
  static int descriptor = -1;
  if (descriptor < 0) {
    char *path = path_of("model.safetensors.index.json");
    descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    free(path);
  }
  FUZZ_REQUIRE(descriptor >= 0 && ftruncate(descriptor, 0) == 0 &&
               pwrite(descriptor, bytes, count, 0) == (ssize_t)count);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  static lap_parameters *parameters;
  if (!parameters) {
    const lap_gemma2_config model = seed_model();
    parameters = lap_parameters_create(&model);
    prepare(parameters);
  }
  lap_status status;
  write_index(bytes, count);
  if (lap_hf_weights_check(directory, parameters, NULL, &status) != LAP_OK) return;
  float *weights = lap_allocate(parameters->elements, sizeof *weights);
  FUZZ_REQUIRE(lap_hf_weights_read_float(directory, parameters, weights, &status) == LAP_OK);
  free(weights);
}
