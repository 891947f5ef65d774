/* For harnesses of code that runs in a child process (core/sandbox.h): the child's coverage counts,
 * and its crashes, which the program turns into messages, are not findings. Linked with
 * --wrap=_exit. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sanitizer/allocator_interface.h>
#include <sanitizer/common_interface_defs.h>

#include "fuzz.h"

enum { COUNTERS = 1 << 16, PAGE = 4096, MOST_ALLOCATED = 1 << 30 };

/* libFuzzer looks at this section besides the program's own counters, which lie in the other. */
__attribute__((section("__libfuzzer_extra_counters"),
               aligned(PAGE))) static uint8_t shared[COUNTERS];
extern uint8_t __start___sancov_cntrs[], __stop___sancov_cntrs[];
static bool is_child;

/* A child that exits reports its coverage. */
void __real__exit(int code) __attribute__((noreturn));
void __wrap__exit(int code) __attribute__((noreturn));
void __wrap__exit(int code) {
  /* cppcheck-suppress comparePointers ; the linker puts both around one section */
  const size_t count = (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs);
  for (size_t i = 0; i < count && i < COUNTERS; ++i)
    if (shared[i] < __start___sancov_cntrs[i]) shared[i] = __start___sancov_cntrs[i];
  __real__exit(code);
}

/* libFuzzer would save the input of such a crash. */
static void become_child(void) {
  is_child = true;
  __sanitizer_set_death_callback(NULL);
}

/* In place of -malloc_limit_mb, which would apply to the child too; the child has a limit of its
 * own. */
static void limit_allocation(const volatile void *block, size_t bytes) {
  (void)block;
  FUZZ_REQUIRE(is_child || bytes < MOST_ALLOCATED);
}

static void forget_block(const volatile void *block) { (void)block; }

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "allocator_may_return_null=1:symbolize=0:malloc_context_size=0:quarantine_size_mb=4";
}

__attribute__((constructor)) static void prepare(void) {
  void *mapped = mmap(shared, sizeof shared, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  FUZZ_REQUIRE(mapped == shared && pthread_atfork(NULL, NULL, become_child) == 0);
  FUZZ_REQUIRE(__sanitizer_install_malloc_and_free_hooks(limit_allocation, forget_block) > 0);
}
