#include "mpi/transport/message.h"

#include <assert.h>
#include <inttypes.h>
#include <mpi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/hash.h"
#include "core/memory.h"
#include "mpi/transport/interfaces.h"

/* That a launcher gets to read what was said before it is told to end the ranks. */
static const double reading_seconds = 2;

/* What is known of one started message. */
typedef struct {
  int peer;
  size_t expected; /* bytes */
  bool receiving;
} pending_message;

/* An exchange whose messages are in flight. */
typedef struct {
  uint64_t number;
  const char *what;
  const lap_exchange *exchange;
  double waited; /* seconds */
  MPI_Request *requests;
  pending_message *messages;
  MPI_Status *statuses;
  int count, capacity; /* messages */
  lap_message_mode mode;
  uint64_t *sent_hashes, *arrived_hashes; /* [hashes_capacity]: of the exchange's two lists */
  int hashes_capacity;
} pending_exchange;

struct lap_messages {
  pthread_t thread;
  int rank, size;
  bool with_mpi;                         /* false where the process was started alone */
  char (*hosts)[MPI_MAX_PROCESSOR_NAME]; /* [size] */
  int *nodes;                            /* [size] */
  lap_traffic sent;
  uint64_t check_bytes;

  /* The first `in_flight` are in flight, in the order in which they were begun; the others are
   * memory for later ones. */
  pending_exchange **exchanges;
  int in_flight, allocated;
  uint64_t *completed; /* [allocated] */
};

/* --- ending all ranks --- */

void lap_messages_report(const lap_messages *m, const char *text) {
  fprintf(stderr, "lapidary: rank %d on %s: %s\n", m->rank, m->hosts[m->rank], text);
  fflush(stdout);
}

/* Waits until the reader of a pipe, such as the launcher, has read all of it. */
static void await_reader(int descriptor, double seconds) {
  const struct timespec pause = {.tv_nsec = 5000000};
  struct stat facts;
  if (fstat(descriptor, &facts) != 0 || !S_ISFIFO(facts.st_mode)) return;
  const double until = lap_clock_seconds() + seconds;
  int unread = 0;
  while (ioctl(descriptor, FIONREAD, &unread) == 0 && unread > 0 && lap_clock_seconds() < until)
    nanosleep(&pause, NULL);
}

/* MPI_Abort makes the launcher end the ranks at once. On busy cores it had not yet read the message
 * that says why. */
_Noreturn void lap_messages_abort(lap_messages *m, int code) {
  if (m->with_mpi) {
    await_reader(STDERR_FILENO, reading_seconds);
    MPI_Abort(MPI_COMM_WORLD, code);
  }
  _exit(code);
}

/* Fatal where an MPI call failed: with the transport gone the ranks cannot agree on anything. */
static void check(lap_messages *m, int result, const char *what) {
  if (result == MPI_SUCCESS) return;
  char reason[MPI_MAX_ERROR_STRING] = "";
  int length;
  MPI_Error_string(result, reason, &length);
  lap_messages_report(m, lap_format("MPI failed in %s: %s", what, reason));
  lap_messages_abort(m, LAP_WATCHDOG);
}

/* --- starting --- */

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
static lap_code refuse_lost_ranks(const lap_messages *m, lap_status *status) {
  const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
  if (m->size > 1 || getenv("OMPI_COMM_WORLD_SIZE") || !tasks || atoi(tasks) <= 1) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "srun started %s tasks, but MPI finds only this one (SLURM_MPI_TYPE is %s): use "
                  "mpirun inside the allocation, or srun --mpi=pmix",
                  tasks, getenv("SLURM_MPI_TYPE") ? getenv("SLURM_MPI_TYPE") : "not set");
}

static void number_nodes(lap_messages *m) {
  MPI_Comm node;
  check(m, MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
        "finding the ranks of this node");
  int leader = m->rank;
  check(m, MPI_Bcast(&leader, 1, MPI_INT, 0, node), "finding the ranks of this node");
  MPI_Comm_free(&node);
  int *leaders = lap_allocate(m->size, sizeof *leaders);
  check(m, MPI_Allgather(&leader, 1, MPI_INT, leaders, 1, MPI_INT, MPI_COMM_WORLD),
        "numbering the nodes");
  int nodes = 0;
  for (int rank = 0; rank < m->size; ++rank)
    m->nodes[rank] = leaders[rank] == rank ? nodes++ : m->nodes[leaders[rank]];
  free(leaders);
}

