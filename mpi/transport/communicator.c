#include "mpi/transport/communicator.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "mpi/transport/internal.h"

/* Small messages arrive within the first microseconds, in which the thread only yields its core;
 * after that it sleeps, longer and longer, so that compute threads have the core. While nothing is
 * on its way it still polls now and then: a large message that this rank sent may need it. */
enum {
  SPIN_NANOSECONDS = 40 * 1000,
  SLEEP_NANOSECONDS_MIN = 50 * 1000,
  SLEEP_NANOSECONDS_MAX = 200 * 1000,
  IDLE_NANOSECONDS_MAX = 10 * 1000 * 1000,
};
/* One poll counts as at most this much waiting: where a queue system has suspended the whole job,
 * the time in which this process did not run itself is no sign of a dead peer. */
static const double LONGEST_POLL_SECONDS = 1;
/* Time that starting, finishing or aborting MPI may take, where the peers cannot be named. */
enum { START_SECONDS = 300, ABORT_SECONDS = 5 };

static struct timespec clock_in(clockid_t clock, double seconds) {
  struct timespec time;
  clock_gettime(clock, &time);
  const int64_t nanoseconds = time.tv_nsec + (int64_t)(seconds * 1e9);
  time.tv_sec += nanoseconds / 1000000000;
  time.tv_nsec = nanoseconds % 1000000000;
  return time;
}

/* --- starting: everything up to the first job runs on the communication thread --- */

/* Whether a launcher that MPI can talk to has started this process. Without one, MPI_Init would
 * start a helper process and take a third of a second to tell us that we are alone. */
static bool started_by_launcher(void) {
  static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE",
                                      "PMI_FD"};
  for (size_t i = 0; i < sizeof marks / sizeof *marks; ++i)
    if (getenv(marks[i])) return true;
  return false;
}

/* srun without a PMI plugin starts processes that cannot find each other: each would train alone
 * and write the same files. */
static lap_code refuse_lost_ranks(const lap_comm *comm, lap_status *status) {
  const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
  if (comm->size > 1 || getenv("OMPI_COMM_WORLD_SIZE") || !tasks || atoi(tasks) <= 1) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "srun started %s tasks, but MPI finds only this one (SLURM_MPI_TYPE is %s): use "
                  "mpirun inside the allocation, or srun --mpi=pmix",
                  tasks, getenv("SLURM_MPI_TYPE") ? getenv("SLURM_MPI_TYPE") : "not set");
}

static void number_nodes(lap_comm *comm) {
  MPI_Comm node;
  lap_comm_check(comm,
                 MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
                 "finding the ranks of this node");
  int leader = comm->rank;
  lap_comm_check(comm, MPI_Bcast(&leader, 1, MPI_INT, 0, node), "finding the ranks of this node");
  MPI_Comm_free(&node);
  int *leaders = lap_allocate(comm->size, sizeof *leaders);
  lap_comm_check(comm, MPI_Allgather(&leader, 1, MPI_INT, leaders, 1, MPI_INT, MPI_COMM_WORLD),
                 "numbering the nodes");
  int nodes = 0;
  for (int rank = 0; rank < comm->size; ++rank)
    comm->nodes[rank] = leaders[rank] == rank ? nodes++ : comm->nodes[leaders[rank]];
  free(leaders);
}

