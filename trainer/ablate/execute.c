#include "trainer/ablate/execute.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/directory_lock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/stop.h"
#include "trainer/ablate/outcome.h"
#include "trainer/ablate/trunk.h"
#include "trainer/cli/human.h"

typedef struct {
  pid_t process;
  size_t task;
  double begun;
} child;

typedef struct {
  lap_tasks *tasks;
  const lap_execute_options *options;
  char program[PATH_MAX];
  child *children; /* [child_count], at most `jobs` */
  size_t child_count;
  char threads[32];   /* the argument of a child that has all threads */
  double told;        /* when the children were told to stop; 0: never */
  lap_status failure; /* the first; code LAP_OK: none */
} execution;

/* --- what is done --- */

static lap_code look_at(lap_tasks *tasks, lap_task *task, bool settle, lap_status *status) {
  bool diverged;
  if (task->state != LAP_TASK_WAITING) return LAP_OK;
  if (settle && task->kind == LAP_TASK_RUN) LAP_TRY(lap_task_settle(tasks, task, status));
  if (lap_task_is_done(task, &diverged)) task->state = diverged ? LAP_TASK_DIVERGED : LAP_TASK_DONE;
  return LAP_OK;
}

lap_code lap_execute_look(lap_tasks *tasks, bool settle, lap_status *status) {
  for (size_t i = 0; i < tasks->count; ++i)
    LAP_TRY(look_at(tasks, &tasks->task[i], settle, status));
  return LAP_OK;
}

/* Whether all that the task needs is done; what can never be is skipped. */
static bool is_ready(const lap_tasks *tasks, lap_task *task) {
  if (task->state != LAP_TASK_WAITING) return false;
  bool ready = lap_trunk_is_over(tasks, task);
  for (size_t i = 0; i < task->need_count; ++i) {
    const lap_task_state state = tasks->task[task->needs[i]].state;
    ready = ready && state == LAP_TASK_DONE;
    if (state == LAP_TASK_DIVERGED || state == LAP_TASK_FAILED || state == LAP_TASK_SKIPPED)
      task->state = LAP_TASK_SKIPPED;
  }
  return ready;
}

/* --- starting --- */

static bool goes_on(const lap_task *task) {
  return task->kind == LAP_TASK_MODEL || task->kind == LAP_TASK_RUN || task->kind == LAP_TASK_CACHE;
}

/* Ranks whose launcher was killed live on for a moment, and hold the lock of their directory. */
static lap_code wait_for_ranks(const char *directory, lap_status *status) {
  enum { PATIENCE_SECONDS = 60 };
  const double begun = lap_clock_seconds();
  for (;;) {
    lap_directory_lock *lock;
    const lap_code code = lap_directory_lock_take(directory, &lock, status);
    if (code == LAP_OK) lap_directory_lock_release(lock);
    if (code == LAP_USAGE && lap_stop_requested())
      return lap_fail(status, LAP_STOPPED, "stopped; the same command goes on");
    if (code != LAP_USAGE || lap_stop_requested() || lap_clock_seconds() - begun > PATIENCE_SECONDS)
      return code;
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  }
}

static lap_code prepare(const lap_tasks *tasks, const lap_task *task, lap_status *status) {
  if (task->kind != LAP_TASK_EVALUATION && !goes_on(task))
    LAP_TRY(lap_file_remove_tree(task->directory, status));
  LAP_TRY(lap_file_make_directories(task->directory, status));
  if (!goes_on(task)) return LAP_OK;
  LAP_TRY(wait_for_ranks(task->directory, status));
  return lap_trunk_graft(tasks, task, status);
}

/* Whether a task that may have threads is about to run with nothing beside it: as a teacher is, of
 * whom all runs learn. Then it gets the threads of all jobs; they are no part of its numbers. */
static bool is_alone(const execution *e, const lap_task *task) {
  if (!task->parallel || e->options->ranks > 1 || e->options->jobs == 1 || e->child_count > 0)
    return false;
  for (size_t i = 0; i < e->tasks->count; ++i)
    if (&e->tasks->task[i] != task && is_ready(e->tasks, &e->tasks->task[i])) return false;
  return true;
}

/* The command line: launcher, program, arguments, NULL. Words of the launcher belong to *words, the
 * number of threads to *e. */
