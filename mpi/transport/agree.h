/* agree: agreement points, where every rank learns what any rank has seen.
 *
 * A failure on one rank is data until the next agreement point: there all ranks learn of it, return
 * the same code with the same message and act alike, so no rank hangs because another returned. All
 * return the code of the lowest failing rank, and its message; it is prefixed "rank R on HOST: " if
 * there is more than one rank and not all of them failed with the same words.
 */
#ifndef LAP_MPI_TRANSPORT_AGREE_H
#define LAP_MPI_TRANSPORT_AGREE_H

#include <stdbool.h>
#include <stdint.h>

#include "mpi/transport/group.h"

/* Collective. `status` is this rank's outcome and becomes that of all ranks; returns its code.
 * Typical use: status.code = open_files(..., &status); LAP_TRY(lap_agree(comm, &status)); */
lap_code lap_agree(lap_comm *comm, lap_status *status);

/* Collective. LAP_USAGE on all ranks where they do not all hold the same text: 'config: rank 0 on a
 * has "X", rank 3 on b has "Y": ADVICE', X and Y being the first line that differs, shortened
 * around the difference. `what` names the text, `advice` says what to do. */
lap_code lap_agree_same(lap_comm *comm, const char *what, const char *mine, const char *advice,
                        lap_status *status);

/* Collective. Smallest and largest value over ranks. */
void lap_agree_range(lap_comm *comm, int64_t mine, int64_t *smallest, int64_t *largest);

/* Collective. The bytes of rank `root` on every rank. */
void lap_broadcast(lap_comm *comm, void *bytes, size_t count, int root);

/* Collective. The text of rank 0 on every rank, malloc'ed; NULL where rank 0 has NULL. That of rank
 * 0 is returned as it is; others give NULL. */
char *lap_broadcast_text(lap_comm *comm, char *text);

/* Collective. `all` [ranks * count bytes] gets every rank's `count` bytes in rank order. */
void lap_gather_all(lap_comm *comm, const void *mine, size_t count, void *all);
/* The same, counted as what checks send (lap_comm_check_bytes). */
void lap_gather_all_checks(lap_comm *comm, const void *mine, size_t count, void *all);

/* Collective. Byte strings of different lengths to rank 0, in rank order: on rank 0, *all is
 * malloc'ed and so is *counts [ranks]; elsewhere both are NULL. */
void lap_gather_to_root(lap_comm *comm, const void *mine, size_t count, void **all,
                        size_t **counts);

/* Collective. A byte string of any length goes to rank `to`, which expects it `from` this one;
 * *theirs is malloc'ed. A rank may be its own. */
void lap_send_receive(lap_comm *comm, int to, const void *mine, size_t count, int from,
                      void **theirs, size_t *their_count);

/* Collective over the group. Byte strings of different lengths from every rank to every rank, in
 * the order of the group: malloc'ed; `counts` [ranks of the group]. */
void lap_gather_strings(const lap_group *group, const void *mine, size_t count, void **all,
                        size_t **counts);

/* Collective. Every rank has done what it did before any rank goes on. */
void lap_barrier(lap_comm *comm);

#endif