static lap_code start_mpi(lap_comm *comm, lap_status *status) {
  int provided = MPI_THREAD_SINGLE;
  const int result = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
  if (result != MPI_SUCCESS || provided < MPI_THREAD_FUNNELED)
    return lap_fail(
        status, LAP_USAGE,
        "MPI cannot be started with MPI_THREAD_FUNNELED (result %d, level %d): this MPI "
        "library was built without threads",
        result, provided);
  comm->with_mpi = true;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &comm->rank);
  MPI_Comm_size(MPI_COMM_WORLD, &comm->size);
  comm->hosts = lap_allocate(comm->size, sizeof *comm->hosts);
  comm->nodes = lap_allocate(comm->size, sizeof *comm->nodes);
  char host[MPI_MAX_PROCESSOR_NAME] = "";
  int length;
  MPI_Get_processor_name(host, &length);
  lap_comm_check(comm,
                 MPI_Allgather(host, MPI_MAX_PROCESSOR_NAME, MPI_CHAR, comm->hosts,
                               MPI_MAX_PROCESSOR_NAME, MPI_CHAR, MPI_COMM_WORLD),
                 "exchanging host names");
  number_nodes(comm);
  return LAP_OK;
}

static void start_alone(lap_comm *comm) {
  comm->size = 1;
  comm->hosts = lap_allocate(1, sizeof *comm->hosts);
  comm->nodes = lap_allocate(1, sizeof *comm->nodes);
  gethostname(comm->hosts[0], sizeof comm->hosts[0] - 1);
}

/* --- the communication thread --- */

/* Posts what was submitted. Called and left with the mutex held. */
static void post_jobs(lap_comm *comm) {
  while (comm->posted < comm->submitted) {
    const lap_comm_ticket ticket = comm->posted + 1;
    const lap_comm_entry entry = comm->queue[ticket % comm->capacity];
    pthread_mutex_unlock(&comm->mutex);
    lap_comm_job_begin(comm, ticket, entry.what);
    entry.post(comm, entry.argument);
    pthread_mutex_lock(&comm->mutex);
    comm->posted = ticket;
  }
}

/* Sleeps for that long or until there is something to do. Called and left with the mutex held. */
static void sleep_until_work(lap_comm *comm, long nanoseconds) {
  const struct timespec until = clock_in(CLOCK_MONOTONIC, 1e-9 * (double)nanoseconds);
  if (comm->posted == comm->submitted && !comm->finishing)
    pthread_cond_timedwait(&comm->work, &comm->mutex, &until);
}

static void run_jobs(lap_comm *comm) {
  double last = lap_clock_seconds(), moved = last;
  long nanoseconds = SLEEP_NANOSECONDS_MIN;
  pthread_mutex_lock(&comm->mutex);
  while (!comm->finishing || comm->posted < comm->submitted || comm->in_flight > 0) {
    const bool posting = comm->posted < comm->submitted;
    post_jobs(comm);
    pthread_mutex_unlock(&comm->mutex);
    lap_comm_check_abort(comm);
    const double now = lap_clock_seconds();
    const double passed = now - last < LONGEST_POLL_SECONDS ? now - last : LONGEST_POLL_SECONDS;
    last = now;
    if (comm->in_flight == 0) lap_comm_progress(comm);
    if (lap_comm_poll(comm, passed) > 0 || posting) {
      moved = now;
      nanoseconds = SLEEP_NANOSECONDS_MIN;
    }
    const bool spinning = comm->in_flight > 0 && now - moved < 1e-9 * SPIN_NANOSECONDS;
    const long longest = comm->in_flight > 0 ? SLEEP_NANOSECONDS_MAX : IDLE_NANOSECONDS_MAX;
    if (spinning) sched_yield();
    pthread_mutex_lock(&comm->mutex);
    if (spinning) continue;
    sleep_until_work(comm, nanoseconds);
    nanoseconds += nanoseconds / 2;
    if (nanoseconds > longest) nanoseconds = longest;
  }
  pthread_mutex_unlock(&comm->mutex);
}

