/* message: all calls of MPI: starting it, messages in flight, ending all ranks (private to
 * mpi/transport).
 *
 * One thread, the communication thread, makes all calls but for those that say "any thread". Open
 * MPI makes no progress without calls, so lap_messages_poll must be called again and again.
 */
#ifndef LAP_MPI_TRANSPORT_MESSAGE_H
#define LAP_MPI_TRANSPORT_MESSAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "mpi/transport/exchange.h"

/* Larger messages are cut into pieces of this size, alike on both sides. */
enum { LAP_MESSAGE_BYTES = 1 << 26 };

typedef struct lap_messages lap_messages;

/* Collective over all started processes: starts MPI and has all ranks tell each other their hosts.
 * LAP_USAGE where this MPI was built without threads, or where srun has started several processes
 * that cannot find each other. Where ranks have not been heard of for `patience_seconds`, ends all
 * ranks (LAP_WATCHDOG) and says which ranks, and which networks there are. `messages` is there in
 * any case, and must be finished and destroyed. *mpi_is_up tells other threads when MPI_Init has
 * returned. */
lap_code lap_messages_start(lap_messages **messages, double patience_seconds,
                            atomic_bool *mpi_is_up, lap_status *status);
/* Collective: ends MPI. */
void lap_messages_finish(lap_messages *messages);
/* Any thread, after the finish. */
void lap_messages_destroy(lap_messages *messages);

/* Any thread. What is known of the ranks of the job. */
int lap_messages_rank(const lap_messages *messages);
int lap_messages_size(const lap_messages *messages);
const char *lap_messages_host(const lap_messages *messages, int rank);
int lap_messages_node(const lap_messages *messages, int rank);

/* How an exchange moves, alike on both sides. */
typedef struct {
  bool hashed; /* the XXH3 of each message's bytes follows it, and the receiver compares */
  bool beside; /* of lap_comm_beside: with tags of its own, and not counted in what was sent */
} lap_message_mode;

/* Starts the messages of an exchange, which is `number` from now on and must live until it is
 * complete. Messages of several exchanges between the same two ranks with the same tag match in the
 * order of starting. */
void lap_messages_begin(lap_messages *messages, const lap_exchange *exchange, uint64_t number,
                        lap_message_mode mode);
int lap_messages_in_flight(const lap_messages *messages); /* exchanges */
/* Lets messages move; `seconds` have passed since the last call. *completed gets the numbers of the
 * exchanges whose messages are all complete now, valid until the next call. Returns how many. A
 * message of another length than expected ends all ranks (LAP_USAGE): they are not doing the same
 * thing. So does one whose bytes have another hash than its sender's (LAP_NONFINITE). */
int lap_messages_poll(lap_messages *messages, double seconds, const uint64_t **completed);
/* What was sent in complete exchanges and those in flight; apart from them what checks have sent
 * (LAP_TRAFFIC_CHECKS), hashes included. */
lap_traffic *lap_messages_sent(lap_messages *messages);
uint64_t lap_messages_check_bytes(const lap_messages *messages);

/* How long the oldest exchange in flight has waited; 0: none is in flight. */
double lap_messages_longest_wait(const lap_messages *messages);
/* That wait in words: "2 seconds for rank 1 on a, rank 3 on b and 5 more in reduce gradients". */
void lap_messages_describe_wait(const lap_messages *messages, char *text, size_t size);

/* Why messages may not arrive while MPI starts, and what to do, with the networks of this node. */
void lap_messages_explain_start(char *text, size_t size);

/* Any thread. Prints "lapidary: rank R on HOST: TEXT". */
void lap_messages_report(const lap_messages *messages, const char *text);
/* Ends every rank of the job with this exit code. */
_Noreturn void lap_messages_abort(lap_messages *messages, int code);

#endif