void lap_messages_explain_start(char *text, size_t size) {
  char interfaces[1024];
  lap_interfaces_describe(interfaces, sizeof interfaces);
  snprintf(text, size,
           "%s. Open MPI may use a network that does not join the nodes, such as docker0, whose "
           "address is the same on every node: name the right one with mpirun --mca "
           "btl_tcp_if_include NETWORK --mca oob_tcp_if_include NETWORK. A rank of another build "
           "of lapidary does not answer either",
           interfaces);
}

/* One rank of each node speaks. */
static void report_silence(const lap_messages *m, const char *before, const char *after) {
  const char *on_node = getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  char wait[512], reason[2048];
  if (on_node && strcmp(on_node, "0") != 0) return;
  lap_messages_describe_wait(m, wait, sizeof wait);
  lap_messages_explain_start(reason, sizeof reason);
  char *text = lap_format("%s %s, %s. %s", before, wait, after, reason);
  lap_messages_report(m, text);
  free(text);
}

/* The first messages, which connect every rank with every other: where a network fails, it fails
 * here. Nobody waits inside of MPI, so that somebody can say who is missing. */
static void exchange_hosts(lap_messages *m, double patience_seconds) {
  static const double hint_seconds = 20, longest_poll = 1;
  enum { POLL_NANOSECONDS = 1000 * 1000, SPEAKING_SECONDS = 2 };
  lap_exchange exchange = {
      .tag = LAP_TAG_START, .kind = LAP_TRAFFIC_SCALARS, .what = "the first exchange"};
  for (int step = 1; step < m->size; ++step) {
    const int from = (m->rank + m->size - step) % m->size, to = (m->rank + step) % m->size;
    lap_exchange_receive(&exchange, from, m->hosts[from], sizeof *m->hosts);
    lap_exchange_send(&exchange, to, m->hosts[m->rank], sizeof *m->hosts);
  }
  if (m->size > 1) lap_messages_begin(m, &exchange, 1, (lap_message_mode){.hashed = true});
  bool hinted = false;
  for (double last = lap_clock_seconds(); m->in_flight > 0;) {
    const struct timespec pause = {.tv_nsec = POLL_NANOSECONDS};
    const double now = lap_clock_seconds(), passed = now - last;
    const uint64_t *completed;
    last = now;
    /* See longest_look of watch.c. */
    lap_messages_poll(m, passed < longest_poll ? passed : longest_poll, &completed);
    const double waited = lap_messages_longest_wait(m);
    if (waited > patience_seconds) {
      report_silence(m, "watchdog: waited",
                     "but no message arrives; ending all ranks with exit code 76");
      sleep(SPEAKING_SECONDS); /* the other nodes have something to say too */
      lap_messages_abort(m, LAP_WATCHDOG);
    }
    if (waited > hint_seconds && !hinted && m->rank == 0)
      report_silence(m, "has waited", "and waits on, for watchdog_seconds in all");
    hinted = hinted || waited > hint_seconds;
    if (waited > 0) nanosleep(&pause, NULL);
  }
  lap_exchange_release(&exchange);
}

static lap_code start_mpi(lap_messages *m, double patience_seconds, atomic_bool *mpi_is_up,
                          lap_status *status) {
  int provided = MPI_THREAD_SINGLE;
  const int result = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
  if (result != MPI_SUCCESS || provided < MPI_THREAD_FUNNELED)
    return lap_fail(
        status, LAP_USAGE,
        "MPI cannot be started with MPI_THREAD_FUNNELED (result %d, level %d): this MPI "
        "library was built without threads",
        result, provided);
  m->with_mpi = true;
  atomic_store(mpi_is_up, true);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &m->rank);
  MPI_Comm_size(MPI_COMM_WORLD, &m->size);
  m->hosts = lap_allocate(m->size, sizeof *m->hosts);
  m->nodes = lap_allocate(m->size, sizeof *m->nodes);
  int length;
  MPI_Get_processor_name(m->hosts[m->rank], &length);
  exchange_hosts(m, patience_seconds);
  number_nodes(m);
  return LAP_OK;
}

