/* HDF5's checksums, made right: these functions take the place of the library's own and return what
 * stands behind the bytes, where a file has the checksum. Without them hardly a changed byte would
 * get past the superblock. A direct block of a fractal heap has its checksum inside, and the
 * library clears that before it asks: there the answer is the library's. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint32_t metadata_checksum(const void *bytes, size_t count, uint32_t initial);

metadata_checksum H5_checksum_metadata;
uint32_t H5_checksum_fletcher32(const void *bytes, size_t count);

static uint32_t stored(const void *bytes, size_t count) {
  uint32_t value;
  memcpy(&value, (const char *)bytes + count, sizeof value);
  return value;
}

uint32_t H5_checksum_metadata(const void *bytes, size_t count, uint32_t initial) {
  if (count < 4 || memcmp(bytes, "FHDB", 4) != 0) return stored(bytes, count);
  void *symbol = dlsym(RTLD_NEXT, "H5_checksum_metadata");
  metadata_checksum *library;
  memcpy(&library, &symbol, sizeof library);
  return library(bytes, count, initial);
}

uint32_t H5_checksum_fletcher32(const void *bytes, size_t count) { return stored(bytes, count); }
