/* file_faults ROOT LOG FAULT N COMMAND...: runs the command and follows every system call of all
 * its processes and threads that changes files under ROOT: whatever stdio, HDF5 or jansson do on
 * its behalf is among them. The Nth such call, counted from 1 in the order in which they begin,
 * meets the FAULT:
 *
 *   none        nothing: what is there to be disturbed?
 *   data        nothing; the bytes of every write go to LOG.data, one behind the other
 *   kill        every process is killed before the call
 *   kill-one    the process that makes it is
 *   torn        of a write half is written, then every process is killed
 *   short       of a write half is written, which its result says
 *   ENOSPC, EIO, EINTR, EROFS, EACCES, ENOSYS
 *               the call does nothing and fails so; with a + behind it (ENOSPC+) so do all after it
 *
 * ROOT is a real path (realpath). LOG has a line a call, in the order in which they end, of fields
 * between tabs:
 *
 *   number, process, call, path, other path (rename, link) or -, offset, bytes asked for, flags,
 *   result (-ERRNO), what it met: a fault, or -
 *
 * Ends as the command did: its exit code, or 128 + the signal; 125 where nothing can be traced.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "registers.h"

enum { PATH_BYTES = 4096, NOT_TRACED = 125, SIGNALLED = 128 };

typedef enum { NONE, DATA, KILL, KILL_ONE, TORN, SHORT, FAIL } fault_kind;

/* One call between its begin and its end. */
typedef struct {
  long number; /* 0: not under ROOT */
  pid_t process;
  const file_call *call;
  char path[PATH_BYTES], other[PATH_BYTES];
  int64_t offset, bytes, flags;
  uint64_t buffer;
  bool meets_fault;
  uint64_t count; /* that the program gave, where it was made smaller */
} begun_call;

typedef struct thread {
  struct thread *next;
  pid_t id;
  bool is_in_call;
  begun_call begun;
} thread;

typedef struct {
  const char *root, *fault_name;
  fault_kind fault;
  int error; /* of FAIL */
  bool stays;
  long at, count;
  FILE *log, *data;
  thread *threads;
  pid_t command;
  int ending; /* wait status of the command */
} follower;

/* --- what a call is about --- */

static pid_t process_of(pid_t id) {
  char path[64], line[256];
  int process = id;
  snprintf(path, sizeof path, "/proc/%d/status", (int)id);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "Tgid: %d", &process) == 1) break;
  if (file) fclose(file);
  return process;
}

static size_t read_memory(pid_t id, uint64_t address, void *bytes, size_t count) {
  const struct iovec local = {bytes, count}, remote = {(void *)(uintptr_t)address, count};
  const ssize_t got = process_vm_readv(id, &local, 1, &remote, 1, 0);
  return got < 0 ? 0 : (size_t)got;
}

/* A string may end just before memory that is not there: page by page. */
static void read_string(pid_t id, uint64_t address, char text[PATH_BYTES]) {
  enum { PAGE = 4096 };
  size_t length = 0;
  while (length < PATH_BYTES - 1) {
    size_t chunk = PAGE - (address + length) % PAGE;
    if (chunk > PATH_BYTES - 1 - length) chunk = PATH_BYTES - 1 - length;
    const size_t got = read_memory(id, address + length, text + length, chunk);
    if (got == 0 || memchr(text + length, '\0', got)) break;
    length += got;
  }
  text[PATH_BYTES - 1] = '\0';
}

static void descriptor_path(pid_t id, int descriptor, char path[PATH_BYTES]) {
  char link[64];
  if (descriptor == AT_FDCWD)
    snprintf(link, sizeof link, "/proc/%d/cwd", (int)id);
  else
    snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)id, descriptor);
  const ssize_t length = readlink(link, path, PATH_BYTES - 1);
  path[length > 0 ? length : 0] = '\0';
}

/* The path that argument `at` gives, relative to the descriptor in argument `directory`; -1: to the
 * working directory. */
static void argument_path(pid_t id, const call_arguments *arguments, int directory, int at,
                          char path[PATH_BYTES]) {
  char given[PATH_BYTES] = "", base[PATH_BYTES];
  read_string(id, arguments->value[at], given);
  if (given[0] == '/') {
    memcpy(path, given, PATH_BYTES);
    return;
  }
  descriptor_path(id, directory < 0 ? AT_FDCWD : (int)arguments->value[directory], base);
  if (snprintf(path, PATH_BYTES, "%s/%s", base, given) >= PATH_BYTES) path[0] = '\0';
}

/* Where a write(2) begins. */
static int64_t position(pid_t id, int descriptor) {
  char path[64], line[256];
  int64_t offset = 0;
  unsigned flags = 0;
  snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)id, descriptor);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file)) {
    (void)sscanf(line, "pos: %" SCNd64, &offset);
    (void)sscanf(line, "flags: %o", &flags);
  }
  if (file) fclose(file);
  if (!(flags & O_APPEND)) return offset;
  struct stat facts;
  snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)id, descriptor);
  return stat(path, &facts) == 0 ? facts.st_size : offset;
}

