/* publish: the last act of writing a checkpoint; private to this folder. Rank 0 alone, on a thread
 * of its own where steps go on meanwhile. */
#ifndef LAP_TRAINER_CHECKPOINT_PUBLISH_H
#define LAP_TRAINER_CHECKPOINT_PUBLISH_H

#include <linux/limits.h>

#include "trainer/checkpoint/manifest.h"

/* One checkpoint on its way. `temporary`, `ranks` and the header are the same on every rank. */
typedef struct {
  char *directory; /* of checkpoints, for the hint; NULL: a checkpoint that stands alone */
  char *path;      /* its name when it is whole */
  char temporary[PATH_MAX];
  const lap_parameters *all; /* all tensors of the mesh */
  lap_checkpoint_extras extras;
  lap_checkpoint header;      /* what the manifest says */
  lap_checkpoint_pieces list; /* the pieces of this rank; on rank 0, once gathered, of all */
  int ranks;
} lap_checkpoint_draft;

/* Writes everything but the payload, asks the lock's fence, and gives the directory its name. The
 * pieces are those of all ranks. After a failure it has no name, and is the caller's to remove. */
lap_code lap_checkpoint_publish_draft(lap_checkpoint_draft *draft, lap_status *status);

/* The hint at the newest checkpoint. A reader that trusts it finds a whole one; one that is not
 * there costs nothing. */
void lap_checkpoint_update_hint(const char *directory, uint64_t step);

#endif
