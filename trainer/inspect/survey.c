#include "trainer/inspect/survey.h"

#include <errno.h>
#include <fts.h>
#include <omp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/node_memory.h"
#include "core/stop.h"
#include "mpi/transport/communicator.h"
#include "trainer/inspect/inspect.h"

enum { MOST_JOBS = 64 };

/* --- how many --- */

/* In memory a compressed file may be larger; what is in a folder is looked at one by one. */
static int64_t bytes_of(const char *path) {
  enum { UNPACKED = 4 };
  char *const roots[] = {(char *)path, NULL};
  int64_t bytes = 0;
  FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
  if (!tree) return 0;
  for (const FTSENT *entry; (entry = fts_read(tree));)
    if (entry->fts_info == FTS_F)
      bytes += (int64_t)entry->fts_statp->st_size * (entry->fts_level == 0 ? UNPACKED : 1);
  fts_close(tree);
  return bytes;
}

int lap_survey_jobs(char *const *paths, size_t count) {
  cpu_set_t cores;
  int64_t jobs = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  if (jobs > (int64_t)count) jobs = (int64_t)count;
  if (jobs > MOST_JOBS) jobs = MOST_JOBS;
  int64_t largest = 1;
  for (size_t i = 0; i < count; ++i) {
    const int64_t bytes = bytes_of(paths[i]);
    if (bytes > largest) largest = bytes;
  }
  const int64_t fitting = lap_node_memory_look("").available / 2 / largest;
  if (jobs > fitting) jobs = fitting;
  return jobs < 1 ? 1 : (int)jobs;
}

/* --- one --- */

static void look_at(const lap_inspector *inspector, const char *path, lap_survey_entry *entry) {
  lap_report *report = lap_report_create(path);
  entry->status = (lap_status){.code = LAP_OK};
  entry->status.code = lap_inspect(inspector, path, report, &entry->status);
  entry->kind = lap_copy_string(lap_report_kind(report));
  entry->summary = lap_copy_string(lap_report_summary(report));
  entry->json = json_incref((json_t *)lap_report_json(report));
  lap_report_destroy(report);
}

/* Where it could not be looked at to the end. */
static void note_failure(const char *path, const char *reason, lap_survey_entry *entry) {
  lap_report *report = lap_report_create(path);
  lap_fail(&entry->status, LAP_DATA, "%s: could not be looked at: %s", path, reason);
  lap_report_problem(report, entry->status.message);
  entry->kind = lap_copy_string("");
  entry->summary = lap_copy_string("");
  entry->json = json_incref((json_t *)lap_report_json(report));
  lap_report_destroy(report);
}

/* --- a process, which takes the next path that nobody has taken, and tells in lines of JSON --- */

typedef struct {
  pid_t process;
  int descriptor; /* what it tells; -1: it has ended */
  char *text;     /* of a line that is not whole yet */
  size_t bytes;
  int64_t at; /* the path it has begun; -1: none */
} worker;

typedef struct {
  const lap_inspector *inspector;
  char *const *paths;
  size_t count;
  atomic_size_t *next; /* shared by all processes */
  lap_survey_entry *entries;
  int64_t looked_at;
  void (*done)(void *context, int64_t looked_at);
  void *context;
} survey;

static void tell(int descriptor, json_t *object) {
  char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII),
       *line = lap_format("%s\n", text);
  lap_status ignored;
  if (lap_file_write_all(descriptor, "pipe", line, strlen(line), &ignored) != LAP_OK)
    _exit(LAP_DATA); /* nobody listens */
  free(line);
  free(text);
  json_decref(object);
}

/* A message may hold the bytes of a path, which need be no text. */
static json_t *message_of(const lap_status *status) {
  json_t *text = json_string(status->message);
  if (text) return text;
  char *clean = lap_report_clean(status->message, strlen(status->message), LAP_MESSAGE_SIZE);
  text = json_string(clean);
  free(clean);
  return text;
}

_Noreturn static void work(const survey *s, int descriptor, int threads) {
  lap_stop_ignore();
  omp_set_num_threads(threads);
  for (size_t i; (i = atomic_fetch_add(s->next, 1)) < s->count;) {
    lap_survey_entry found;
    tell(descriptor, json_pack("{s:I}", "begins", (json_int_t)i));
    look_at(s->inspector, s->paths[i], &found);
    json_t *message = message_of(&found.status);
    tell(descriptor, json_pack("{s:I, s:i, s:o, s:s, s:s, s:o}", "ends", (json_int_t)i, "code",
                               (int)found.status.code, "message", message, "kind", found.kind,
                               "summary", found.summary, "report", found.json));
    free(found.kind);
    free(found.summary);
  }
  _exit(LAP_OK);
}