static bool is_below(const char *path, const char *root) {
  const size_t length = strlen(root);
  return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static void describe(pid_t id, const call_arguments *arguments, const file_call *call,
                     begun_call *begun) {
  const uint64_t *value = arguments->value;
  *begun = (begun_call){.call = call, .other = "-"};
  if (call->path < 0)
    descriptor_path(id, (int)value[0], begun->path);
  else
    argument_path(id, arguments, call->directory, call->path, begun->path);
  if (call->other >= 0)
    argument_path(id, arguments, call->other_directory, call->other, begun->other);
  if (call->flags >= 0) begun->flags = (int64_t)value[call->flags];
  if (call->bytes >= 0) begun->bytes = (int64_t)value[call->bytes];
  if (call->offset >= 0)
    begun->offset = (int64_t)value[call->offset];
  else if (call->is_write)
    begun->offset = position(id, (int)value[0]);
  if (call->is_write) begun->buffer = value[1];
}

/* --- the fault --- */

static void kill_all(const follower *f) {
  for (const thread *t = f->threads; t; t = t->next) kill(process_of(t->id), SIGKILL);
}

/* EINTR comes only from calls that may wait; half of a byte is none. */
static bool can_meet(const follower *f, const begun_call *begun) {
  const bool is_write = begun->call->is_write && !begun->call->is_vector && begun->bytes > 1;
  if (f->fault == SHORT || f->fault == TORN) return is_write;
  return f->fault != FAIL || f->error != EINTR || begun->call->may_wait;
}

/* Returns false where the process that makes the call is gone. */
static bool meet(const follower *f, pid_t id, begun_call *begun) {
  if (f->fault == NONE || f->fault == DATA || begun->number < f->at ||
      (begun->number > f->at && !f->stays) || !can_meet(f, begun))
    return true;
  begun->meets_fault = true;
  if (f->fault == KILL) kill_all(f);
  if (f->fault == KILL_ONE) kill(begun->process, SIGKILL);
  if (f->fault == FAIL) skip_call(id);
  if (f->fault == SHORT || f->fault == TORN) {
    begun->count = (uint64_t)begun->bytes;
    set_argument(id, begun->call->bytes, begun->count / 2);
  }
  return f->fault != KILL && f->fault != KILL_ONE;
}

/* --- the log --- */

/* The bytes of a write in LOG.data; those of writev are joined. */
static void save_data(const follower *f, pid_t id, const begun_call *begun, int64_t result) {
  struct iovec one = {(void *)(uintptr_t)begun->buffer, (size_t)result}, *part = &one, *many = NULL;
  size_t parts = 1;
  if (begun->call->is_vector) {
    parts = (size_t)begun->bytes;
    many = calloc(parts, sizeof *many);
    if (!many) abort();
    read_memory(id, begun->buffer, many, parts * sizeof *many);
    part = many;
  }
  size_t left = (size_t)result;
  for (size_t i = 0; i < parts && left > 0; ++i) {
    const size_t count = part[i].iov_len < left ? part[i].iov_len : left;
    char *bytes = malloc(count + 1);
    if (!bytes) abort();
    if (read_memory(id, (uintptr_t)part[i].iov_base, bytes, count) != count ||
        fwrite(bytes, 1, count, f->data) != count)
      abort();
    free(bytes);
    left -= count;
  }
  free(many);
  fflush(f->data);
}

static void record(const follower *f, const begun_call *begun, int64_t result) {
  fprintf(f->log, "%ld\t%d\t%s\t%s\t%s\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%s\n",
          begun->number, (int)begun->process, begun->call->name, begun->path, begun->other,
          begun->offset, begun->bytes, begun->flags, result,
          begun->meets_fault ? f->fault_name : "-");
  fflush(f->log);
}

/* --- stops of the command's threads --- */

static thread *thread_of(follower *f, pid_t id) {
  for (thread *t = f->threads; t; t = t->next)
    if (t->id == id) return t;
  thread *made = calloc(1, sizeof *made);
  if (!made) abort();
  *made = (thread){.next = f->threads, .id = id};
  f->threads = made;
  return made;
}

static void forget(follower *f, pid_t id) {
  for (thread **t = &f->threads; *t; t = &(*t)->next)
    if ((*t)->id == id) {
      thread *gone = *t;
      *t = gone->next;
      free(gone);
      return;
    }
}

static void begin_call(follower *f, thread *t) {
  call_arguments arguments;
  const file_call *call = get_call(t->id, &arguments) ? find_call(arguments.number) : NULL;
  if (!call || !changes_files(call, &arguments)) {
    ptrace(PTRACE_CONT, t->id, 0, 0);
    return;
  }
  describe(t->id, &arguments, call, &t->begun);
  if (!is_below(t->begun.path, f->root) && !is_below(t->begun.other, f->root)) {
    ptrace(PTRACE_CONT, t->id, 0, 0);
    return;
  }
  t->begun.number = ++f->count;
  t->begun.process = process_of(t->id);
  if (!meet(f, t->id, &t->begun)) {
    record(f, &t->begun, 0);
    return;
  }
  t->is_in_call = true;
  ptrace(PTRACE_SYSCALL, t->id, 0, 0);
}

static void end_call(follower *f, thread *t) {
  begun_call *begun = &t->begun;
  t->is_in_call = false;
  if (begun->meets_fault && f->fault == FAIL) set_result(t->id, -f->error);
  if (begun->count > 0) set_argument(t->id, begun->call->bytes, begun->count);
  const int64_t result = get_result(t->id);
  if (f->data && begun->call->is_write && result > 0) save_data(f, t->id, begun, result);
  record(f, begun, result);
  if (begun->meets_fault && f->fault == TORN) kill_all(f);
  ptrace(PTRACE_CONT, t->id, 0, 0);
}

static void handle_stop(follower *f, pid_t id, int status) {
  thread *t = thread_of(f, id);
  const int event = status >> 16, number = WSTOPSIG(status);
  if (event == PTRACE_EVENT_SECCOMP)
    begin_call(f, t);
  else if (number == (SIGTRAP | 0x80) && t->is_in_call)
    end_call(f, t);
  else if (event == PTRACE_EVENT_STOP && number != SIGTRAP)
    ptrace(PTRACE_LISTEN, id, 0, 0); /* it was stopped by a signal and stays so */
  else
    ptrace(PTRACE_CONT, id, 0, event || number == (SIGTRAP | 0x80) ? 0 : number);
}

static void follow(follower *f) {
  int status;
  for (pid_t id; (id = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
    if (id < 0) continue;
    if (WIFSTOPPED(status)) {
      handle_stop(f, id, status);
      continue;
    }
    forget(f, id);
    if (id == f->command) f->ending = status;
  }
}

/* --- the start --- */

static bool parse_fault(const char *name, follower *f) {
  static const char *const names[] = {"none", "data", "kill", "kill-one", "torn", "short"};
  static const struct {
    const char *name;
    int error;
  } errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EINTR", EINTR},
                {"EROFS", EROFS},   {"EACCES", EACCES}, {"ENOSYS", ENOSYS}};
  const size_t length = strcspn(name, "+");
  f->fault_name = name;
  f->stays = name[length] == '+';
  for (int kind = NONE; kind <= SHORT; ++kind)
    if (strcmp(name, names[kind]) == 0) {
      f->fault = (fault_kind)kind;
      return true;
    }
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i)
    if (strncmp(name, errors[i].name, length) == 0 && strlen(errors[i].name) == length) {
      f->fault = FAIL;
      f->error = errors[i].error;
      return true;
    }
  return false;
}