static void start_alone(lap_messages *m) {
  m->size = 1;
  m->hosts = lap_allocate(1, sizeof *m->hosts);
  m->nodes = lap_allocate(1, sizeof *m->nodes);
  gethostname(m->hosts[0], sizeof m->hosts[0] - 1);
}

lap_code lap_messages_start(lap_messages **messages, double patience_seconds,
                            atomic_bool *mpi_is_up, lap_status *status) {
  lap_messages *m = *messages = lap_allocate(1, sizeof *m);
  m->thread = pthread_self();
  if (started_by_launcher())
    LAP_TRY(start_mpi(m, patience_seconds, mpi_is_up, status));
  else
    start_alone(m);
  return refuse_lost_ranks(m, status);
}

void lap_messages_finish(lap_messages *m) {
  assert(m->in_flight == 0);
  if (m->with_mpi) MPI_Finalize();
}

void lap_messages_destroy(lap_messages *m) {
  for (int i = 0; i < m->allocated; ++i) {
    free(m->exchanges[i]->requests);
    free(m->exchanges[i]->messages);
    free(m->exchanges[i]->statuses);
    free(m->exchanges[i]->sent_hashes);
    free(m->exchanges[i]->arrived_hashes);
    free(m->exchanges[i]);
  }
  free(m->exchanges);
  free(m->completed);
  free(m->hosts);
  free(m->nodes);
  free(m);
}

/* --- what is known --- */

int lap_messages_rank(const lap_messages *m) { return m->rank; }

int lap_messages_size(const lap_messages *m) { return m->size; }

const char *lap_messages_host(const lap_messages *m, int rank) {
  assert(rank >= 0 && rank < m->size);
  return m->hosts[rank];
}

int lap_messages_node(const lap_messages *m, int rank) {
  assert(rank >= 0 && rank < m->size);
  return m->nodes[rank];
}

int lap_messages_in_flight(const lap_messages *m) { return m->in_flight; }

lap_traffic *lap_messages_sent(lap_messages *m) { return &m->sent; }

uint64_t lap_messages_check_bytes(const lap_messages *m) { return m->check_bytes; }

/* --- starting messages --- */

static pending_exchange *new_exchange(lap_messages *m) {
  if (m->in_flight == m->allocated) {
    const size_t count = (size_t)m->allocated + 1;
    m->exchanges = lap_reallocate(m->exchanges, count, sizeof *m->exchanges);
    m->completed = lap_reallocate(m->completed, count, sizeof *m->completed);
    m->exchanges[m->allocated++] = lap_allocate(1, sizeof **m->exchanges);
  }
  return m->exchanges[m->in_flight++];
}

static MPI_Request *new_request(lap_messages *m, pending_exchange *pending,
                                pending_message message) {
  assert(message.peer >= 0 && message.peer < m->size && message.peer != m->rank);
  (void)m;
  if (pending->count == pending->capacity) {
    const size_t capacity = 2 * (size_t)pending->capacity + 16;
    pending->capacity = (int)capacity;
    pending->requests = lap_reallocate(pending->requests, capacity, sizeof *pending->requests);
    pending->messages = lap_reallocate(pending->messages, capacity, sizeof *pending->messages);
    pending->statuses = lap_reallocate(pending->statuses, capacity, sizeof *pending->statuses);
  }
  pending->messages[pending->count] = message;
  return &pending->requests[pending->count++];
}

static size_t piece_at(size_t count, size_t offset) {
  return count - offset < LAP_MESSAGE_BYTES ? count - offset : LAP_MESSAGE_BYTES;
}

static void make_room_for_hashes(pending_exchange *pending, const lap_exchange *exchange) {
  const int out = exchange->outgoing_count, in = exchange->incoming_count;
  const int count = out > in ? out : in;
  if (count <= pending->hashes_capacity) return;
  pending->sent_hashes = lap_reallocate(pending->sent_hashes, count, sizeof(uint64_t));
  pending->arrived_hashes = lap_reallocate(pending->arrived_hashes, count, sizeof(uint64_t));
  pending->hashes_capacity = count;
}