static const char **command_of(execution *e, const lap_task *task, char **words) {
  const bool several = task->parallel && e->options->ranks > 1;
  *words = lap_copy_string(several ? e->options->launcher : "");
  const char **argv =
      lap_allocate((int64_t)(strlen(*words) + task->argument_count) + 8, sizeof *argv);
  size_t count = 0;
  for (char *rest = *words, *word; (word = strtok_r(rest, " ", &rest));) argv[count++] = word;
  static char ranks[16];
  snprintf(ranks, sizeof ranks, "%d", e->options->ranks);
  if (several) {
    argv[count++] = "-n";
    argv[count++] = ranks;
  }
  argv[count++] = e->program;
  for (size_t i = 0; i < task->argument_count; ++i) argv[count++] = task->argument[i];
  if (is_alone(e, task)) { /* once more: the last one counts */
    const bool trains = task->kind == LAP_TASK_MODEL || task->kind == LAP_TASK_RUN;
    snprintf(e->threads, sizeof e->threads, "%sthreads=%d", trains ? "" : "--",
             e->options->jobs * task->threads);
    argv[count++] = e->threads;
  }
  return argv;
}

/* Between fork and exec. */
static void become(pid_t parent, int in, int out, int log, bool several, const char *const *argv,
                   const sigset_t *mask) {
  setpgid(0, 0);
  /* A launcher takes its ranks along only if it may do something. */
  prctl(PR_SET_PDEATHSIG, several ? SIGTERM : SIGKILL);
  if (getppid() != parent) _exit(LAP_STOPPED);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  pthread_sigmask(SIG_SETMASK, mask, NULL);
  execvp(argv[0], (char *const *)argv);
  dprintf(STDERR_FILENO, "%s: cannot be started: %s\n", argv[0], strerror(errno));
  _exit(LAP_USAGE);
}

/* With room on the disk beyond its end: on one that is full a child could not say so. File systems
 * that reserve none are taken as they are. */
static int open_file(const lap_task *task, const char *name, int flags, lap_status *status) {
  enum { ROOM_BYTES = 16 << 10 };
  char *path = lap_task_path(task, name);
  int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
  if (descriptor < 0) {
    lap_file_fail(path, "be opened", status);
  } else if (fallocate(descriptor, FALLOC_FL_KEEP_SIZE, lseek(descriptor, 0, SEEK_END),
                       ROOM_BYTES) != 0 &&
             (errno == ENOSPC || errno == EDQUOT)) {
    lap_file_fail(path, "be written", status);
    close(descriptor);
    descriptor = -1;
  }
  free(path);
  return descriptor;
}

/* Gives back the room that a child that has ended has not used. */
static void give_back_room(const lap_task *task) {
  static const char *const names[] = {"out.txt", "err.txt"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    struct stat facts;
    char *path = lap_task_path(task, names[i]);
    const bool given = stat(path, &facts) == 0 && truncate(path, facts.st_size) == 0;
    (void)given; /* the next child of the task takes it */
    free(path);
  }
}

