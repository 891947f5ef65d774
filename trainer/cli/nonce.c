#include "trainer/cli/nonce.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"

static char *file_in(const char *directory) {
  return lap_format("%s/.same-file-system", directory);
}

lap_code lap_nonce_create(char nonce[LAP_NONCE_TEXT], lap_status *status) {
  uint64_t random[2];
  if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
    return lap_fail(status, LAP_DATA, "the system gives no random bytes: %s", strerror(errno));
  snprintf(nonce, LAP_NONCE_TEXT, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
  return LAP_OK;
}

lap_code lap_nonce_write(const char *path, const char *nonce, lap_status *status) {
  char *file = file_in(path);
  const lap_code code = lap_file_write_alone(file, nonce, strlen(nonce), status);
  free(file);
  return code;
}

static bool nonce_is_there(const char *file, const char *nonce) {
  char *found;
  lap_status absent; /* only whether it is there matters */
  if (lap_file_read(file, LAP_NONCE_TEXT, &found, NULL, &absent) != LAP_OK) return false;
  const bool same = strcmp(found, nonce) == 0;
  free(found);
  return same;
}

lap_code lap_nonce_check(const char *path, const char *nonce, double patience_seconds,
                         lap_status *status) {
  enum { PAUSE_MILLISECONDS = 50 };
  char *file = file_in(path);
  int attempts = 1 + (int)(patience_seconds * 1000 / PAUSE_MILLISECONDS);
  bool found = nonce_is_there(file, nonce);
  while (!found && --attempts > 0) {
    usleep(PAUSE_MILLISECONDS * 1000);
    found = nonce_is_there(file, nonce);
  }
  free(file);
  if (found) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: this rank does not see what rank 0 has written there; it must be on a file "
                  "system that every node shares, under the same path",
                  path);
}

void lap_nonce_remove(const char *path) {
  char *file = file_in(path);
  if (unlink(file) != 0 && errno != ENOENT) unlink(file); /* a disk may fail once */
  free(file);
}