/* Waits until it is followed, has its calls reported, and becomes the command. */
static void become(char **command) {
  raise(SIGSTOP);
  if (!report_calls()) _exit(NOT_TRACED);
  execvp(command[0], command);
  fprintf(stderr, "file_faults: %s: %s\n", command[0], strerror(errno));
  _exit(NOT_TRACED);
}

static bool start(follower *f, char **command) {
  const long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                       PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                       PTRACE_O_EXITKILL;
  int status;
  f->command = fork();
  if (f->command == 0) become(command);
  if (f->command < 0 || waitpid(f->command, &status, WUNTRACED) != f->command ||
      !WIFSTOPPED(status) || ptrace(PTRACE_SEIZE, f->command, 0, options) != 0)
    return false;
  return kill(f->command, SIGCONT) == 0;
}

int main(int argc, char **argv) {
  follower f = {.ending = NOT_TRACED << 8};
  if (argc < 6 || !parse_fault(argv[3], &f)) {
    fprintf(stderr, "usage: file_faults ROOT LOG FAULT N COMMAND...\n");
    return NOT_TRACED;
  }
  char data[PATH_BYTES];
  snprintf(data, sizeof data, "%s.data", argv[2]);
  f.root = argv[1];
  f.at = strtol(argv[4], NULL, 10);
  f.log = fopen(argv[2], "we");
  if (f.fault == DATA) f.data = fopen(data, "we");
  if (!f.log || (f.fault == DATA && !f.data)) {
    fprintf(stderr, "file_faults: %s: %s\n", argv[2], strerror(errno));
    if (f.log) fclose(f.log);
    if (f.data) fclose(f.data);
    return NOT_TRACED;
  }
  if (!start(&f, argv + 5)) {
    fprintf(stderr, "file_faults: cannot trace: %s\n", strerror(errno));
  } else {
    follow(&f);
  }
  while (f.threads) forget(&f, f.threads->id);
  if (f.data) fclose(f.data);
  fclose(f.log);
  return WIFSIGNALED(f.ending) ? SIGNALLED + WTERMSIG(f.ending) : WEXITSTATUS(f.ending);
}