static lap_code spawn(execution *e, size_t index, lap_status *status) {
  const lap_task *task = &e->tasks->task[index];
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = open_file(task, "out.txt", O_TRUNC, status);
  const int log = out < 0 ? -1 : open_file(task, "err.txt", O_APPEND, status);
  lap_code code = log < 0 ? LAP_DATA : LAP_OK;
  char *words;
  const char **argv = command_of(e, task, &words);
  sigset_t before;
  if (code == LAP_OK) {
    const pid_t parent = getpid();
    lap_stop_hold(&before);
    const pid_t process = fork();
    if (process == 0)
      become(parent, in, out, log, task->parallel && e->options->ranks > 1, argv, &before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (process < 0)
      code = lap_fail(status, LAP_DATA, "no process can be started: %s", strerror(errno));
    else
      e->children[e->child_count++] = (child){process, index, lap_clock_seconds()};
  }
  free(words);
  free(argv);
  if (in >= 0) close(in);
  if (out >= 0) close(out);
  if (log >= 0) close(log);
  return code;
}

static size_t count_done(const lap_tasks *tasks) {
  size_t done = 0;
  for (size_t i = 0; i < tasks->count; ++i)
    done += tasks->task[i].state != LAP_TASK_WAITING && tasks->task[i].state != LAP_TASK_RUNNING;
  return done;
}

static lap_code start(execution *e, size_t index, lap_status *status) {
  lap_task *task = &e->tasks->task[index];
  lap_console_say(e->options->console, "[%zu/%zu] %s: %s%s", count_done(e->tasks) + 1,
                  e->tasks->count, task->name, task->argument[0],
                  task->attempts > 0 ? ", again" : "");
  LAP_TRY(prepare(e->tasks, task, status));
  bool was_whole;
  lap_outcome_time took;
  LAP_TRY(lap_outcome_salvage(task, &was_whole, &took, status));
  if (was_whole) { /* it had ended, and only its done.json was missing */
    const double cpu = (took.seconds + took.seconds_before) * e->options->ranks * task->threads;
    LAP_TRY(lap_task_write_done(task, took.seconds, cpu, e->options->ranks, false, status));
    task->state = LAP_TASK_DONE;
    return LAP_OK;
  }
  LAP_TRY(lap_task_remove_losses(task, status));
  LAP_TRY(spawn(e, index, status));
  task->state = LAP_TASK_RUNNING;
  ++task->attempts;
  return LAP_OK;
}

/* --- ending --- */

static void fail(execution *e, lap_task *task, int wait_status) {
  char *command = NULL, *log = lap_task_path(task, "err.txt");
  size_t size = 0;
  FILE *out = lap_open_text(&command, &size);
  for (size_t i = 0; i < task->argument_count; ++i) fprintf(out, " %s", task->argument[i]);
  lap_close_text(out, &command);
  char how[48];
  const int exit_code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
  if (WIFEXITED(wait_status))
    snprintf(how, sizeof how, "exit code %d", exit_code);
  else
    snprintf(how, sizeof how, "signal %d", WTERMSIG(wait_status));
  char *last = lap_outcome_last_lines(log);
  const bool ours = exit_code == LAP_USAGE || exit_code == LAP_DATA || exit_code == LAP_NONFINITE;
  task->state = LAP_TASK_FAILED;
  if (e->failure.code == LAP_OK)
    lap_fail(&e->failure, ours ? (lap_code)exit_code : LAP_DATA,
             "%s failed with %s: lapidary%.700s\n%s\nall it said is in %s", task->name, how,
             command, last, log);
  free(last);
  free(command);
  free(log);
}

static lap_code keep_outcome(const execution *e, lap_task *task, double seconds, double cpu_seconds,
                             bool diverged, lap_status *status) {
  lap_outcome_time took;
  LAP_TRY(lap_outcome_keep(task, diverged, &took, status));
  /* What children took that were killed nobody has counted: as many cores a second as this one. */
  if (seconds > 0) cpu_seconds += took.seconds_before * cpu_seconds / seconds;
  LAP_TRY(lap_task_write_done(task, seconds, cpu_seconds, e->options->ranks, diverged, status));
  task->state = diverged ? LAP_TASK_DIVERGED : LAP_TASK_DONE;
  char text[LAP_HUMAN_TEXT];
  const int64_t repeated = lap_outcome_near_duplicates(task);
  if (repeated > 0)
    lap_console_say(e->options->console, "        %s: %" PRId64 " near-duplicates are left out",
                    task->name, repeated);
  if (diverged)
    lap_console_warn(e->options->console, "%s has diverged: its numbers are not finite",
                     task->name);
  else
    lap_console_say(e->options->console, "        %s: done in %s", task->name,
                    lap_human_seconds(seconds, text));
  return LAP_OK;
}

static lap_code end(execution *e, const child *ended, int wait_status, const struct rusage *used,
                    lap_status *status) {
  lap_task *task = &e->tasks->task[ended->task];
  const double seconds = lap_clock_seconds() - ended->begun;
  const double cpu = (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) +
                     1e-6 * (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec);
  const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
  task->state = LAP_TASK_WAITING;
  give_back_room(task);
  if (code == 0) return keep_outcome(e, task, seconds, cpu, false, status);
  if (code == LAP_NONFINITE && task->kind == LAP_TASK_RUN)
    return keep_outcome(e, task, seconds, cpu, true, status);
  if (code == LAP_STOPPED) lap_stop_hear(); /* the job's time is over, for all its processes */
  if (lap_stop_requested()) return LAP_OK;
  /* mpirun says 128 and more of a rank that a signal has ended, and 1 where it was ended itself. */
  const bool was_stopped =
      code < 0 || code == 1 || code > 128 || code == LAP_STOPPED || code == LAP_WATCHDOG;
  if (was_stopped && task->attempts < LAP_ATTEMPTS) {
    lap_console_warn(e->options->console, "%s was ended by %s%d; it goes on", task->name,
                     code < 0 ? "signal " : "exit code ", code < 0 ? WTERMSIG(wait_status) : code);
    return LAP_OK;
  }
  fail(e, task, wait_status);
  return LAP_OK;
}

static lap_code reap(execution *e, lap_status *status) {
  for (size_t i = 0; i < e->child_count;) {
    int wait_status;
    struct rusage used;
    const child ended = e->children[i];
    if (wait4(ended.process, &wait_status, WNOHANG, &used) != ended.process) {
      ++i;
      continue;
    }
    e->children[i] = e->children[--e->child_count];
    LAP_TRY(end(e, &ended, wait_status, &used, status));
  }
  return LAP_OK;
}

/* mpirun answers SIGTERM by killing its ranks a second later, and hands SIGUSR1 on; but it loses
 * one that comes while it starts them, so it is sent again until they have ended. A child that is
 * held (SIGSTOP) could not answer. */
static void tell_children(execution *e) {
  enum { AGAIN_SECONDS = 5 };
  const double now = lap_clock_seconds();
  if (e->told > 0 && now - e->told < AGAIN_SECONDS) return;
  for (size_t i = 0; i < e->child_count; ++i) {
    (void)kill(e->children[i].process, SIGUSR1);
    (void)kill(e->children[i].process, SIGCONT);
  }
  e->told = now;
}

/* --- the loop --- */

/* A task of several ranks has the machine for itself. */
static bool has_room(const execution *e, const lap_task *task) {
  if (e->child_count == 0) return true;
  if (e->options->ranks == 1) return e->child_count < (size_t)e->options->jobs;
  if (task->parallel || e->child_count >= (size_t)e->options->jobs) return false;
  for (size_t i = 0; i < e->child_count; ++i)
    if (e->tasks->task[e->children[i].task].parallel) return false;
  return true;
}

static lap_code start_ready(execution *e, lap_status *status) {
  for (size_t i = 0; i < e->tasks->count; ++i) {
    if (lap_stop_requested() || e->failure.code != LAP_OK) return LAP_OK;
    lap_task *task = &e->tasks->task[i];
    if (is_ready(e->tasks, task) && has_room(e, task)) LAP_TRY(start(e, i, status));
  }
  return LAP_OK;
}

static lap_code run_all(execution *e, lap_status *status) {
  for (;;) {
    LAP_TRY(start_ready(e, status));
    if (e->child_count == 0 && (lap_stop_requested() || e->failure.code != LAP_OK)) return LAP_OK;
    bool waiting = e->child_count > 0;
    for (size_t i = 0; i < e->tasks->count && !waiting; ++i)
      waiting = is_ready(e->tasks, &e->tasks->task[i]);
    if (!waiting) return LAP_OK;
    if (lap_stop_requested()) tell_children(e);
    LAP_TRY(reap(e, status));
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  }
}

static lap_code find_program(execution *e, lap_status *status) {
  const ssize_t length = readlink("/proc/self/exe", e->program, sizeof e->program - 1);
  e->program[length > 0 ? length : 0] = '\0';
  if (length > 0 && access(e->program, X_OK) == 0) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: the program is not there any more: it was removed or built again meanwhile",
                  e->program);
}

lap_code lap_execute(lap_tasks *tasks, const lap_execute_options *options, lap_status *status) {
  execution e = {.tasks = tasks, .options = options};
  e.children = lap_allocate(options->jobs, sizeof *e.children);
  lap_code code = find_program(&e, status);
  if (code == LAP_OK) code = lap_execute_look(tasks, true, status);
  if (code == LAP_OK) code = run_all(&e, status);
  while (e.child_count > 0) { /* a disk is full, say: they may save what they have */
    lap_status ignored;
    tell_children(&e);
    (void)reap(&e, &ignored);
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  }
  free(e.children);
  LAP_TRY(code);
  if (e.failure.code != LAP_OK) {
    *status = e.failure;
    return status->code;
  }
  if (!lap_stop_requested()) return LAP_OK;
  return lap_fail(status, LAP_STOPPED, "stopped; the same command goes on");
}
