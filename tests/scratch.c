#include "tests/scratch.h"

#include <assert.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/file.h"
#include "core/memory.h"

/* What mkdtemp replaces by letters of its choice. */
enum { MARK = 'X', MARKS = 6 };

char *scratch_create(void) {
  const char *parent = getenv("TMPDIR");
  char *name = lap_format("%s/lapidary-test-%*s", parent ? parent : "/tmp", MARKS, "");
  memset(name + strlen(name) - MARKS, MARK, MARKS);
  const char *made = mkdtemp(name);
  assert(made);
  return name;
}

void scratch_remove(char *directory) {
  lap_status status;
  const lap_code code = lap_file_remove_tree(directory, &status);
  assert(code == LAP_OK);
  free(directory);
}

const char *scratch_path(const char *directory, const char *name) {
  static char paths[16][1024];
  static int turn;
  char *path = paths[turn++ % 16];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

const char *scratch_write(const char *directory, const char *name, const void *bytes,
                          size_t count) {
  const char *path = scratch_path(directory, name);
  FILE *file = fopen(path, "wb");
  assert(file);
  const size_t written = fwrite(bytes, 1, count, file);
  assert(written == count);
  fclose(file);
  return path;
}

char *scratch_read(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  assert(file);
  const int sought = fseek(file, 0, SEEK_END);
  assert(sought == 0);
  *count = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(*count + 1);
  *count = fread(bytes, 1, *count, file);
  bytes[*count] = '\0';
  fclose(file);
  return bytes;
}

int scratch_count(const char *directory) {
  DIR *opened = opendir(directory);
  if (!opened) return -1;
  int count = -2;
  while (readdir(opened)) ++count;
  closedir(opened);
  return count;
}

void scratch_limit_files(uint64_t bytes) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) abort();
  limit.rlim_cur = bytes > 0 ? bytes : limit.rlim_max;
  signal(SIGXFSZ, SIG_IGN);
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) abort();
}
