#include "trainer/model/examine_cache.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "mpi/transport/agree.h"
#include "teacher/align.h"
#include "teacher/describe.h"
#include "teacher/look.h"
#include "trainer/cli/step_progress.h"

/* The ranks that see the files that this rank sees. */
typedef struct {
  int *rank; /* [count], ascending */
  int count;
  int index; /* of this rank among them */
} lookers;

static lookers find_lookers(lap_comm *comm, uint64_t which) {
  const int ranks = lap_comm_size(comm), self = lap_comm_rank(comm);
  uint64_t *all = lap_allocate(ranks, sizeof *all);
  lookers same = {.rank = lap_allocate(ranks, sizeof *same.rank)};
  lap_gather_all(comm, &which, sizeof which, all);
  for (int r = 0; r < ranks; ++r) {
    if (all[r] != which) continue;
    if (r == self) same.index = same.count;
    same.rank[same.count++] = r;
  }
  free(all);
  return same;
}

/* Those that this rank has made come together; those of all the others go where they belong. */
static void exchange(lap_comm *comm, const lookers *same, lap_cache_finding *findings,
                     size_t files) {
  const lap_group everyone = lap_group_of_all(comm);
  const size_t every = (size_t)same->count;
  lap_cache_finding *mine = lap_allocate((int64_t)files, sizeof *mine);
  size_t made = 0, *bytes;
  char *all, *next;
  for (size_t i = (size_t)same->index; i < files; i += every) mine[made++] = findings[i];
  lap_gather_strings(&everyone, mine, made * sizeof *mine, (void **)&all, &bytes);
  next = all;
  for (int r = 0, looker = 0; r < everyone.size; next += bytes[r++]) {
    if (looker == same->count || same->rank[looker] != r) continue;
    size_t at = 0;
    for (size_t i = (size_t)looker; i < files; i += every, at += sizeof *findings)
      memcpy(&findings[i], next + at, sizeof *findings);
    ++looker;
  }
  free(all);
  free(bytes);
  free(mine);
}

/* What ranks compare. That rows have changed stands first, since messages show the first line that
 * differs. */
static char *describe_copy(const lap_cache *cache, const char *sha256) {
  const char *changed = lap_cache_other_rows(cache);
  if (!changed) return lap_format("no rows that contradict a rows_sha256\n%s", sha256);
  return lap_format("rows of %s that do not match its rows_sha256\n%s", lap_path_name(changed),
                    sha256);
}

/* Collective. Copies that nodes have may differ. */
static lap_code agree_on_content(lap_comm *comm, lap_cache *cache, lap_status *status) {
  char hex[LAP_SHA256_HEX] = "";
  lap_status own = {0};
  own.code = lap_cache_content_sha256(cache, hex, &own);
  *status = own;
  LAP_TRY(lap_agree(comm, status));
  char *mine = describe_copy(cache, hex);
  const lap_code code = lap_agree_same(comm, lap_cache_path(cache, 0), mine,
                                       "give every node the same files of the cache", status);
  free(mine);
  return code;
}

lap_code lap_examine_cache(lap_comm *comm, int children, const lap_cache_expectation *expectation,
                           lap_cache *cache, lap_status *status) {
  uint64_t which;
  lap_status own = {0};
  own.code = lap_cache_which_files(cache, &which, &own);
  *status = own;
  LAP_TRY(lap_agree(comm, status));
  lookers same = find_lookers(comm, which);
  const lap_cache_share share = {.first = (size_t)same.index,
                                 .every = (size_t)same.count,
                                 .children = children,
                                 .hook = expectation->hook};
  const size_t files = lap_cache_file_count(cache);
  lap_cache_finding *findings = lap_allocate((int64_t)files, sizeof *findings);
  own.code = lap_cache_look(cache, &share, findings, &own);
  *status = own;
  lap_code code = lap_agree(comm, status);
  if (code == LAP_OK) {
    exchange(comm, &same, findings, files);
    own.code =
        lap_cache_accept(cache, findings, expectation->allow_shift, expectation->by_flags, &own);
    *status = own;
    code = lap_agree(comm, status);
  }
  if (code == LAP_OK) code = agree_on_content(comm, cache, status);
  free(findings);
  free(same.rank);
  return code;
}

lap_code lap_examine_measuring_cache(const lap_session *session, int children,
                                     lap_cache_expectation expectation, const char *doubtful,
                                     lap_cache *cache, lap_status *status) {
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, session->console);
  expectation.hook = &hook;
  lap_comm_set_activity(session->comm, "reading the cache");
  const lap_code code = lap_examine_cache(session->comm, children, &expectation, cache, status);
  lap_step_progress_end(&progress);
  LAP_TRY(code);
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  if (lap_cache_notice(cache))
    lap_console_warn(session->console, "--cache: %s", lap_cache_notice(cache));
  if (lap_cache_lacks_tail(cache))
    lap_console_warn(session->console,
                     "--cache: %s: no row has a tail_mass, though rows keep %u of %u ids: they "
                     "were scaled to sum to 1, and %s",
                     lap_cache_path(cache, 0), schema->k, schema->vocab_size, doubtful);
  return LAP_OK;
}

void lap_warn_of_other_rows(lap_console *console, const char *flag, lap_cache *cache) {
  lap_status status;
  for (size_t i = 0; i < lap_cache_tokens(cache)->count; ++i)
    if (lap_cache_confirm_rows(cache, i, &status) != LAP_OK)
      lap_console_warn(console, "%s: %s", flag, status.message);
}