/* MPI_Init, every call and MPI_Finalize happen here, so MPI needs to know of one thread only. */
static void *communication_thread(void *argument) {
  lap_comm *comm = argument;
  lap_status status = {.code = LAP_OK};
  if (started_by_launcher())
    status.code = start_mpi(comm, &status);
  else
    start_alone(comm);
  if (status.code == LAP_OK) status.code = refuse_lost_ranks(comm, &status);
  pthread_mutex_lock(&comm->mutex);
  comm->start_status = status;
  comm->started = true;
  pthread_cond_broadcast(&comm->done);
  pthread_mutex_unlock(&comm->mutex);
  if (status.code == LAP_OK) run_jobs(comm);
  if (comm->with_mpi) MPI_Finalize();
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

static _Noreturn void give_up(const char *doing) {
  fprintf(stderr,
          "lapidary: process %d: %s took more than %d seconds: a rank does not answer; ending with "
          "exit code %d\n",
          (int)getpid(), doing, START_SECONDS, LAP_WATCHDOG);
  _exit(LAP_WATCHDOG);
}

static void destroy(lap_comm *comm) {
  pthread_cond_destroy(&comm->work);
  pthread_cond_destroy(&comm->done);
  pthread_mutex_destroy(&comm->mutex);
  free(comm->queue);
  lap_comm_release_jobs(comm);
  free(comm->hosts);
  free(comm->nodes);
  free(comm);
}

static void join_thread(lap_comm *comm) {
  const struct timespec until = clock_in(CLOCK_REALTIME, START_SECONDS);
  if (pthread_timedjoin_np(comm->thread, NULL, &until) == ETIMEDOUT) give_up("finishing MPI");
}

lap_code lap_comm_start(lap_comm **result, lap_status *status) {
  lap_comm *comm = lap_allocate(1, sizeof *comm);
  comm->watchdog_seconds = 300;
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

  const struct timespec until = clock_in(CLOCK_MONOTONIC, START_SECONDS);
  pthread_mutex_lock(&comm->mutex);
  while (!comm->started)
    if (pthread_cond_timedwait(&comm->done, &comm->mutex, &until) == ETIMEDOUT)
      give_up("starting MPI");
  pthread_mutex_unlock(&comm->mutex);
  if (comm->start_status.code != LAP_OK) {
    *status = comm->start_status;
    join_thread(comm);
    destroy(comm);
    return status->code;
  }
  *result = comm;
  return LAP_OK;
}

/* A byte from everybody to everybody: the watchdog watches over the last wait too, which it could
 * not in MPI_Finalize. `argument` [ranks]; the byte of this rank is what it sends. */
static void post_last(lap_comm *comm, void *argument) {
  char *bytes = argument;
  for (int step = 1; step < comm->size; ++step) {
    const int from = (comm->rank + comm->size - step) % comm->size;
    lap_comm_receive(comm, bytes + from, 1, from, 0);
    lap_comm_send(comm, bytes + comm->rank, 1, (comm->rank + step) % comm->size, 0,
                  LAP_TRAFFIC_SCALARS);
  }
}

void lap_comm_finish(lap_comm *comm) {
  char *bytes = lap_allocate(comm->size, 1);
  lap_comm_wait(comm, lap_comm_submit(comm, post_last, bytes, "the end of the job"));
  free(bytes);
  pthread_mutex_lock(&comm->mutex);
  assert(comm->completed == comm->submitted);
  comm->finishing = true;
  pthread_cond_signal(&comm->work);
  pthread_mutex_unlock(&comm->mutex);
  join_thread(comm);
  destroy(comm);
}

_Noreturn void lap_comm_abort_here(lap_comm *comm, int code) {
  if (comm->with_mpi) MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

void lap_comm_check_abort(lap_comm *comm) {
  const int code = atomic_load(&comm->abort_code);
  if (code != 0) lap_comm_abort_here(comm, code);
}

_Noreturn void lap_comm_abort(lap_comm *comm, lap_code code, const char *message) {
  assert(code != LAP_OK);
  fprintf(stderr, "lapidary: rank %d on %s: %s\n", comm->rank, comm->hosts[comm->rank], message);
  fflush(stdout);
  if (pthread_equal(pthread_self(), comm->thread)) lap_comm_abort_here(comm, (int)code);
  /* Only the communication thread may call MPI. Where it is stuck inside a call, leaving with the
   * code makes the launcher end the others. */
  atomic_store(&comm->abort_code, (int)code);
  pthread_cond_signal(&comm->work);
  sleep(ABORT_SECONDS);
  _exit((int)code);
}

/* --- jobs --- */

static void grow_queue(lap_comm *comm) {
  const uint64_t capacity = 2 * comm->capacity;
  lap_comm_entry *queue = lap_allocate(capacity, sizeof *queue);
  for (uint64_t job = comm->completed + 1; job <= comm->submitted; ++job)
    queue[job % capacity] = comm->queue[job % comm->capacity];
  free(comm->queue);
  comm->queue = queue;
  comm->capacity = capacity;
}

lap_comm_ticket lap_comm_submit(lap_comm *comm, lap_comm_job job, void *argument,
                                const char *what) {
  pthread_mutex_lock(&comm->mutex);
  assert(!comm->finishing);
  if (comm->submitted - comm->completed == comm->capacity) grow_queue(comm);
  const lap_comm_ticket ticket = ++comm->submitted;
  comm->queue[ticket % comm->capacity] = (lap_comm_entry){job, argument, what, false};
  pthread_cond_signal(&comm->work);
  pthread_mutex_unlock(&comm->mutex);
  return ticket;
}

/* With the mutex held. */
static bool is_done(const lap_comm *comm, lap_comm_ticket ticket) {
  assert(ticket <= comm->submitted);
  return ticket <= comm->completed || comm->queue[ticket % comm->capacity].done;
}

void lap_comm_job_done(lap_comm *comm, lap_comm_ticket ticket) {
  pthread_mutex_lock(&comm->mutex);
  comm->queue[ticket % comm->capacity].done = true;
  while (comm->completed < comm->posted && comm->queue[(comm->completed + 1) % comm->capacity].done)
    ++comm->completed;
  pthread_cond_broadcast(&comm->done);
  pthread_mutex_unlock(&comm->mutex);
}

bool lap_comm_done(lap_comm *comm, lap_comm_ticket ticket) {
  pthread_mutex_lock(&comm->mutex);
  const bool done = is_done(comm, ticket);
  pthread_mutex_unlock(&comm->mutex);
  return done;
}

void lap_comm_wait(lap_comm *comm, lap_comm_ticket ticket) {
  assert(!pthread_equal(pthread_self(), comm->thread));
  pthread_mutex_lock(&comm->mutex);
  if (!is_done(comm, ticket)) {
    const double begin = lap_clock_seconds();
    while (!is_done(comm, ticket)) pthread_cond_wait(&comm->done, &comm->mutex);
    comm->exposed_seconds += lap_clock_seconds() - begin;
  }
  pthread_mutex_unlock(&comm->mutex);
}

/* --- questions and settings --- */

int lap_comm_rank(const lap_comm *comm) { return comm->rank; }

int lap_comm_size(const lap_comm *comm) { return comm->size; }

const char *lap_comm_host(const lap_comm *comm, int rank) {
  assert(rank >= 0 && rank < comm->size);
  return comm->hosts[rank];
}

int lap_comm_node(const lap_comm *comm, int rank) {
  assert(rank >= 0 && rank < comm->size);
  return comm->nodes[rank];
}

int lap_comm_ranks_on_node(const lap_comm *comm) {
  int count = 0;
  for (int rank = 0; rank < comm->size; ++rank)
    count += comm->nodes[rank] == comm->nodes[comm->rank];
  return count;
}

void lap_comm_set_watchdog(lap_comm *comm, double seconds) {
  pthread_mutex_lock(&comm->mutex);
  comm->watchdog_seconds = seconds;
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

lap_traffic *lap_comm_traffic(lap_comm *comm) { return &comm->traffic; }

lap_mesh_traffic *lap_comm_mesh_traffic(lap_comm *comm) { return &comm->mesh_traffic; }
