/* kill_at_change N KIND COMMAND...: runs the command and kills it just before the Nth system call
 * that changes a file system. KIND is `exchange`, or `plain` for one that cannot exchange two
 * names. Exits with 0 where it was killed, 1 where it ended by itself before, 2 where it cannot be
 * traced here.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Makes the system call that is about to begin fail with ENOSYS. */
static void refuse(pid_t thread) {
#if defined(__x86_64__)
  ptrace(PTRACE_POKEUSER, thread, offsetof(struct user_regs_struct, orig_rax), -1L);
#elif defined(__aarch64__)
  int number = INT_MAX; /* no call has it; -1 would leave the first argument as the result */
  ptrace(PTRACE_SETREGSET, thread, (void *)NT_ARM_SYSTEM_CALL,
         &(struct iovec){&number, sizeof number});
#endif
}

static bool changes_files(pid_t thread, bool exchange) {
  struct __ptrace_syscall_info info;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0) return false;
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return false;
  if (info.entry.nr == SYS_renameat2 && !exchange) refuse(thread);
  switch (info.entry.nr) {
    case SYS_openat:
      return info.entry.args[2] & O_CREAT;
#if defined(__x86_64__) /* AArch64 has the ..at calls alone */
    case SYS_mkdir:
    case SYS_rename:
    case SYS_unlink:
    case SYS_rmdir:
#endif
    case SYS_mkdirat:
    case SYS_write:
    case SYS_pwrite64:
    case SYS_fallocate:
    case SYS_fsync:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_unlinkat:
      return true;
    default:
      return false;
  }
}

/* Follows all threads; returns whether the command was killed. */
static bool follow(pid_t process, long n, bool exchange) {
  for (;;) {
    int status;
    const pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0) return false;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread == process) return false;
      continue;
    }
    int signal_to_pass = WSTOPSIG(status);
    if (signal_to_pass == (SIGTRAP | 0x80)) {
      if (changes_files(thread, exchange) && --n == 0) {
        kill(process, SIGKILL);
        while (waitpid(-1, &status, __WALL) > 0 || errno == EINTR) continue;
        return true;
      }
      signal_to_pass = 0;
    } else if (signal_to_pass == SIGTRAP || signal_to_pass == SIGSTOP) {
      signal_to_pass = 0; /* a new thread, or the command has been loaded */
    }
    ptrace(PTRACE_SYSCALL, thread, 0, signal_to_pass);
  }
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  const pid_t process = fork();
  if (process == 0) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(2);
    raise(SIGSTOP);
    execv(argv[3], argv + 3);
    _exit(2);
  }
  int status;
  if (process < 0 || waitpid(process, &status, 0) != process || !WIFSTOPPED(status) ||
      ptrace(PTRACE_SETOPTIONS, process, 0,
             PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL) != 0 ||
      ptrace(PTRACE_SYSCALL, process, 0, 0) != 0) {
    fprintf(stderr, "kill_at_change: cannot trace\n");
    return 2;
  }
  const bool exchange = strcmp(argv[2], "exchange") == 0;
  return follow(process, strtol(argv[1], NULL, 10), exchange) ? 0 : 1;
}
