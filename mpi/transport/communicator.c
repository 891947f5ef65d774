#include "mpi/transport/communicator.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/launcher.h"
#include "core/memory.h"
#include "mpi/transport/message.h"
#include "mpi/transport/watch.h"

/* Small messages arrive within the first microseconds, in which the thread only yields its core;
 * after that it sleeps, longer and longer, so that compute threads have the core. Where the main
 * thread waits for it, it yields for longer before that: nobody else of this rank needs the core,
 * and a sleep that ends late holds up two ranks. While nothing is in flight it still polls now and
 * then: a large message that this rank sent may need it. */
enum {
  SPIN_NANOSECONDS = 40 * 1000,
  AWAITED_SPIN_NANOSECONDS = 2 * 1000 * 1000,
  SLEEP_NANOSECONDS_MIN = 50 * 1000,
  SLEEP_NANOSECONDS_MAX = 200 * 1000,
  BESIDE_NANOSECONDS_MAX = 1000 * 1000, /* where only exchanges beside are in flight */
  IDLE_NANOSECONDS_MAX = 10 * 1000 * 1000,
};
/* Time that aborting MPI may take. */
enum { ABORT_SECONDS = 5 };
/* One wait counts as at most this much: see watch.c. */
static const double LONGEST_WAIT_SECONDS = 1;

enum { ACTIVITY_SIZE = 256 };

typedef struct {
  const lap_exchange *exchange;
  lap_message_mode mode;
  bool done;
} entry;

/* One that is `of` another has nothing of its own but the counts of collectives. */
struct lap_comm {
  lap_comm *of; /* itself, but for the one beside it */
  lap_comm *beside;
  lap_messages *messages;        /* of the communication thread, once started */
  lap_watch *watch;              /* likewise */
  lap_mesh_traffic mesh_traffic; /* of the threads that call collectives */

  int ranks; /* of the job, as far as they have work; for callers */

  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t work; /* for the communication thread: an exchange, an end or an abort */
  pthread_cond_t done; /* for callers: MPI is up, or an exchange is done */

  /* Under `mutex`. Exchanges are numbered from 1; number n stands in queue[n % capacity] until it
   * and all before it are done. */
  entry *queue;
  uint64_t capacity, submitted, begun, completed;
  bool started, finishing;
  lap_status start_status;
  double watchdog_seconds, patience_seconds, exposed_seconds;
  /* Of who uses this one, and of who uses the one beside it: threads that wait for exchanges, those
   * that were submitted and are not done, and how often one was submitted or done. */
  struct {
    int waiting, in_flight;
    uint64_t moves;
  } user[2];
  bool waits_beside; /* the main thread waits for exchanges beside its own, or runs them */
  int64_t heartbeat_bytes;
  bool idle;     /* this rank has been left out */
  bool unhashed; /* exchanges that are submitted from now on */
  char activity[ACTIVITY_SIZE];

  atomic_bool mpi_is_up; /* MPI_Init has returned */
  atomic_int abort_code; /* not 0: the communication thread ends all ranks with it */
};

static struct timespec clock_in(clockid_t clock, double seconds) {
  struct timespec time;
  clock_gettime(clock, &time);
  const int64_t nanoseconds = time.tv_nsec + (int64_t)(seconds * 1e9);
  time.tv_sec += nanoseconds / 1000000000;
  time.tv_nsec = nanoseconds % 1000000000;
  return time;
}

/* --- the communication thread --- */

/* Begins what was submitted. Called and left with the mutex held. */
static void begin_exchanges(lap_comm *comm) {
  while (comm->begun < comm->submitted) {
    const uint64_t number = comm->begun + 1;
    const entry next = comm->queue[number % comm->capacity];
    pthread_mutex_unlock(&comm->mutex);
    lap_messages_begin(comm->messages, next.exchange, number, next.mode);
    pthread_mutex_lock(&comm->mutex);
    comm->begun = number;
  }
}

/* Tells callers which exchanges are done. */
static void complete_exchanges(lap_comm *comm, const uint64_t *numbers, int count) {
  pthread_mutex_lock(&comm->mutex);
  for (int i = 0; i < count; ++i) {
    entry *done = &comm->queue[numbers[i] % comm->capacity];
    --comm->user[done->mode.beside].in_flight;
    ++comm->user[done->mode.beside].moves;
    done->done = true;
  }
  while (comm->completed < comm->begun && comm->queue[(comm->completed + 1) % comm->capacity].done)
    ++comm->completed;
  pthread_cond_broadcast(&comm->done);
  pthread_mutex_unlock(&comm->mutex);
}

