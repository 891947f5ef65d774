/* examine_cache: has the ranks read the files of a cache whole, each file once.
 *
 * A cache of 10^9 tokens takes a core some 35 minutes to decompress and hash. So ranks that see the
 * same files, on one node or on a file system that several nodes share, divide them: each looks at
 * some, with a child process for each of its threads, and all learn what was found. A node with
 * files of its own has its own ranks look at all of them: copies may differ.
 */
#ifndef LAP_TRAINER_MODEL_EXAMINE_CACHE_H
#define LAP_TRAINER_MODEL_EXAMINE_CACHE_H

#include "mpi/transport/communicator.h"
#include "teacher/cache_open.h"
#include "trainer/cli/session.h"

/* Collective: every rank has found the cache (lap_cache_find). Then it can be read everywhere.
 * LAP_DATA on all ranks, of the lowest that found something, as lap_cache_open has it: naming file
 * and row; LAP_USAGE where ranks have files of other content. `children`: processes at once of this
 * rank. */
lap_code lap_examine_cache(lap_comm *comm, int children, const lap_cache_expectation *expectation,
                           lap_cache *cache, lap_status *status);

/* Collective. The same for a command that measures by the cache it was given as --cache: shows how
 * far it is, and warns of what is odd (lap_cache_notice) and of rows that were scaled to sum to 1,
 * of which `doubtful` says what no longer holds. */
lap_code lap_examine_measuring_cache(const lap_session *session, int children,
                                     lap_cache_expectation expectation, const char *doubtful,
                                     lap_cache *cache, lap_status *status);

/* Warns of each file whose rows do not match its rows_sha256. For a cache that was given as
 * `flag` ("--again") and opened without an expectation: reads all rows. */
void lap_warn_of_other_rows(lap_console *console, const char *flag, lap_cache *cache);

#endif
