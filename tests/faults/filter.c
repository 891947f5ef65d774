#include "filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
enum { HERE = AUDIT_ARCH_X86_64 };
#elif defined(__aarch64__)
enum { HERE = AUDIT_ARCH_AARCH64 };
#endif

#define NAME(call) .number = SYS_##call, .name = #call
#define NO_PATH .directory = -1, .path = -1
#define NO_OTHER .other_directory = -1, .other = -1
#define NO_SIZES .offset = -1, .bytes = -1
static const file_call calls[] = {
    {NAME(write), NO_PATH, NO_OTHER, .offset = -1, .bytes = 2, .flags = -1, .is_write = true,
     .may_wait = true},
    {NAME(pwrite64), NO_PATH, NO_OTHER, .offset = 3, .bytes = 2, .flags = -1, .is_write = true,
     .may_wait = true},
    {NAME(writev), NO_PATH, NO_OTHER, .offset = -1, .bytes = 2, .flags = -1, .is_write = true,
     .is_vector = true, .may_wait = true},
    {NAME(pwritev), NO_PATH, NO_OTHER, .offset = 3, .bytes = 2, .flags = -1, .is_write = true,
     .is_vector = true, .may_wait = true},
    {NAME(fsync), NO_PATH, NO_OTHER, NO_SIZES, .flags = -1, .may_wait = true},
    {NAME(fdatasync), NO_PATH, NO_OTHER, NO_SIZES, .flags = -1, .may_wait = true},
    {NAME(fallocate), NO_PATH, NO_OTHER, .offset = 2, .bytes = 3, .flags = 1, .may_wait = true},
    {NAME(ftruncate), NO_PATH, NO_OTHER, .offset = -1, .bytes = 1, .flags = -1, .may_wait = true},
    {NAME(openat), .directory = 0, .path = 1, NO_OTHER, NO_SIZES, .flags = 2, .may_wait = true},
    {NAME(mkdirat), .directory = 0, .path = 1, NO_OTHER, NO_SIZES, .flags = -1},
    {NAME(unlinkat), .directory = 0, .path = 1, NO_OTHER, NO_SIZES, .flags = 2},
    {NAME(renameat), .directory = 0, .path = 1, .other_directory = 2, .other = 3, NO_SIZES,
     .flags = -1},
    {NAME(renameat2), .directory = 0, .path = 1, .other_directory = 2, .other = 3, NO_SIZES,
     .flags = 4},
    {NAME(linkat), .directory = 0, .path = 1, .other_directory = 2, .other = 3, NO_SIZES,
     .flags = -1},
    {NAME(symlinkat), .directory = 1, .path = 2, NO_OTHER, NO_SIZES, .flags = -1},
    {NAME(truncate), .directory = -1, .path = 0, NO_OTHER, .offset = -1, .bytes = 1, .flags = -1},
#if defined(__x86_64__) /* AArch64 has the ..at calls alone */
    {NAME(open), .directory = -1, .path = 0, NO_OTHER, NO_SIZES, .flags = 1, .may_wait = true},
    {NAME(creat), .directory = -1, .path = 0, NO_OTHER, NO_SIZES, .flags = -1, .may_wait = true},
    {NAME(mkdir), .directory = -1, .path = 0, NO_OTHER, NO_SIZES, .flags = -1},
    {NAME(rmdir), .directory = -1, .path = 0, NO_OTHER, NO_SIZES, .flags = -1},
    {NAME(unlink), .directory = -1, .path = 0, NO_OTHER, NO_SIZES, .flags = -1},
    {NAME(rename), .directory = -1, .path = 0, .other_directory = -1, .other = 1, NO_SIZES,
     .flags = -1},
    {NAME(link), .directory = -1, .path = 0, .other_directory = -1, .other = 1, NO_SIZES,
     .flags = -1},
    {NAME(symlink), .directory = -1, .path = 1, NO_OTHER, NO_SIZES, .flags = -1},
#endif
};
enum { CALLS = sizeof calls / sizeof *calls };

const file_call *find_call(int64_t number) {
  for (int i = 0; i < CALLS; ++i)
    if (calls[i].number == number) return &calls[i];
  return NULL;
}

static bool is_open(const file_call *call) {
#if defined(__x86_64__)
  if (call->number == SYS_open) return true;
#endif
  return call->number == SYS_openat;
}

bool changes_files(const file_call *call, const call_arguments *arguments) {
  if (!is_open(call)) return true;
  const uint64_t flags = arguments->value[call->flags];
  return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
}

bool report_calls(void) {
  enum { HEAD = 4, TAIL = 2 };
  struct sock_filter program[HEAD + CALLS + TAIL] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, HERE, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
  };
  for (int i = 0; i < CALLS; ++i) /* on to the last statement */
    program[HEAD + i] = (struct sock_filter)BPF_JUMP(
        BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, (uint8_t)(CALLS - i), 0);
  program[HEAD + CALLS] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  program[HEAD + CALLS + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
  const struct sock_fprog whole = {.len = HEAD + CALLS + TAIL, .filter = program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole, 0, 0) == 0;
}