/* A message of its own behind that of the bytes: messages between two ranks keep their order. */
static void send_hash(lap_messages *m, pending_exchange *pending, const lap_outgoing *message,
                      int tag, uint64_t *hash) {
  *hash = lap_xxh3(message->bytes, message->count);
  if (!pending->mode.beside) m->check_bytes += sizeof *hash;
  check(m,
        MPI_Isend(hash, sizeof *hash, MPI_BYTE, message->peer, tag, MPI_COMM_WORLD,
                  new_request(m, pending, (pending_message){message->peer, sizeof *hash, false})),
        "a send");
}

static void receive_hash(lap_messages *m, pending_exchange *pending, const lap_incoming *message,
                         int tag, uint64_t *hash) {
  check(m,
        MPI_Irecv(hash, sizeof *hash, MPI_BYTE, message->peer, tag, MPI_COMM_WORLD,
                  new_request(m, pending, (pending_message){message->peer, sizeof *hash, true})),
        "a receive");
}

static void start_send(lap_messages *m, pending_exchange *pending, const lap_outgoing *message,
                       int tag) {
  for (size_t offset = 0; offset < message->count; offset += LAP_MESSAGE_BYTES) {
    const size_t piece = piece_at(message->count, offset);
    check(m,
          MPI_Isend((const char *)message->bytes + offset, (int)piece, MPI_BYTE, message->peer, tag,
                    MPI_COMM_WORLD,
                    new_request(m, pending, (pending_message){message->peer, piece, false})),
          "a send");
  }
  if (pending->mode.beside) return;
  const lap_traffic_kind kind = pending->exchange->kind;
  if (kind == LAP_TRAFFIC_CHECKS)
    m->check_bytes += message->count;
  else if (m->nodes[message->peer] == m->nodes[m->rank])
    m->sent.within_node[kind] += message->count;
  else
    m->sent.between_nodes[kind] += message->count;
}

static void start_receive(lap_messages *m, pending_exchange *pending, const lap_incoming *message,
                          int tag) {
  for (size_t offset = 0; offset < message->count; offset += LAP_MESSAGE_BYTES) {
    const size_t piece = piece_at(message->count, offset);
    check(m,
          MPI_Irecv((char *)message->bytes + offset, (int)piece, MPI_BYTE, message->peer, tag,
                    MPI_COMM_WORLD,
                    new_request(m, pending, (pending_message){message->peer, piece, true})),
          "a receive");
  }
}

void lap_messages_begin(lap_messages *m, const lap_exchange *exchange, uint64_t number,
                        lap_message_mode mode) {
  assert(pthread_equal(pthread_self(), m->thread));
  pending_exchange *pending = new_exchange(m);
  pending->number = number;
  pending->what = exchange->what;
  pending->exchange = exchange;
  pending->waited = 0;
  pending->count = 0;
  pending->mode = mode;
  if (mode.hashed) make_room_for_hashes(pending, exchange);
  const int tag = (int)exchange->tag + (mode.beside ? LAP_TAGS : 0);
  for (int i = 0; i < exchange->incoming_count; ++i) {
    start_receive(m, pending, &exchange->incoming[i], tag);
    if (mode.hashed)
      receive_hash(m, pending, &exchange->incoming[i], tag, &pending->arrived_hashes[i]);
  }
  for (int i = 0; i < exchange->outgoing_count; ++i) {
    start_send(m, pending, &exchange->outgoing[i], tag);
    if (mode.hashed) send_hash(m, pending, &exchange->outgoing[i], tag, &pending->sent_hashes[i]);
  }
}

/* --- completing them --- */

/* A peer that sent fewer bytes than this rank expects is doing something else than this rank: MPI
 * calls that success. */
static void check_counts(lap_messages *m, const pending_exchange *pending) {
  for (int i = 0; i < pending->count; ++i) {
    const pending_message *message = &pending->messages[i];
    if (!message->receiving) continue;
    int received = 0;
    MPI_Get_count(&pending->statuses[i], MPI_BYTE, &received);
    if ((size_t)received == message->expected) continue;
    lap_messages_report(
        m, lap_format("rank %d on %s sent %d bytes where %zu were expected in %s: the ranks do not "
                      "run the same program with the same settings",
                      message->peer, m->hosts[message->peer], received, message->expected,
                      pending->what));
    lap_messages_abort(m, LAP_USAGE);
  }
}

