/* allocation_faults: a library to put before others (LD_PRELOAD) that lets one allocation of a
 * program fail.
 *
 * An allocation is the program's own where the first caller that is neither this library, the C
 * library nor that of C++ is in the program itself: its malloc, its strdup, its fopen, its new. The
 * stack of the program's own frames above it tells one allocation from another. The environment
 * says what to do:
 *
 *   FAULTS_ALLOCATION_LOG   a file to which each stack is appended when it comes first: its hash in
 *                           16 hex digits, then the offsets in the program of its frames
 *   FAULTS_ALLOCATION_FAIL  a hash: the first allocation of this stack gives NULL, and the word
 *                           "failed" is appended to the log
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);                     /* NOLINT: the name is the C library's */
void *__libc_calloc(size_t count, size_t size);       /* NOLINT */
void *__libc_realloc(void *old, size_t size);         /* NOLINT */
void *__libc_memalign(size_t alignment, size_t size); /* NOLINT */

enum { FRAMES = 24, SEEN = 1 << 16, LIBRARIES = 4 };

typedef struct {
  uintptr_t begin, end;
} module_range;

static module_range program, passed_over[LIBRARIES];
static int passed_over_count;
static uint64_t seen[SEEN]; /* 0: free */
static uint64_t to_fail;
static int log_file = -1;
static bool is_ready;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool is_inside;

static module_range range_of(const struct dl_phdr_info *info) {
  module_range range = {UINTPTR_MAX, 0};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    const uintptr_t end = begin + info->dlpi_phdr[i].p_memsz;
    if (begin < range.begin) range.begin = begin;
    if (end > range.end) range.end = end;
  }
  return range;
}

static int note_module(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size, (void)context;
  static const char *const names[LIBRARIES] = {"/libc.so", "/libstdc++.so", "allocation_faults"};
  if (info->dlpi_name[0] == '\0' && program.end == 0) program = range_of(info); /* comes first */
  for (int i = 0; i < LIBRARIES - 1; ++i)
    if (strstr(info->dlpi_name, names[i])) passed_over[passed_over_count++] = range_of(info);
  return passed_over_count == LIBRARIES;
}

static bool is_in(const module_range *range, const void *address) {
  return (uintptr_t)address >= range->begin && (uintptr_t)address < range->end;
}

static bool is_passed_over(const void *address) {
  for (int i = 0; i < passed_over_count; ++i)
    if (is_in(&passed_over[i], address)) return true;
  return false;
}

__attribute__((constructor)) static void prepare(void) {
  const char *path = getenv("FAULTS_ALLOCATION_LOG"), *fail = getenv("FAULTS_ALLOCATION_FAIL");
  if (!path) return;
  void *frame[1];
  backtrace(frame, 1); /* loads what it needs */
  dl_iterate_phdr(note_module, NULL);
  if (fail) to_fail = strtoull(fail, NULL, 16);
  log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  is_ready = log_file >= 0;
}

/* Whether a stack is new. */
static bool note_stack(uint64_t hash) {
  pthread_mutex_lock(&lock);
  size_t at = hash % SEEN;
  while (seen[at] != 0 && seen[at] != hash) at = (at + 1) % SEEN;
  const bool is_new = seen[at] == 0;
  seen[at] = hash;
  pthread_mutex_unlock(&lock);
  return is_new;
}

static void append(const char *text, int bytes) {
  const ssize_t written = write(log_file, text, (size_t)bytes);
  (void)written; /* whoever reads the log misses it */
}

/* Notes the stack; whether its allocation is to fail. */
static bool fails_here(void *const *frame, int frames) {
  const uint64_t offset_basis = 14695981039346656037U, prime = 1099511628211U; /* FNV-1a */
  char line[32 + 20 * FRAMES];
  uint64_t hash = offset_basis;
  int bytes = 17;
  for (int i = 0; i < frames; ++i) {
    if (!is_in(&program, frame[i])) continue;
    const uint64_t offset = (uintptr_t)frame[i] - program.begin;
    hash = (hash ^ offset) * prime;
    bytes += snprintf(line + bytes, sizeof line - (size_t)bytes, " %" PRIx64, offset);
  }
  if (hash == 0 || !note_stack(hash)) return false;
  snprintf(line, 18, "%016" PRIx64, hash);
  line[16] = ' ';
  line[bytes++] = '\n';
  append(line, bytes);
  if (hash != to_fail) return false;
  append("failed\n", 7);
  return true;
}

static bool fails(const void *caller) {
  if (!is_ready || is_inside || (!is_in(&program, caller) && !is_passed_over(caller))) return false;
  is_inside = true;
  void *frame[FRAMES];
  const int frames = backtrace(frame, FRAMES);
  int first = 0;
  while (first < frames && is_passed_over(frame[first])) ++first;
  const bool is_own = first < frames && is_in(&program, frame[first]);
  const bool result = is_own && fails_here(frame + first, frames - first);
  is_inside = false;
  if (result) errno = ENOMEM;
  return result;
}

void *malloc(size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
  if (fails(__builtin_return_address(0))) return ENOMEM;
  *block = __libc_memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}
