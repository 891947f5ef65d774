#include "registers.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

/* A thread that is killed meanwhile has no registers: what is done to it then does not matter. */
static bool get(pid_t thread, struct user_regs_struct *registers) {
  *registers = (struct user_regs_struct){0};
  return ptrace(PTRACE_GETREGSET, thread, (void *)NT_PRSTATUS,
                &(struct iovec){registers, sizeof *registers}) == 0;
}

static void set(pid_t thread, struct user_regs_struct *registers) {
  ptrace(PTRACE_SETREGSET, thread, (void *)NT_PRSTATUS,
         &(struct iovec){registers, sizeof *registers});
}

#if defined(__x86_64__)
static unsigned long long *argument(struct user_regs_struct *r, int index) {
  unsigned long long *const all[] = {&r->rdi, &r->rsi, &r->rdx, &r->r10, &r->r8, &r->r9};
  return all[index];
}

static int64_t number_of(pid_t thread, const struct user_regs_struct *r) {
  (void)thread;
  return (int64_t)r->orig_rax;
}

static unsigned long long *result(struct user_regs_struct *r) { return &r->rax; }

void skip_call(pid_t thread) {
  struct user_regs_struct registers;
  if (!get(thread, &registers)) return;
  registers.orig_rax = ~0ULL;
  set(thread, &registers);
}
#elif defined(__aarch64__)
static unsigned long long *argument(struct user_regs_struct *r, int index) {
  return &r->regs[index];
}

static int64_t number_of(pid_t thread, const struct user_regs_struct *r) {
  (void)thread;
  return (int64_t)r->regs[8];
}

static unsigned long long *result(struct user_regs_struct *r) { return &r->regs[0]; }

void skip_call(pid_t thread) {
  int number = -1;
  ptrace(PTRACE_SETREGSET, thread, (void *)NT_ARM_SYSTEM_CALL,
         &(struct iovec){&number, sizeof number});
}
#endif

bool get_call(pid_t thread, call_arguments *arguments) {
  struct user_regs_struct registers;
  if (!get(thread, &registers)) return false;
  arguments->number = number_of(thread, &registers);
  for (int i = 0; i < 6; ++i) arguments->value[i] = *argument(&registers, i);
  return true;
}

void set_argument(pid_t thread, int index, uint64_t value) {
  struct user_regs_struct registers;
  if (!get(thread, &registers)) return;
  *argument(&registers, index) = value;
  set(thread, &registers);
}

int64_t get_result(pid_t thread) {
  struct user_regs_struct registers;
  return get(thread, &registers) ? (int64_t)*result(&registers) : 0;
}

void set_result(pid_t thread, int64_t value) {
  struct user_regs_struct registers;
  if (!get(thread, &registers)) return;
  *result(&registers) = (unsigned long long)value;
  set(thread, &registers);
}