/* Ends the job where the watch finds a reason. Called and left with the mutex held. */
static void look_at_ranks(lap_comm *comm) {
  char activity[ACTIVITY_SIZE];
  memcpy(activity, comm->activity, sizeof activity);
  const bool also = comm->waits_beside;
  const lap_watch_facts facts = {
      .watchdog_seconds = comm->watchdog_seconds,
      .patience_seconds = comm->patience_seconds,
      .exchanges = comm->user[0].moves + (also ? comm->user[1].moves : 0),
      .waiting = comm->user[0].waiting + (also ? comm->user[1].waiting : 0) > 0,
      .leaving = comm->finishing,
      .activity = activity};
  pthread_mutex_unlock(&comm->mutex);
  const char *reason = lap_watch_look(comm->watch, &facts);
  if (reason)
    lap_comm_abort(comm, LAP_WATCHDOG,
                   lap_format("watchdog: %s; ending all ranks with exit code %d (a longer patience "
                              "is watchdog_seconds)",
                              reason, LAP_WATCHDOG));
  pthread_mutex_lock(&comm->mutex);
  comm->heartbeat_bytes = lap_watch_sent_bytes(comm->watch);
}

/* Completes what it can, `seconds` after the last poll. Returns whether it completed anything. */
static bool poll_exchanges(lap_comm *comm, double seconds) {
  const int code = atomic_load(&comm->abort_code);
  if (code != 0) lap_messages_abort(comm->messages, code);
  const uint64_t *numbers;
  const int count = lap_messages_poll(comm->messages, seconds, &numbers);
  if (count > 0) complete_exchanges(comm, numbers, count);
  return count > 0;
}

/* Sleeps for that long or until there is something to do. Called and left with the mutex held. */
static void sleep_until_work(lap_comm *comm, long nanoseconds) {
  const struct timespec until = clock_in(CLOCK_MONOTONIC, 1e-9 * (double)nanoseconds);
  if (comm->begun == comm->submitted) pthread_cond_timedwait(&comm->work, &comm->mutex, &until);
}

static void run_exchanges(lap_comm *comm) {
  double last = lap_clock_seconds(), moved = last;
  long nanoseconds = SLEEP_NANOSECONDS_MIN;
  pthread_mutex_lock(&comm->mutex);
  while (!comm->finishing || comm->begun < comm->submitted ||
         lap_messages_in_flight(comm->messages) > 0 || !lap_watch_has_left(comm->watch)) {
    const bool beginning = comm->begun < comm->submitted;
    const long spin = comm->user[0].waiting > 0 ? AWAITED_SPIN_NANOSECONDS : SPIN_NANOSECONDS;
    look_at_ranks(comm);
    begin_exchanges(comm);
    pthread_mutex_unlock(&comm->mutex);
    const double now = lap_clock_seconds(), passed = now - last;
    last = now;
    if (poll_exchanges(comm, passed) || beginning) {
      moved = now;
      nanoseconds = SLEEP_NANOSECONDS_MIN;
    }
    const bool waiting = lap_messages_in_flight(comm->messages) > 0 && !comm->idle;
    const bool spinning = waiting && now - moved < 1e-9 * (double)spin;
    if (spinning) sched_yield();
    pthread_mutex_lock(&comm->mutex);
    if (spinning) continue;
    long longest = waiting || comm->finishing ? SLEEP_NANOSECONDS_MAX : IDLE_NANOSECONDS_MAX;
    if (waiting && comm->user[0].in_flight == 0) longest = BESIDE_NANOSECONDS_MAX;
    if (nanoseconds > longest) nanoseconds = longest;
    sleep_until_work(comm, nanoseconds);
    nanoseconds += nanoseconds / 2;
  }
  pthread_mutex_unlock(&comm->mutex);
}

static void *communication_thread(void *argument) {
  lap_comm *comm = argument;
  lap_status status = {.code = LAP_OK};
  status.code =
      lap_messages_start(&comm->messages, comm->watchdog_seconds, &comm->mpi_is_up, &status);
  pthread_mutex_lock(&comm->mutex);
  comm->start_status = status;
  comm->started = true;
  pthread_cond_broadcast(&comm->done);
  pthread_mutex_unlock(&comm->mutex);
  if (status.code == LAP_OK) {
    comm->watch = lap_watch_begin(comm->messages);
    run_exchanges(comm);
    lap_watch_end(comm->watch);
  }
  lap_messages_finish(comm->messages);
  return NULL;
}

