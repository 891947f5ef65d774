#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/checkpoint/publish.h"

static bool is_kept_for_ever(const lap_checkpoint_keep *rules, int64_t verified, uint64_t step) {
  return (verified >= 0 && step == (uint64_t)verified) ||
         (rules->best_step >= 0 && step == (uint64_t)rules->best_step) ||
         (rules->keep_every > 0 && step % (uint64_t)rules->keep_every == 0);
}

static bool is_whole(const char *path) {
  lap_checkpoint *checkpoint;
  lap_status ignored;
  const bool whole = lap_checkpoint_open(path, &checkpoint, &ignored) == LAP_OK;
  lap_checkpoint_close(checkpoint);
  return whole;
}

/* From the newest on, `keep` whole ones stay. One that is not whole does not count: it could not
 * take the place of an older one. It stays while it is newer than those, for somebody to look at.
 * Whole here is what shows without reading payload: newer ones from before a resume, whose payload
 * is damaged, must not push out the one that is known to be good. */
static void prune(const char *directory, const lap_checkpoint_keep *rules, int64_t verified,
                  char **names, size_t count, lap_status *status) {
  const int64_t keep = rules->keep < 1 ? 1 : rules->keep;
  int64_t whole = 0;
  for (size_t i = 0; i < count; ++i) {
    char *path = lap_format("%s/%s", directory, names[i]);
    uint64_t step = 0;
    lap_checkpoint_is_step(names[i], &step);
    if (whole < keep)
      whole += is_whole(path);
    else if (!is_kept_for_ever(rules, verified, step))
      lap_checkpoint_delete(path, status);
    free(path);
  }
}

void lap_checkpoint_prune_alone(const char *directory, const lap_checkpoint_keep *keep,
                                int64_t verified, lap_status *status) {
  char **names;
  size_t count;
  *status = (lap_status){.code = LAP_OK};
  lap_checkpoint_tidy(directory, NULL);
  if (lap_checkpoint_list(directory, &names, &count, status) == LAP_OK)
    prune(directory, keep, verified, names, count, status);
  lap_checkpoint_list_destroy(names, count);
  status->code = LAP_OK;
}

lap_code lap_checkpoint_prune(const char *directory, const lap_checkpoint_keep *keep,
                              lap_comm *comm, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  if (lap_comm_rank(comm) == 0) lap_checkpoint_prune_alone(directory, keep, -1, status);
  lap_barrier(comm);
  return LAP_OK;
}
