#include "core/lfs_pointer.h"

#include <string.h>

lap_code lap_refuse_lfs_pointer(const void *bytes, size_t count, lap_status *status) {
  static const char beginning[] = "version https://git-lfs.github.com/spec/";
  const size_t length = sizeof beginning - 1;
  if (count < length || memcmp(bytes, beginning, length) != 0) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "is a pointer of Git LFS, not the file itself: fetch it by `git lfs pull`");
}