/* Starts the thread with asynchronous signals blocked: SIGTERM and SIGUSR1 belong to the main
 * thread. Signals of faults stay, so that a crash is reported as what it is. */
static void start_thread(lap_comm *comm) {
  sigset_t blocked, before;
  sigfillset(&blocked);
  const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; ++i) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const int result = pthread_create(&comm->thread, NULL, communication_thread, comm);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (result == 0) return;
  fprintf(stderr, "lapidary: the communication thread cannot be started: %s\n", strerror(result));
  exit(LAP_USAGE);
}

/* --- life, from the main thread --- */

/* The communication thread is stuck inside of MPI. One rank of each node speaks, those first that
 * know who is stopped. */
static _Noreturn void give_up(const char *doing, double seconds, const char *reason) {
  enum { OTHERS_FIRST_SECONDS = 4 };
  char host[256] = "", culprit[64] = "a rank does not answer";
  gethostname(host, sizeof host - 1);
  const lap_launcher_node node = lap_launcher_look_around();
  if (node.stopped >= 0)
    snprintf(culprit, sizeof culprit, "rank %d on this host is stopped", node.stopped);
  /* The launcher's SIGTERM does not shorten it. */
  unsigned left = node.stopped < 0 || !node.first ? OTHERS_FIRST_SECONDS : 0;
  while (left > 0) left = sleep(left);
  fprintf(stderr,
          "lapidary: rank %d on %s: watchdog: %s took more than %.0f seconds: %s; ending all ranks "
          "with exit code %d%s%s\n",
          lap_launcher_rank(), host, doing, seconds, culprit, LAP_WATCHDOG, reason[0] ? ". " : "",
          reason);
  _exit(LAP_WATCHDOG);
}

static _Noreturn void give_up_start(double seconds) {
  char reason[2048];
  lap_messages_explain_start(reason, sizeof reason);
  give_up("starting MPI", seconds, reason);
}

/* Until MPI is up and the ranks have heard of each other. The communication thread comes first
 * where it can name who is missing. */
static void wait_for_start(lap_comm *comm) {
  static const double look_seconds = 0.2, margin_seconds = 5;
  double waited = 0, last = lap_clock_seconds();
  pthread_mutex_lock(&comm->mutex);
  while (!comm->started) {
    const struct timespec until = clock_in(CLOCK_MONOTONIC, look_seconds);
    pthread_cond_timedwait(&comm->done, &comm->mutex, &until);
    const double now = lap_clock_seconds();
    waited += fmin(now - last, LONGEST_WAIT_SECONDS);
    last = now;
    if (waited > comm->watchdog_seconds + (atomic_load(&comm->mpi_is_up) ? margin_seconds : 0))
      give_up_start(comm->watchdog_seconds);
  }
  pthread_mutex_unlock(&comm->mutex);
}

static void destroy(lap_comm *comm) {
  pthread_cond_destroy(&comm->work);
  pthread_cond_destroy(&comm->done);
  pthread_mutex_destroy(&comm->mutex);
  free(comm->queue);
  lap_messages_destroy(comm->messages);
  free(comm->beside);
  free(comm);
}

/* The watch ends with MPI_Finalize, so this thread watches over that. */
static void join_thread(lap_comm *comm) {
  static const double look_seconds = 0.2;
  double waited = 0, last = lap_clock_seconds();
  for (;;) {
    /* By a clock that nobody sets: that on the wall may jump. */
    const struct timespec until = clock_in(CLOCK_MONOTONIC, look_seconds);
    if (pthread_clockjoin_np(comm->thread, NULL, CLOCK_MONOTONIC, &until) != ETIMEDOUT) return;
    const double now = lap_clock_seconds();
    waited += fmin(now - last, LONGEST_WAIT_SECONDS);
    last = now;
    if (waited > comm->watchdog_seconds + look_seconds)
      give_up("finishing MPI", comm->watchdog_seconds, "");
  }
}