static bool start_worker(const survey *s, int threads, worker *w) {
  int ends[2];
  const pid_t parent = getpid();
  sigset_t before;
  if (pipe(ends) != 0) return false;
  fflush(NULL);
  lap_stop_hold(&before);
  w->process = lap_comm_fork(s->inspector->session->comm);
  if (w->process == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(LAP_STOPPED);
    close(ends[0]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work(s, ends[1], threads);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(ends[1]);
  w->descriptor = ends[0];
  w->at = -1;
  if (w->process > 0) return true;
  close(ends[0]);
  return false;
}

/* --- what they tell --- */

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

static void take_line(survey *s, worker *w, const char *line, size_t bytes) {
  json_t *told = json_loadb(line, bytes, 0, NULL);
  const json_t *ends = json_object_get(told, "ends");
  if (!ends) {
    w->at = json_integer_value(json_object_get(told, "begins"));
  } else {
    lap_survey_entry *entry = &s->entries[json_integer_value(ends)];
    entry->kind = lap_copy_string(text_of(told, "kind"));
    entry->summary = lap_copy_string(text_of(told, "summary"));
    entry->json = json_incref(json_object_get(told, "report"));
    entry->status.code = (lap_code)json_integer_value(json_object_get(told, "code"));
    snprintf(entry->status.message, sizeof entry->status.message, "%s", text_of(told, "message"));
    w->at = -1;
    s->done(s->context, ++s->looked_at);
  }
  json_decref(told);
}

/* It has ended, perhaps in the middle of a path. */
static void bury(survey *s, worker *w) {
  int status;
  close(w->descriptor);
  w->descriptor = -1;
  while (waitpid(w->process, &status, 0) < 0 && errno == EINTR) continue;
  if (w->at >= 0) {
    char reason[80];
    snprintf(reason, sizeof reason, "its process ended by %s %d",
             WIFSIGNALED(status) ? "signal" : "exit code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    note_failure(s->paths[w->at], reason, &s->entries[w->at]);
    s->done(s->context, ++s->looked_at);
  }
  free(w->text);
  w->text = NULL;
  w->bytes = 0;
}

static void listen_to(survey *s, worker *w) {
  enum { BLOCK = 1 << 16 };
  w->text = lap_reallocate(w->text, (int64_t)w->bytes + BLOCK, 1);
  const ssize_t got = read(w->descriptor, w->text + w->bytes, BLOCK);
  if (got < 0 && errno == EINTR) return;
  if (got <= 0) {
    bury(s, w);
    return;
  }
  w->bytes += (size_t)got;
  char *line = w->text, *end;
  while ((end = memchr(line, '\n', w->bytes - (size_t)(line - w->text)))) {
    take_line(s, w, line, (size_t)(end - line));
    line = end + 1;
  }
  w->bytes -= (size_t)(line - w->text);
  memmove(w->text, line, w->bytes);
}

static void listen_to_all(survey *s, worker *workers, int count) {
  for (;;) {
    struct pollfd wanted[MOST_JOBS];
    int open = 0;
    for (int i = 0; i < count; ++i) {
      wanted[i] = (struct pollfd){.fd = workers[i].descriptor, .events = POLLIN};
      open += workers[i].descriptor >= 0;
    }
    if (open == 0) return;
    if (poll(wanted, (nfds_t)count, -1) < 0) continue;
    for (int i = 0; i < count; ++i)
      if (wanted[i].fd >= 0 && wanted[i].revents) listen_to(s, &workers[i]);
  }
}

static void look_alone(survey *s) {
  for (size_t i; (i = atomic_fetch_add(s->next, 1)) < s->count;) {
    look_at(s->inspector, s->paths[i], &s->entries[i]);
    s->done(s->context, ++s->looked_at);
  }
}

/* Until no path is left: processes that crash are replaced, as each has taken a path along. */
static void look_together(survey *s, int jobs) {
  const int threads = omp_get_num_procs() / jobs > 0 ? omp_get_num_procs() / jobs : 1;
  while (atomic_load(s->next) < s->count) {
    worker workers[MOST_JOBS] = {{.process = 0}};
    int started = 0;
    while (started < jobs && start_worker(s, threads, &workers[started])) ++started;
    if (started == 0) look_alone(s);
    listen_to_all(s, workers, started);
  }
  /* Taken by a process that was killed before it could say so, and so not for the path's sake. */
  for (size_t i = 0; i < s->count; ++i)
    if (!s->entries[i].json) {
      look_at(s->inspector, s->paths[i], &s->entries[i]);
      s->done(s->context, ++s->looked_at);
    }
}

void lap_survey(const lap_inspector *inspector, char *const *paths, size_t count, int jobs,
                void (*done)(void *context, int64_t looked_at), void *context,
                lap_survey_entry *entries) {
  survey s = {.inspector = inspector,
              .paths = paths,
              .count = count,
              .entries = entries,
              .done = done,
              .context = context};
  memset(entries, 0, count * sizeof *entries);
  atomic_size_t alone = 0;
  void *shared =
      mmap(NULL, sizeof *s.next, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  s.next = shared == MAP_FAILED ? &alone : shared;
  atomic_init(s.next, 0);
  if (jobs > MOST_JOBS) jobs = MOST_JOBS;
  if (jobs > 1 && shared != MAP_FAILED)
    look_together(&s, jobs);
  else
    look_alone(&s);
  if (shared != MAP_FAILED) munmap(shared, sizeof *s.next);
}

void lap_survey_release(lap_survey_entry *entries, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    free(entries[i].kind);
    free(entries[i].summary);
    json_decref(entries[i].json);
  }
}
