#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/checkpoint/manifest.h"

typedef struct {
  int64_t keep, keep_every, best_step;
} keep_rules;

static bool is_kept_for_ever(const keep_rules *rules, uint64_t step) {
  return (rules->best_step >= 0 && step == (uint64_t)rules->best_step) ||
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
 */
static void prune(const char *directory, const keep_rules *rules, char **names, size_t count,
                  lap_status *status) {
  int64_t whole = 0;
  for (size_t i = 0; i < count; ++i) {
    char *path = lap_format("%s/%s", directory, names[i]);
    uint64_t step = 0;
    lap_checkpoint_is_step(names[i], &step);
    if (whole < rules->keep)
      whole += is_whole(path);
    else if (!is_kept_for_ever(rules, step))
      lap_checkpoint_delete(path, status);
    free(path);
  }
}

lap_code lap_checkpoint_prune(const char *directory, int64_t keep, int64_t keep_every,
                              int64_t best_step, lap_comm *comm, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  if (lap_comm_rank(comm) == 0) {
    const keep_rules rules = {keep < 1 ? 1 : keep, keep_every, best_step};
    char **names;
    size_t count;
    lap_checkpoint_tidy(directory, NULL);
    if (lap_checkpoint_list(directory, &names, &count, status) == LAP_OK)
      prune(directory, &rules, names, count, status);
    lap_checkpoint_list_destroy(names, count);
    status->code = LAP_OK;
  }
  lap_barrier(comm);
  return LAP_OK;
}