lap_code lap_comm_start(lap_comm **result, double watchdog_seconds, lap_status *status) {
  lap_comm *comm = lap_allocate(1, sizeof *comm);
  comm->of = comm;
  comm->beside = lap_allocate(1, sizeof *comm->beside);
  comm->beside->of = comm;
  comm->watchdog_seconds = watchdog_seconds;
  comm->capacity = 64;
  comm->queue = lap_allocate(comm->capacity, sizeof *comm->queue);
  pthread_mutex_init(&comm->mutex, NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&comm->work, &monotonic);
  pthread_cond_init(&comm->done, &monotonic);
  pthread_condattr_destroy(&monotonic);
  start_thread(comm);

  wait_for_start(comm);
  if (comm->start_status.code != LAP_OK) {
    *status = comm->start_status;
    join_thread(comm);
    destroy(comm);
    return status->code;
  }
  comm->ranks = lap_messages_size(comm->messages);
  *result = comm;
  return LAP_OK;
}

bool lap_comm_keep(lap_comm *comm, int ranks) {
  assert(ranks >= 1 && ranks <= comm->ranks);
  assert(comm->completed == comm->submitted);
  comm->ranks = ranks;
  pthread_mutex_lock(&comm->mutex);
  comm->idle = lap_comm_rank(comm) >= ranks;
  const bool kept = !comm->idle;
  pthread_mutex_unlock(&comm->mutex);
  return kept;
}

/* The child's copy of the mutex is held by the child's only thread, which is that of the caller. */
pid_t lap_comm_fork(lap_comm *comm) {
  assert(comm->ranks == 1);
  pthread_mutex_lock(&comm->mutex);
  const pid_t child = fork();
  const int reason = errno;
  pthread_mutex_unlock(&comm->mutex);
  errno = reason;
  return child;
}

/* A byte from each rank that was started to every other: so the watchdog watches over the last wait
 * too, which it could not do in MPI_Finalize. */
static void meet_all_ranks(lap_comm *comm) {
  const int rank = lap_comm_rank(comm), size = lap_messages_size(comm->messages);
  char *bytes = lap_allocate(size, 1);
  lap_exchange exchange = {
      .tag = LAP_TAG_END, .kind = LAP_TRAFFIC_SCALARS, .what = "the end of the job"};
  for (int step = 1; step < size; ++step) {
    const int from = (rank + size - step) % size;
    lap_exchange_receive(&exchange, from, bytes + from, 1);
    lap_exchange_send(&exchange, (rank + step) % size, bytes + rank, 1);
  }
  lap_comm_run_exchange(comm, &exchange);
  lap_exchange_release(&exchange);
  free(bytes);
}

void lap_comm_finish(lap_comm *comm) {
  meet_all_ranks(comm);
  pthread_mutex_lock(&comm->mutex);
  assert(comm->completed == comm->submitted);
  comm->finishing = true;
  pthread_cond_signal(&comm->work);
  pthread_mutex_unlock(&comm->mutex);
  join_thread(comm);
  destroy(comm);
}

_Noreturn void lap_comm_abort(lap_comm *comm, lap_code code, const char *message) {
  comm = comm->of;
  assert(code != LAP_OK);
  lap_messages_report(comm->messages, message);
  if (pthread_equal(pthread_self(), comm->thread)) lap_messages_abort(comm->messages, (int)code);
  /* Only the communication thread may call MPI. Where it is stuck inside a call, leaving with the
   * code makes the launcher end the others. */
  atomic_store(&comm->abort_code, (int)code);
  pthread_cond_signal(&comm->work);
  sleep(ABORT_SECONDS);
  _exit((int)code);
}

/* --- exchanges --- */

static void grow_queue(lap_comm *comm) {
  const uint64_t capacity = 2 * comm->capacity;
  entry *queue = lap_allocate(capacity, sizeof *queue);
  for (uint64_t number = comm->completed + 1; number <= comm->submitted; ++number)
    queue[number % capacity] = comm->queue[number % comm->capacity];
  free(comm->queue);
  comm->queue = queue;
  comm->capacity = capacity;
}

lap_comm_ticket lap_comm_start_exchange(lap_comm *comm, const lap_exchange *exchange) {
  if (exchange->outgoing_count + exchange->incoming_count == 0) return 0;
  const bool beside = comm->of != comm;
  comm = comm->of;
  pthread_mutex_lock(&comm->mutex);
  assert(!comm->finishing);
  if (comm->submitted - comm->completed == comm->capacity) grow_queue(comm);
  const lap_comm_ticket ticket = ++comm->submitted;
  comm->queue[ticket % comm->capacity] = (entry){
      .exchange = exchange, .mode = {.hashed = beside || !comm->unhashed, .beside = beside}};
  ++comm->user[beside].in_flight;
  ++comm->user[beside].moves;
  pthread_cond_signal(&comm->work);
  pthread_mutex_unlock(&comm->mutex);
  return ticket;
}

