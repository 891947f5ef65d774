#include "core/launcher.h"

#include <stddef.h>
#include <stdlib.h>

int lap_launcher_rank(void) {
  static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                      "SLURM_PROCID"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    const char *rank = getenv(names[i]);
    if (rank) return atoi(rank);
  }
  return -1;
}