/* Bytes that changed on their way, or at either end while they were moved. Nobody can say which of
 * the two hosts, or what is between them, is at fault. */
static void check_hashes(lap_messages *m, const pending_exchange *pending) {
  for (int i = 0; i < pending->exchange->incoming_count; ++i) {
    const lap_incoming *message = &pending->exchange->incoming[i];
    if (lap_incoming_is_whole(message, pending->arrived_hashes[i])) continue;
    lap_messages_report(
        m, lap_format("damaged message: of the %zu bytes that came from rank %d on %s in %s the "
                      "hash is %016" PRIx64 ", its sender's was %016" PRIx64
                      ": memory of one of the two hosts or the network between them is faulty; "
                      "ending all ranks with exit code %d",
                      message->count, message->peer, m->hosts[message->peer], pending->what,
                      lap_xxh3(message->bytes, message->count), pending->arrived_hashes[i],
                      LAP_NONFINITE));
    lap_messages_abort(m, LAP_NONFINITE);
  }
}

static bool is_complete(lap_messages *m, pending_exchange *pending) {
  int complete = 0;
  const int result = MPI_Testall(pending->count, pending->requests, &complete, pending->statuses);
  if (result == MPI_ERR_IN_STATUS)
    for (int i = 0; i < pending->count; ++i) {
      const int error = pending->statuses[i].MPI_ERROR;
      if (error != MPI_ERR_PENDING) check(m, error, pending->what);
    }
  check(m, result, pending->what);
  if (complete) check_counts(m, pending);
  if (complete && pending->mode.hashed) check_hashes(m, pending);
  return complete;
}

/* Nothing is in flight here, but a large message that this rank has sent may still need MPI. */
static void let_move(lap_messages *m) {
  if (m->size == 1) return;
  int found;
  check(m, MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE),
        "waiting for work");
}

int lap_messages_poll(lap_messages *m, double seconds, const uint64_t **completed) {
  int complete = 0, left = 0;
  *completed = m->completed;
  if (m->in_flight == 0) let_move(m);
  for (int i = 0; i < m->in_flight; ++i) {
    pending_exchange *pending = m->exchanges[i];
    if (is_complete(m, pending)) {
      m->completed[complete++] = pending->number;
      continue;
    }
    pending->waited += seconds;
    m->exchanges[i] = m->exchanges[left];
    m->exchanges[left++] = pending;
  }
  m->in_flight = left;
  return complete;
}

/* --- what is waited for --- */

double lap_messages_longest_wait(const lap_messages *m) {
  return m->in_flight > 0 ? m->exchanges[0]->waited : 0;
}

/* The oldest exchange of the main thread; where it has none, the oldest of the thread beside it. */
static const pending_exchange *waited_for(const lap_messages *m) {
  for (int i = 0; i < m->in_flight; ++i)
    if (!m->exchanges[i]->mode.beside) return m->exchanges[i];
  return m->exchanges[0];
}

void lap_messages_describe_wait(const lap_messages *m, char *text, size_t size) {
  enum { NAMED = 4 };
  const pending_exchange *pending = waited_for(m);
  bool *missing = lap_allocate(m->size, sizeof *missing);
  for (int i = 0; i < pending->count; ++i) {
    int complete = 0;
    MPI_Request_get_status(pending->requests[i], &complete, MPI_STATUS_IGNORE);
    if (!complete) missing[pending->messages[i].peer] = true;
  }
  int count = 0;
  size_t length = (size_t)snprintf(text, size, "%.0f seconds for ", pending->waited);
  for (int rank = 0; rank < m->size; ++rank) {
    if (!missing[rank] || ++count > NAMED || length >= size) continue;
    const char *host = m->hosts[rank]; /* empty where it has not been heard of */
    length += (size_t)snprintf(text + length, size - length, "%srank %d%s%s", count > 1 ? ", " : "",
                               rank, host[0] ? " on " : "", host);
  }
  if (count > NAMED && length < size)
    length += (size_t)snprintf(text + length, size - length, " and %d more", count - NAMED);
  if (length < size) snprintf(text + length, size - length, " in %s", pending->what);
  free(missing);
}