/* With the mutex held. */
static bool is_done(const lap_comm *comm, lap_comm_ticket ticket) {
  assert(ticket <= comm->submitted);
  return ticket <= comm->completed || comm->queue[ticket % comm->capacity].done;
}

bool lap_comm_is_done(lap_comm *comm, lap_comm_ticket ticket) {
  comm = comm->of;
  pthread_mutex_lock(&comm->mutex);
  const bool done = is_done(comm, ticket);
  pthread_mutex_unlock(&comm->mutex);
  return done;
}

void lap_comm_wait(lap_comm *comm, lap_comm_ticket ticket) {
  if (ticket == 0) return;
  const bool beside = comm->of != comm;
  comm = comm->of;
  assert(!pthread_equal(pthread_self(), comm->thread));
  pthread_mutex_lock(&comm->mutex);
  if (!is_done(comm, ticket)) {
    const double begin = lap_clock_seconds();
    ++comm->user[beside].waiting;
    while (!is_done(comm, ticket)) pthread_cond_wait(&comm->done, &comm->mutex);
    --comm->user[beside].waiting;
    if (!beside) comm->exposed_seconds += lap_clock_seconds() - begin;
  }
  pthread_mutex_unlock(&comm->mutex);
}

void lap_comm_run_exchange(lap_comm *comm, const lap_exchange *exchange) {
  lap_comm_wait(comm, lap_comm_start_exchange(comm, exchange));
}

/* --- questions and settings --- */

lap_comm *lap_comm_beside(lap_comm *comm) { return comm->beside; }

int lap_comm_rank(const lap_comm *comm) { return lap_messages_rank(comm->of->messages); }

int lap_comm_size(const lap_comm *comm) { return comm->of->ranks; }

const char *lap_comm_host(const lap_comm *comm, int rank) {
  return lap_messages_host(comm->of->messages, rank);
}

int lap_comm_node(const lap_comm *comm, int rank) {
  return lap_messages_node(comm->of->messages, rank);
}

int lap_comm_ranks_on_node(const lap_comm *comm) {
  const int node = lap_comm_node(comm, lap_comm_rank(comm));
  int count = 0;
  for (int rank = 0; rank < lap_comm_size(comm); ++rank) count += lap_comm_node(comm, rank) == node;
  return count;
}

void lap_comm_set_watchdog(lap_comm *comm, double seconds) {
  pthread_mutex_lock(&comm->mutex);
  comm->watchdog_seconds = seconds;
  pthread_mutex_unlock(&comm->mutex);
}

void lap_comm_set_patience(lap_comm *comm, double seconds) {
  pthread_mutex_lock(&comm->mutex);
  comm->patience_seconds = seconds;
  pthread_mutex_unlock(&comm->mutex);
}

void lap_comm_set_hashes(lap_comm *comm, bool on) {
  pthread_mutex_lock(&comm->mutex);
  comm->unhashed = !on;
  pthread_mutex_unlock(&comm->mutex);
}

void lap_comm_set_waits_beside(lap_comm *comm, bool waits) {
  pthread_mutex_lock(&comm->mutex);
  comm->waits_beside = waits;
  pthread_mutex_unlock(&comm->mutex);
}

void lap_comm_set_activity(lap_comm *comm, const char *activity) {
  pthread_mutex_lock(&comm->mutex);
  snprintf(comm->activity, sizeof comm->activity, "%s", activity);
  pthread_mutex_unlock(&comm->mutex);
}

double lap_comm_exposed_seconds(lap_comm *comm, bool reset) {
  pthread_mutex_lock(&comm->mutex);
  const double seconds = comm->exposed_seconds;
  if (reset) comm->exposed_seconds = 0;
  pthread_mutex_unlock(&comm->mutex);
  return seconds;
}

int64_t lap_comm_heartbeat_bytes(lap_comm *comm) {
  pthread_mutex_lock(&comm->mutex);
  const int64_t bytes = comm->heartbeat_bytes;
  pthread_mutex_unlock(&comm->mutex);
  return bytes;
}

lap_traffic *lap_comm_traffic(lap_comm *comm) {
  assert(comm->of == comm);
  return lap_messages_sent(comm->messages);
}

uint64_t lap_comm_check_bytes(const lap_comm *comm) {
  assert(comm->of == comm);
  return lap_messages_check_bytes(comm->messages);
}

lap_mesh_traffic *lap_comm_mesh_traffic(lap_comm *comm) { return &comm->mesh_traffic; }
